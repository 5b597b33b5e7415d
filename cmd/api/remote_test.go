package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
)

// rootToken is the registry token of the servers' administrators.
const rootToken = "an-administrators-token-for-tests"

// TestRemoteScripts runs each script against a server of its own. $OTHER_SERVER is one that is not Berth.
func TestRemoteScripts(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<title>Welcome</title>")
	}))
	t.Cleanup(other.Close)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/remote",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			p := serve(t, "--admin-token="+rootToken, "--admin-password=correct horse battery")
			go func() { _, _ = io.Copy(io.Discard, p.stderr) }() // a log that nobody reads would stop the server
			env.Setenv("BERTH_SERVER", "http://"+p.addr)
			env.Setenv("ROOT_TOKEN", rootToken)
			env.Setenv("OTHER_SERVER", other.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"push": pushWithoutAnAccount},
	})
}

// pushWithoutAnAccount is the command push: it pushes a small image, such as demo/app:1, to the script's server.
func pushWithoutAnAccount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: push NAME:TAG")
	}
	host := strings.TrimPrefix(ts.Getenv("BERTH_SERVER"), "http://")
	image, err := random.Image(100, 1)
	ts.Check(err)
	ref, err := name.ParseReference(fmt.Sprintf("%s/%s", host, args[0]))
	ts.Check(err)
	ts.Check(remote.Write(ref, image))
}
