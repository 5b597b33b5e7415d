package api

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/api/problem"
)

// noSuchThing is said of identifiers that are unknown, foreign or malformed, alike.
var noSuchThing = problem.NotFound.With("There is no such thing, or you may not know of it.")

// validate holds the request against the contract.
func (a *API) validate(c *gin.Context) {
	one := callOf(c.Request.Context())
	params := make(map[string]string, len(c.Params))
	for _, p := range c.Params {
		params[p.Key] = p.Value
	}
	err := openapi3filter.ValidateRequest(c.Request.Context(), &openapi3filter.RequestValidationInput{
		Request: c.Request, PathParams: params, Route: one.op.route,
		Options: &openapi3filter.Options{
			MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, KeepValidatedValue: true,
			SkipSettingDefaults: true,
		},
	})
	switch {
	case err != nil:
		refuse(c, invalid(err))
	case pageless(c, one.op) != "":
		refuse(c, invalidFields(problem.Field{Pointer: "?" + pageless(c, one.op), Detail: "is not for an export, which has no pages"}))
	case len(one.body) > 0 && !json.Valid(one.body): // the validation looks at the first value only
		refuse(c, problem.BadRequest.With("The body is more than one JSON value."))
	}
}

// pageless is the parameter of pages that is sent to an export, which has none: whoever sends it would take everything for a
// part. "" if there is none.
func pageless(c *gin.Context, op *operation) string {
	if !strings.HasPrefix(op.id, "export") {
		return ""
	}
	query := c.Request.URL.Query()
	for _, name := range []string{"limit", "cursor"} {
		if query.Has(name) {
			return name
		}
	}
	return ""
}

// invalid turns what the validation found into a problem. The findings are no cause: they quote the request, which may
// hold secrets, and causes are logged.
func invalid(err error) error {
	var all openapi3.MultiError
	if !errors.As(err, &all) {
		all = openapi3.MultiError{err}
	}
	var fields []problem.Field
	for _, one := range all {
		found, answer := judgeInvalid(one)
		if answer != nil {
			return answer
		}
		fields = append(fields, found...)
	}
	return invalidFields(fields...)
}

func invalidFields(fields ...problem.Field) *problem.Error {
	return problem.Invalid.With("The request is not as it should be; see errors.").WithFields(fields...)
}

// judgeInvalid gives the fields that one finding is about, or another answer that it deserves.
func judgeInvalid(err error) ([]problem.Field, *problem.Error) {
	request, ok := errors.AsType[*openapi3filter.RequestError](err)
	switch {
	case !ok:
		return nil, problem.BadRequest.With("The request cannot be read.")
	case request.Parameter != nil && request.Parameter.In == openapi3.ParameterInPath:
		return nil, noSuchThing
	case request.Parameter != nil:
		return []problem.Field{{Pointer: parameterPointer(request.Parameter), Detail: parameterDetail(request)}}, nil
	}
	if fields := schemaFields(request.Err); len(fields) > 0 {
		return fields, nil
	}
	return nil, unreadableBody(request)
}

func unreadableBody(request *openapi3filter.RequestError) *problem.Error {
	switch {
	case strings.Contains(request.Reason, "Content-Type"):
		return problem.UnsupportedMediaType.With("Send application/json.")
	case errors.Is(request.Err, openapi3filter.ErrInvalidRequired):
		return problem.BadRequest.With("The request needs a body.")
	}
	return problem.BadRequest.With("The body is not JSON.")
}

func parameterPointer(p *openapi3.Parameter) string {
	if p.In == openapi3.ParameterInQuery {
		return "?" + p.Name
	}
	return p.Name
}

func parameterDetail(request *openapi3filter.RequestError) string {
	if fields := schemaFields(request.Err); len(fields) > 0 {
		return fields[0].Detail
	}
	return "cannot be read"
}

// schemaFields gives one field for each finding about a value. The values themselves are left out: they may be secrets.
func schemaFields(err error) []problem.Field {
	var all openapi3.MultiError
	if errors.As(err, &all) {
		var fields []problem.Field
		for _, one := range all {
			fields = append(fields, schemaFields(one)...)
		}
		return fields
	}
	schema, ok := errors.AsType[*openapi3.SchemaError](err)
	if !ok {
		return nil
	}
	pointer, detail := "/"+strings.Join(schema.JSONPointer(), "/"), schema.Reason
	if m := namedProperty.FindStringSubmatch(schema.Reason); len(m) == 3 && !strings.HasSuffix(pointer, "/"+m[1]) {
		pointer, detail = strings.TrimSuffix(pointer, "/")+"/"+m[1], m[2]
	}
	return []problem.Field{{Pointer: pointer, Detail: detail}}
}

// namedProperty matches findings about an object that are about one of its properties: an unknown or a missing one.
var namedProperty = regexp.MustCompile(`^property "([^"]{1,100})" (is .*)$`)

// unreadable answers what only the generated code notices.
func unreadable(c *gin.Context, err error) {
	refuse(c, problem.BadRequest.With("The request cannot be read.").WithCause(err))
}
