package e2e

import (
	"net/http"
	"slices"
	"testing"

	"github.com/berthregistry/berth/client"
)

// engine is how an engine gets a token; it returns "" where the registry refuses the secret.
type engine func(w wire, secret, repo string) string

// engines are those that no test can run here: their requests are sent by hand. BuildKit pushes through containerd's
// resolver and asks for all of a push's scopes at once.
var engines = map[string]engine{
	"docker": func(w wire, secret, repo string) string {
		c := w.want(http.StatusUnauthorized, http.MethodGet, "/v2/", nil).challenge(w.t)
		asked := c["realm"] + "?account=any&client_id=docker&offline_token=true&service=" + c["service"] + "&scope=repository:" + repo + ":pull,push"
		a, err := w.basic(secret).try(http.MethodGet, asked, nil)
		must(w.t, err)
		if a.status == http.StatusUnauthorized {
			return ""
		}
		return tokenOf(w.t, a)
	},
	"containerd": func(w wire, secret, repo string) string {
		token, methods := containerdToken(w, secret, "repository:"+repo+":pull,push")
		if token == "" && !slices.Equal(methods, []string{"POST", "GET", "401"}) {
			w.t.Errorf("refused by %s", methods)
		}
		return token
	},
	"buildkit": func(w wire, secret, repo string) string {
		token, _ := containerdToken(w, secret, "repository:"+repo+":pull,push repository:other/base:pull")
		return token
	},
}

// TestEngines: a robot pushes and pulls with each engine, a runner only pulls, and a revoked robot is told so.
func TestEngines(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		owner := r.newProject(t, "demo")
		r.newProject(t, "other")
		robot := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
		stale := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
		_, err := owner.RevokeRobotWithResponse(t.Context(), "demo", stale.Robot.ID)
		must(t, err)
		runner, err := owner.CreateRunnerWithResponse(t.Context(), "demo", nil, client.RunnerCreate{Name: "rack"})
		must(t, err)

		for name, log := range engines {
			repo, w := "demo/"+name, r.nobody(t)
			pushing := w.bearer(log(w, robot.Secret, repo))
			dockerImage(pushing, repo, "one", b)
			pushing.readBack(repo, "one")
			pulling := w.bearer(log(w, runner.JSON201.Secret, repo))
			pulling.readBack(repo, "one")
			// Not 401: no other token would help, and the engine is to say so.
			pulling.want(http.StatusForbidden, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
			if token := log(w, stale.Secret, repo); token != "" {
				t.Errorf("%s: a revoked robot has got a token", name)
			}
		}
	})
}
