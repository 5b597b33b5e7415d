package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// refusals are the answers to somebody who may not: without a word about whether the thing exists.
var refusals = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}

// tokens are what somebody without an account sends: nothing, and the token that everybody gets.
func (r *run) tokens(ctx context.Context, actions string) ([]string, error) {
	if r.realm == "" {
		return nil, skip{"there was no challenge"}
	}
	bearer, err := r.token(ctx, "", scope(r.repository, actions))
	var refused statusError
	if errors.As(err, &refused) && (refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden) {
		return []string{""}, nil
	}
	return []string{"", bearer}, err
}

func (r *run) refusePull(ctx context.Context) (string, error) {
	if !r.pushed {
		return "", skip{"the push failed"}
	}
	bearers, err := r.tokens(ctx, "pull")
	if err != nil {
		return "", err
	}
	for _, bearer := range bearers {
		a, err := r.manifest(ctx, bearer, nil)
		if err != nil {
			return "", err
		}
		if a.status == http.StatusOK && !r.own {
			return "", skip{"everybody may pull from " + r.repository}
		}
		if err := a.want(refusals...); err != nil {
			return "", fmt.Errorf("a private image is there for everybody: %w", err)
		}
	}
	return "refused", nil
}

func (r *run) refusePush(ctx context.Context) (string, error) {
	if !r.pushed {
		return "", skip{"the push failed"}
	}
	bearers, err := r.tokens(ctx, "pull,push")
	if err != nil {
		return "", err
	}
	for _, bearer := range bearers {
		if err := r.refused(ctx, bearer); err != nil {
			return "", err
		}
	}
	return "refused", nil
}

// refused sees that a bearer may not open an upload.
func (r *run) refused(ctx context.Context, bearer string) error {
	a, err := r.wire.do(ctx, request{method: http.MethodPost, path: "/v2/" + r.repository + "/blobs/uploads/", bearer: bearer})
	if err != nil {
		return err
	}
	if err := a.want(refusals...); err != nil {
		return fmt.Errorf("a push that is not allowed begins: %w", err)
	}
	return nil
}

func (r *run) refuseScope(ctx context.Context) (string, error) {
	bearer, err := r.ready(ctx)
	if err != nil {
		return "", err
	}
	return "refused", r.refused(ctx, bearer)
}

// anonymous pushes without an account, to a name that nobody has.
func (r *run) anonymous(ctx context.Context) (string, error) {
	if !r.loggedIn { // so that nobody could claim and delete it
		return "", errNoLogIn
	}
	project := "verify-" + randomName()
	a, err := r.pushAsNobody(ctx, project)
	var refused statusError
	denied := errors.As(err, &refused) && (refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden)
	switch {
	case denied && r.options.Anonymous == Allowed:
		return "", fmt.Errorf("refused, and should be allowed: %w", err)
	case denied && r.options.Anonymous == Refused:
		return "refused, as it should be", nil
	case denied:
		return "", skip{"the registry does not take such pushes"}
	case err != nil:
		return "", err
	case r.options.Anonymous == Refused:
		return "", fmt.Errorf("allowed, and should be refused: %s was pushed", project)
	}
	says := "pushed " + project
	if warning := a.header.Get("Warning"); strings.Contains(warning, "claim") {
		says += ", with a warning that tells where to claim it"
	}
	return says, nil
}

func (r *run) pushAsNobody(ctx context.Context, project string) (answer, error) {
	repository := project + "/probe"
	bearer, err := r.token(ctx, "", scope(repository, "pull,push"))
	if err != nil {
		return answer{}, err
	}
	r.strange = project
	a, err := r.pushImage(ctx, repository, bearer)
	var refused statusError
	if errors.As(err, &refused) && refused.method == http.MethodPost {
		r.strange = "" // nothing came to be
	}
	return a, err
}
