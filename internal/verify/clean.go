package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// cleanUp removes what was pushed: the projects through the product API, else objects through the registry's.
func (r *run) cleanUp(ctx context.Context) (string, error) {
	if r.options.Keep {
		return "", skip{"left in place, as asked: " + r.repository}
	}
	if !r.loggedIn {
		return "", errNoLogIn
	}
	var errs []error
	var done []string
	if r.strange != "" {
		errs = append(errs, r.claim(ctx), r.deleteProject(ctx, r.strange))
		done = append(done, "claimed and deleted "+r.strange)
	}
	if r.began {
		says, err := r.cleanOwn(ctx)
		errs, done = append(errs, err), append(done, says)
	}
	return strings.Join(done, ", "), errors.Join(errs...)
}

// cleanOwn removes what was pushed with the token.
func (r *run) cleanOwn(ctx context.Context) (string, error) {
	if r.own {
		err := r.deleteProject(ctx, r.project())
		if err == nil {
			return "deleted " + r.project(), nil
		}
		var refused statusError
		if !errors.As(err, &refused) || refused.status != http.StatusNotFound && refused.status != http.StatusForbidden {
			return "", err // of a registry without this API, or a token that may not use it, single objects are deleted
		}
	}
	bearer, err := r.may(ctx, "pull,push,delete")
	if err != nil {
		return "", err
	}
	for _, o := range r.left {
		a, err := r.wire.do(ctx, request{method: http.MethodDelete, path: fmt.Sprintf("/v2/%s/%s/%s", r.repository, o.kind, o.digest), bearer: bearer})
		if err != nil {
			return "", err
		}
		if err := a.want(http.StatusAccepted, http.StatusNotFound); err != nil {
			return "", fmt.Errorf("%w: the token may not delete; %s keeps what was pushed (--keep takes that for granted)", err, r.repository)
		}
	}
	return fmt.Sprintf("deleted %d objects from %s", len(r.left), r.repository), nil
}

func (r *run) api(ctx context.Context, method, path, body string) error {
	req := request{method: method, path: "/api/v1" + path, bearer: r.options.Token}
	if body != "" {
		req.body, req.length = some([]byte(body))
		req.header = map[string]string{"Content-Type": "application/json"}
	}
	a, err := r.wire.do(ctx, req)
	if err != nil {
		return err
	}
	return a.want(http.StatusOK, http.StatusNoContent)
}

func (r *run) claim(ctx context.Context) error {
	return r.api(ctx, http.MethodPost, "/projects/"+r.strange+"/claim", `{"discard_content": true}`)
}

func (r *run) deleteProject(ctx context.Context, project string) error {
	return r.api(ctx, http.MethodDelete, "/projects/"+project, "")
}
