package api_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/api/apitest"
)

// TestThreat06ForgedBearerTokens tries bearer tokens that the server has not signed so, and secrets of another kind, on
// both planes.
func TestThreat06ForgedBearerTokens(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		session, _ := env.Session(t, ada.ID)
		genuine := r.Bearer(t, ada.Secret, "repository:demo/app:pull,push")
		parts := strings.Split(genuine, ".")
		header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
		for name, forged := range map[string]string{
			"no algorithm":      header(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".",
			"another algorithm": header(`{"alg":"HS256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
			"a key of its own":  header(`{"alg":"EdDSA","jwk":{"kty":"OKP"}}`) + "." + parts[1] + "." + parts[2],
			"an unknown key":    header(`{"alg":"EdDSA","kid":"x"}`) + "." + parts[1] + "." + parts[2],
			"no signature":      parts[0] + "." + parts[1] + ".",
			"other claims":      parts[0] + "." + header(`{"sub":"user:`+ada.ID.String()+`"}`) + "." + parts[2],
			"a session":         session,
		} {
			r.As(t, forged).Want(http.StatusUnauthorized, "POST", "/v2/demo/app/blobs/uploads/", nil)
			if name != "a session" {
				r.As(t, forged).Want(http.StatusUnauthorized, "GET", "/me", nil)
			}
		}
		r.As(t, genuine).Want(http.StatusAccepted, "POST", "/v2/demo/app/blobs/uploads/", nil)
		r.As(t, genuine).Want(http.StatusForbidden, "GET", "/me", nil)
	})
}
