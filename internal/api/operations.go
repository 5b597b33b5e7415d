package api

import (
	"context"
	"fmt"
	"regexp"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/web/openapi"
)

// rule says who may use an operation: the value of x-berth-access.
type rule string

// The rules that are not an action of the policy.
const (
	ruleOpen    rule = "open"    // everybody
	ruleCaller  rule = "caller"  // every user
	ruleAdmin   rule = "admin"   // who may administer the server
	ruleView    rule = "view"    // who may know of the project
	ruleRestore rule = "restore" // who could delete the project if it were not
)

// ruleClaim is the action of claiming.
const ruleClaim rule = "claim"

// actions are the rules that ask the policy about the project in the path.
var actions = map[rule]rbac.Action{
	"pull":            rbac.Pull,
	ruleClaim:         rbac.Claim,
	"inspect":         rbac.Inspect,
	"delete":          rbac.Delete,
	"undelete":        rbac.Undelete,
	"manage_robots":   rbac.ManageRobots,
	"manage_runners":  rbac.ManageRunners,
	"manage_members":  rbac.ManageMembers,
	"manage_settings": rbac.ManageSettings,
	"delete_project":  rbac.DeleteProject,
}

// known tells whether r is a rule, for an operation with or without a project in its path.
func (r rule) known(project bool) bool {
	switch r {
	case ruleOpen, ruleCaller:
		return !project
	case ruleAdmin:
		return true
	case ruleView, ruleRestore:
		return project
	default:
		_, ok := actions[r]
		return ok && project
	}
}

// operation is one of the contract.
type operation struct {
	id         string
	rule       rule
	project    bool // its path has a project
	idempotent bool // it takes an Idempotency-Key
	route      *routers.Route
}

// operations are those of the contract, by method and by path as Gin writes it.
type operations map[string]*operation

func (o operations) find(method, path string) *operation { return o[method+" "+path] }

// pathParameter is a parameter in the contract's paths.
var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// contract is what loadOperations reads, once for the process: that takes most of the time in which a server starts.
var contract = sync.OnceValues(loadOperations)

// Prepare reads the contract, so that a later [New] need not. What keeps it from that, New tells.
func Prepare() { _, _ = contract() }

// loadOperations reads the contract.
func loadOperations() (operations, error) {
	defineFormats()
	doc, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	if err != nil {
		return nil, fmt.Errorf("read the contract: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("the contract is not valid: %w", err)
	}
	all := operations{}
	for path, item := range doc.Paths.Map() {
		for method, described := range item.Operations() {
			op, err := newOperation(doc, path, item, method, described)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", described.OperationID, err)
			}
			all[method+" "+Prefix+pathParameter.ReplaceAllString(path, ":$1")] = op
		}
	}
	return all, nil
}

func newOperation(
	doc *openapi3.T, path string, item *openapi3.PathItem, method string, described *openapi3.Operation,
) (*operation, error) {
	access, _ := described.Extensions["x-berth-access"].(string)
	op := &operation{
		id:         described.OperationID,
		rule:       rule(access),
		project:    described.Parameters.GetByInAndName(openapi3.ParameterInPath, "project") != nil,
		idempotent: described.Parameters.GetByInAndName(openapi3.ParameterInHeader, idempotencyHeader) != nil,
		route:      &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: described},
	}
	if !op.rule.known(op.project) {
		return nil, fmt.Errorf("x-berth-access: %q is no rule for this path", access)
	}
	return op, nil
}

// defineFormats makes the validation check formats that kin-openapi leaves to its users. They are global to the process.
var defineFormats = sync.OnceFunc(func() {
	openapi3.DefineStringFormatValidator("uuid", openapi3.NewCallbackValidator(func(text string) error {
		if len(text) != 36 {
			return fmt.Errorf("is not a UUID")
		}
		_, err := uuid.Parse(text)
		return err
	}))
})
