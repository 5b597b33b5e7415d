package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/api/apitest"
)

const keyHeader = "Idempotency-Key"

// TestARepeatedCreationGivesTheSameAnswer repeats every creation: the same answer, secrets included, and one object.
func TestARepeatedCreationGivesTheSameAnswer(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		objects := w.objects("admin")
		admin := w.replica.Admin(t)
		var secrets []string
		for _, op := range apitest.Operations(t) {
			if op.Spec.Parameters.GetByInAndName("header", keyHeader) == nil {
				continue
			}
			path, body, key := op.At(objects[stateFor(op)]), w.body(op), "key of "+op.ID
			first := admin.Want(op.Success, op.Method, path, body, keyHeader, key)
			w.unchanged(op.ID, func() {
				again := admin.Want(op.Success, op.Method, path, body, keyHeader, key)
				if again.Header.Get("Idempotency-Replayed") != "true" || first.Header.Get("Idempotency-Replayed") != "" {
					t.Errorf("%s: replayed %q, %q", op.ID, first.Header.Get("Idempotency-Replayed"), again.Header.Get("Idempotency-Replayed"))
				}
				again.Header.Del("Idempotency-Replayed")
				if first.Stable() != again.Stable() {
					t.Errorf("%s:\n%s\nthen\n%s", op.ID, first.Stable(), again.Stable())
				}
				other := admin.Do(op.Method, path, strings.Replace(fmt.Sprintf(`{"x": %q}`, op.ID), "x", "y", 1), keyHeader, key)
				if other.Status != http.StatusUnprocessableEntity {
					t.Errorf("%s with another body: %d %s", op.ID, other.Status, other.Body)
				}
			})
			if secret := first.Text("secret"); secret != "" {
				secrets = append(secrets, secret)
			}
		}
		if len(secrets) != 7 { // of tokens, robots, runners, invites, and twice of a webhook
			t.Errorf("%d secrets", len(secrets))
		}
		w.expectUnseen(secrets...)
	})
}

// TestAnotherRequestUnderTheSameKey: a valid one is refused, also to another path, and another caller's key is another.
func TestAnotherRequestUnderTheSameKey(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		one, _ := env.Session(t, ada.ID)
		two, _ := env.Session(t, ada.ID)
		first := r.As(t, one).Want(http.StatusCreated, "POST", "/tokens", map[string]any{"name": "a"}, keyHeader, "k")
		for path, body := range map[string]any{"/tokens": map[string]any{"name": "b"}, "/projects": map[string]any{"slug": "by-key"}, "/tokens?x=1": map[string]any{"name": "a"}} {
			if answer := r.As(t, one).Do("POST", path, body, keyHeader, "k"); answer.Status != http.StatusUnprocessableEntity || answer.Kind() != "idempotency-key-reused" {
				t.Errorf("%s: %d %s", path, answer.Status, answer.Body)
			}
		}
		for name, c := range map[string]*apitest.Caller{"another session": r.As(t, two), "a token": r.As(t, ada.Secret)} {
			if other := c.Want(http.StatusCreated, "POST", "/tokens", map[string]any{"name": "a"}, keyHeader, "k"); other.Text("secret") == first.Text("secret") {
				t.Errorf("%s replays what a session was told", name)
			}
		}
		if n := len(r.As(t, one).Want(http.StatusOK, "GET", "/tokens", nil).Items(t)); n != 4 {
			t.Errorf("%d tokens", n)
		}
		for _, key := range []string{"", strings.Repeat("k", 256)} {
			if answer := r.As(t, one).Do("POST", "/tokens", map[string]any{"name": "c"}, "Idempotency-Key", key+""); key != "" && answer.Status != http.StatusUnprocessableEntity {
				t.Errorf("a key of %d characters: %d", len(key), answer.Status)
			}
		}
	})
}

// TestManyEqualCreationsAtOnce: one is done; the others are told its answer, or that it is under way.
func TestManyEqualCreationsAtOnce(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, other, ada := env.Serve(t), env.Serve(t), env.Person(t, "ada")
		answers := atOnce(20, func(i int) apitest.Answer {
			c := r.As(t, ada.Secret)
			if i%2 == 1 {
				c = c.At(other)
			}
			return c.Do("POST", "/tokens", map[string]any{"name": "once"}, keyHeader, "k")
		})
		secrets := map[string]bool{}
		for _, answer := range answers {
			switch {
			case answer.Status == http.StatusCreated:
				secrets[answer.Text("secret")] = true
			case answer.Status != http.StatusConflict || answer.Kind() != "in-progress" || answer.Header.Get("Retry-After") == "":
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		}
		if n := len(r.As(t, ada.Secret).Want(http.StatusOK, "GET", "/tokens", nil).Items(t)); n != 2 || len(secrets) != 1 {
			t.Errorf("%d tokens, %d secrets", n, len(secrets))
		}
	})
}

// atOnce calls f from n goroutines at the same time.
func atOnce(n int, f func(i int) apitest.Answer) []apitest.Answer {
	answers := make([]apitest.Answer, n)
	var begin, ended sync.WaitGroup
	begin.Add(1)
	for i := range n {
		ended.Go(func() {
			begin.Wait()
			answers[i] = f(i)
		})
	}
	begin.Done()
	ended.Wait()
	return answers
}

// TestWhatBecomesOfKeys: free after a refusal, taken after a cut, gone after a day.
func TestWhatBecomesOfKeys(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, ada := env.Serve(t), env.Person(t, "ada")
		c := r.As(t, ada.Secret)
		env.Project(t, "taken", env.Person(t, "otto"))
		c.Want(http.StatusConflict, "POST", "/projects", map[string]any{"slug": "taken"}, keyHeader, "refused")
		c.Want(http.StatusCreated, "POST", "/projects", map[string]any{"slug": "mine"}, keyHeader, "refused")

		create := func(status int) apitest.Answer {
			return c.Want(status, "POST", "/tokens", map[string]any{"name": "cut"}, keyHeader, "cut")
		}
		create(http.StatusCreated)
		env.Exec(t, `UPDATE idempotency_keys SET status = NULL, answer = NULL`) // as if the server had died before it answered
		if answer := create(http.StatusConflict); answer.Kind() != "in-progress" {
			t.Errorf("after a cut: %s", answer.Body)
		}
		env.Advance(24*time.Hour + time.Second)
		create(http.StatusCreated)
		env.Advance(24*time.Hour + time.Second)
		env.Serve(t) // whose first work is to sweep
		for range 1000 {
			if !strings.Contains(env.Dump(t), "idempotency_keys:") {
				return
			}
		}
		t.Error("keys are not swept")
	})
}
