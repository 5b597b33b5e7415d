package rbac

import (
	_ "embed" // the model and the policy
	"encoding/csv"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
)

var (
	//go:embed model.conf
	modelText string
	//go:embed policy.csv
	policyText string
)

// The cases that New asks about. What is not listed here is denied.
var (
	subjects = []string{
		"anonymous", "user", "viewer", "developer", "maintainer", "owner", "admin",
		"robot", "pulling-robot", "pushing-robot",
		"runner", "granted-runner", "granted-runner-by-digest",
	}
	states  = []string{"absent", "unclaimed", "private", "public", "suspended", "deleted"}
	actions = []Action{
		Pull, Push, Delete, Undelete, Claim, ManageRobots, ManageRunners, ManageMembers, ManageSettings, DeleteProject,
		Inspect, Administer,
	}
)

// right is one case that the policy allows.
type right struct {
	subject, project string
	action           Action
}

// Enforcer answers questions. It is immutable, and safe for concurrent use.
type Enforcer struct {
	rights map[right]struct{}
}

// New reads the embedded policy and decides every case of it under the given settings.
func New(opts Options) (*Enforcer, error) {
	policy, err := load(opts)
	if err != nil {
		return nil, fmt.Errorf("rbac: load the policy: %w", err)
	}
	e := &Enforcer{rights: make(map[right]struct{})}
	for _, subject := range subjects {
		for _, state := range states {
			for _, action := range actions {
				ok, err := policy.Enforce(subject, state, string(action))
				if err != nil {
					return nil, fmt.Errorf("rbac: decide %s %s %s: %w", subject, state, action, err)
				}
				if ok {
					e.rights[right{subject, state, action}] = struct{}{}
				}
			}
		}
	}
	return e, nil
}

// Allow reports whether the policy allows what q asks. A question with an unknown kind, role, state or action is denied.
func (e *Enforcer) Allow(q Question) bool {
	_, ok := e.rights[right{q.subject(), q.project(), q.Action}]
	return ok
}

func load(opts Options) (*casbin.Enforcer, error) {
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, err
	}
	rows, err := policyRows()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if err := persist.LoadPolicyArray(row, m); err != nil {
			return nil, err
		}
	}
	policy, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	policy.AddFunction("enabled", func(args ...any) (any, error) { return opts.enabled(args) })
	if err := policy.BuildRoleLinks(); err != nil {
		return nil, err
	}
	return policy, nil
}

// policyRows reads the embedded policy without a Casbin adapter.
func policyRows() ([][]string, error) {
	r := csv.NewReader(strings.NewReader(policyText))
	r.Comment = '#'
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = -1
	return r.ReadAll()
}

// enabled is the policy's last column.
func (o Options) enabled(args []any) (bool, error) {
	if len(args) == 1 {
		switch args[0] {
		case "always":
			return true, nil
		case "unclaimed-push":
			return o.UnclaimedPush, nil
		case "unclaimed-push-and-pull":
			return o.UnclaimedPush && o.UnclaimedPull, nil
		case "unclaimed-pull":
			return o.UnclaimedPull, nil
		}
	}
	return false, fmt.Errorf("the policy names an unknown setting: %v", args)
}
