package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/berthregistry/berth/client"
)

const password = "a long password for people"

// api is the product API for the holder of a secret; "" is nobody.
func (r *registry) api(t *testing.T, secret string) *client.ClientWithResponses {
	t.Helper()
	api, err := client.New("http://"+r.host, secret)
	must(t, err)
	return api
}

// replicaAPI is api at one replica alone.
func (r *registry) replicaAPI(t *testing.T, i int, secret string) *client.ClientWithResponses {
	t.Helper()
	api, err := client.New(r.replicas[i], secret)
	must(t, err)
	return api
}

// signIn makes a user and gives the secret of a session that their password opened.
func (r *registry) signIn(t *testing.T, email string) string {
	t.Helper()
	_, err := r.api(t, adminToken).CreateUserWithResponse(t.Context(), nil, client.UserCreate{Email: email, Password: new(password)})
	must(t, err)
	opened, err := r.api(t, "").LoginWithResponse(t.Context(), client.LoginRequest{Email: &email, Password: new(password)})
	must(t, err)
	if !strings.HasPrefix(opened.JSON201.Secret, "berth_ses_") || opened.JSON201.User.Email != email {
		t.Fatalf("signed in as %+v", opened.JSON201)
	}
	return opened.JSON201.Secret
}

// newProject makes a project and gives the API as its owner.
func (r *registry) newProject(t *testing.T, slug string) *client.ClientWithResponses {
	t.Helper()
	owner := r.api(t, r.signIn(t, "owner-of-"+slug+"@example.org"))
	_, err := owner.CreateProjectWithResponse(t.Context(), nil, client.ProjectCreate{Slug: slug})
	must(t, err)
	return owner
}

// newRobot makes a robot of a project.
func newRobot(t *testing.T, api *client.ClientWithResponses, project string, robot client.RobotCreate) *client.CreatedRobot {
	t.Helper()
	robot.Name = "ci"
	created, err := api.CreateRobotWithResponse(t.Context(), project, nil, robot)
	must(t, err)
	return created.JSON201
}

var (
	pullOnly    = []client.RobotCreateActions{"pull"}
	pushOnly    = []client.RobotCreateActions{"push"}
	pullAndPush = []client.RobotCreateActions{"pull", "push"}
)

// wantProblem fails the test unless an error is a problem of a kind.
func wantProblem(t *testing.T, kind string, err error) {
	t.Helper()
	var failure *client.Error
	if !errors.As(err, &failure) || failure.Kind() != kind {
		t.Errorf("got %v, want the problem %s", err, kind)
	}
}
