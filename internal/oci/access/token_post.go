package access

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// maxTokenForm bounds the body of a token request.
const maxTokenForm = 64 << 10

// oauthError is the error response of RFC 6749, section 5.2. All are sent with 400: containerd then tries GET.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// Error makes it an error.
func (e oauthError) Error() string { return "access: " + e.Code + ": " + e.Description }

// postToken serves the OAuth 2.0 variant of the token protocol. The registry token comes as the password, or as the
// refresh token, in which place clients send what they hold without a user name.
func (a *Access) postToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenForm)
	response, err := a.tokenForForm(r)
	if err == nil {
		writeJSON(w, http.StatusOK, response)
		return
	}
	if refused, ok := errors.AsType[oauthError](a.formError(err)); ok {
		a.noteRefusal(r, http.StatusBadRequest, err)
		writeJSON(w, http.StatusBadRequest, refused)
		return
	}
	answer := ocierr.From(err)
	a.noteRefusal(r, answer.Status, err)
	ocierr.Write(w, r, answer)
}

// tokenForForm reads the body only: a secret in the URL, where logs and histories keep it, is not taken.
func (a *Access) tokenForForm(r *http.Request) (tokenResponse, error) {
	form, err := parseForm(r)
	if err != nil {
		return tokenResponse{}, err
	}
	secret, err := formSecret(form)
	if err != nil {
		return tokenResponse{}, err
	}
	credential, err := a.verifySecret(r.Context(), secret)
	if err := a.limitToken(r.Context(), credential, err); err != nil {
		return tokenResponse{}, err
	}
	return a.issue(r.Context(), credential, form.Get("service"), form["scope"])
}

func parseForm(r *http.Request) (url.Values, error) {
	err := r.ParseForm()
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, err
	}
	if err != nil {
		return nil, oauthError{"invalid_request", "the form is malformed"}
	}
	for _, name := range []string{"grant_type", "username", "password", "refresh_token", "service"} {
		if len(r.PostForm[name]) > 1 {
			return nil, oauthError{"invalid_request", name + " is given more than once"}
		}
	}
	return r.PostForm, nil
}

// formSecret picks the registry token out of the parameters of the grant.
func formSecret(form url.Values) (string, error) {
	var parameter string
	switch form.Get("grant_type") {
	case "password":
		parameter = "password"
	case "refresh_token":
		parameter = "refresh_token"
	case "":
		return "", oauthError{"invalid_request", "grant_type is missing"}
	default:
		return "", oauthError{"unsupported_grant_type", "use password or refresh_token"}
	}
	if form.Get(parameter) == "" {
		return "", oauthError{"invalid_request", parameter + " is missing"}
	}
	return form.Get(parameter), nil
}

// formError words what the form's author can mend as RFC 6749 wants it; the rest stays as it is.
func (a *Access) formError(err error) error {
	switch {
	case isRefused(err):
		return oauthError{"invalid_grant", "the token is malformed, unknown, expired or revoked"}
	case errors.Is(err, ErrScopeLimit):
		return oauthError{"invalid_scope", a.explain(err)}
	case errors.Is(err, errService):
		return oauthError{"invalid_request", a.explain(err)}
	default:
		return err
	}
}
