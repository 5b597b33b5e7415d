// Package verify pushes to and pulls from a running registry, as clients do, and sees that it behaves: what is allowed
// works, what is not is refused, and an upload that is cut goes on. It knows the registry by its URL alone, so it also
// tells what proxies on the way do.
package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Result is how a step ended.
type Result string

// The results of steps.
const (
	// Passed is what went as it should.
	Passed Result = "ok"
	// Failed is what did not.
	Failed Result = "failed"
	// Skipped is what could not be tried, or what the registry does not offer.
	Skipped Result = "skipped"
)

// Step is one thing that was tried.
type Step struct {
	// Name says what.
	Name string `json:"name"`
	// Result says how it ended.
	Result Result `json:"result"`
	// Took is how long it took, in seconds.
	Took float64 `json:"seconds"`
	// Says tells what was seen, or why it failed.
	Says string `json:"says"`
}

// Anonymous says what is expected of pushes without an account.
type Anonymous string

// What can be expected.
const (
	// Auto tries one, and takes a refusal for an answer.
	Auto Anonymous = "auto"
	// Allowed fails where it is refused.
	Allowed Anonymous = "allowed"
	// Refused fails where it is not refused.
	Refused Anonymous = "refused"
)

// Options is what to verify.
type Options struct {
	// URL is that of the registry, without a path.
	URL *url.URL
	// Token is the password that clients log in with.
	Token string
	// Repository is where to push. Empty: a repository in a project that the push creates and the clean-up deletes.
	Repository string
	// Anonymous is what to expect of pushes without an account.
	Anonymous Anonymous
	// Keep leaves what was pushed where it is.
	Keep bool
	// Insecure takes any certificate.
	Insecure bool
}

// skip is why a step was not tried.
type skip struct{ why string }

// Error implements error.
func (s skip) Error() string { return s.why }

// Run does all steps, tells each to report when it has ended, and returns how many failed. Clean-up comes last, whatever
// failed before.
func Run(ctx context.Context, options Options, report func(Step)) int {
	r := newRun(options)
	failed := 0
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"challenge", r.challenge},
		{"log in", r.logIn},
		{"refuse a wrong token", r.wrongToken},
		{"push", r.push},
		{"pull", r.pull},
		{"resume an upload that was cut", r.resume},
		{"pull again", r.pullAgain},
		{"refuse a pull without an account", r.refusePull},
		{"refuse a push without an account", r.refusePush},
		{"refuse a push with a token to pull", r.refuseScope},
		{"push without an account", r.anonymous},
		{"clean up", r.cleanUp},
	} {
		began := time.Now()
		says, err := step.do(ctx)
		done := Step{Name: step.name, Result: Passed, Says: says, Took: time.Since(began).Seconds()}
		var skipped skip
		switch {
		case errors.As(err, &skipped):
			done.Result, done.Says = Skipped, skipped.why
		case err != nil:
			done.Result, done.Says = Failed, err.Error()
			failed++
		}
		report(done)
	}
	return failed
}

// run is one verification.
type run struct {
	options    Options
	wire       *wire
	realm      string // empty until the challenge was seen
	service    string
	loggedIn   bool // as the holder of the token, as far as can be told; else nothing is pushed
	repository string
	own        bool // the project was created for this run
	left       []object
	image      image
	began      bool // an upload was opened, which creates the project
	pushed     bool
	// strange is the project that was pushed without an account, to be cleaned up.
	strange string
}

// object is something that was pushed.
type object struct {
	kind   string // manifests or blobs
	digest digest.Digest
}

func newRun(options Options) *run {
	r := &run{options: options, wire: newWire(options.URL, options.Insecure), repository: options.Repository}
	if r.repository == "" {
		r.own, r.repository = true, "verify-"+randomName()+"/probe"
	}
	r.image = newImage()
	return r
}

func (r *run) project() string {
	project, _, _ := strings.Cut(r.repository, "/")
	return project
}

// challenge sees that the registry asks who is there.
func (r *run) challenge(ctx context.Context) (string, error) {
	a, err := r.wire.do(ctx, request{method: "GET", path: "/v2/"})
	if err != nil {
		return "", err
	}
	if err := a.want(401); err != nil {
		return "", err
	}
	said := parameters(a.header.Get("WWW-Authenticate"))
	realm, err := url.Parse(said["realm"])
	if err != nil || realm.Host == "" || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		return "", fmt.Errorf("the challenge is %q", a.header.Get("WWW-Authenticate"))
	}
	if realm.Scheme != r.options.URL.Scheme && realm.Scheme != "https" {
		return "", fmt.Errorf("tokens are to be fetched from %s, without TLS", realm)
	}
	r.realm, r.service = said["realm"], said["service"]
	return "realm " + r.realm + ", service " + r.service, nil
}

// logIn fetches a token and uses it.
func (r *run) logIn(ctx context.Context) (string, error) {
	if r.realm == "" {
		return "", skip{"there was no challenge"}
	}
	if r.options.Token == "" {
		return "", errors.New("no token: set BERTH_TOKEN")
	}
	bearer, err := r.token(ctx, r.options.Token)
	if isUnauthorized(err) {
		return "", fmt.Errorf("the registry does not take the token, so nothing is pushed: %w", err)
	}
	if err != nil {
		return "", err
	}
	a, err := r.wire.do(ctx, request{method: "GET", path: "/v2/", bearer: bearer})
	if err != nil {
		return "", err
	}
	if err := a.want(200); err != nil {
		return "", err
	}
	r.loggedIn = true
	return "as the holder of the token", nil
}

// wrongToken sees that not everybody is let in. Where everybody is, the log-in has told nothing, and a push might be that
// of somebody else, or of nobody, which could not be cleaned up.
func (r *run) wrongToken(ctx context.Context) (string, error) {
	if r.realm == "" {
		return "", skip{"there was no challenge"}
	}
	_, err := r.token(ctx, "wrong-"+randomName())
	if isUnauthorized(err) {
		return "401", nil
	}
	r.loggedIn = false
	if err == nil {
		err = errors.New("a token that nobody has logs in, so nothing is pushed")
	}
	return "", err
}

func isUnauthorized(err error) bool {
	refused, ok := errors.AsType[statusError](err)
	return ok && refused.status == http.StatusUnauthorized
}
