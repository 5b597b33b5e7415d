package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/config"
)

// limited is a server with limits, and clients of its administrator.
func limited(t *testing.T, env *apitest.Env, change func(*config.Config)) (*apitest.Replica, *apitest.Caller) {
	t.Helper()
	replica := env.Serve(t, change)
	admin := replica.As(t, apitest.AdminToken)
	return replica, admin
}

// audited is how many entries the audit log has of an action.
func audited(t *testing.T, env *apitest.Env, action string) (n int) {
	t.Helper()
	apitest.Check(t, env.DB.Gorm().Raw(`SELECT count(*) FROM audit_log WHERE action = ?`, action).Scan(&n).Error)
	return n
}

// TestLimitsOfSingleSubjects: an override holds on a replica that was not asked to set it, and leaves one audit entry.
func TestLimitsOfSingleSubjects(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		tight := func(c *config.Config) {
			c.RateLimit.Enabled = true
			c.RateLimit.APIRate, c.RateLimit.APIBurst = 1, 2
			c.Counts.Tokens, c.Counts.Robots = 2, 1
		}
		_, admin := limited(t, env, func(c *config.Config) { tight(c); c.RateLimit.APIBurst = 100 })
		other := env.Serve(t, tight)
		ada := env.Person(t, "ada") // who has a token by this
		subject := "/admin/limits/user/" + ada.ID.String()
		as := other.As(t, ada.Secret)
		for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
			as.Want(want, "GET", "/me", nil)
		}
		admin.Want(http.StatusOK, "PUT", subject, map[string]any{
			"rates": map[string]any{"api": map[string]any{"per_minute": 0, "burst": 1}}, "counts": map[string]any{"tokens": 3},
			"quota_bytes": 1 << 30,
		})
		if n := audited(t, env, audit.LimitsChange); n != 1 {
			t.Errorf("%d audit entries", n)
		}
		for deadline := time.Now().Add(5 * time.Second); ; {
			if as.Do("GET", "/me", nil).Status == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the override does not hold after five seconds")
			}
		}
		for range 10 {
			as.Want(http.StatusOK, "GET", "/me", nil)
		}
		for _, want := range []int{http.StatusCreated, http.StatusCreated, http.StatusForbidden} {
			answer := as.Want(want, "POST", "/tokens", map[string]any{"name": "more"})
			if want == http.StatusForbidden && !strings.Contains(string(answer.Body), "there are 3, and 3 are allowed") {
				t.Errorf("%s", answer.Body)
			}
		}
		var shown struct {
			Counts []struct {
				Name          string
				Used, Allowed int64
				Own           bool
			}
			QuotaBytes int64 `json:"quota_bytes"`
		}
		apitest.Check(t, json.Unmarshal(admin.Want(http.StatusOK, "GET", subject, nil).Body, &shown))
		if text := fmt.Sprint(shown); shown.QuotaBytes != 1<<30 || !strings.Contains(text, "{tokens 3 3 true}") {
			t.Errorf("shown: %s", text)
		}
		for path, status := range map[string]int{
			"user/" + uuid.NewString(): http.StatusNotFound, "nothing/" + ada.ID.String(): http.StatusNotFound,
			"runner/" + ada.ID.String(): http.StatusNotFound,
		} {
			admin.Want(status, "GET", "/admin/limits/"+path, nil)
			admin.Want(status, "PUT", "/admin/limits/"+path, map[string]any{})
		}
		admin.Want(http.StatusUnprocessableEntity, "PUT", subject, map[string]any{"counts": map[string]any{"robots": 3}})

		project := env.Project(t, "demo", ada)
		robot := map[string]any{"name": "ci", "actions": []string{"pull"}}
		as.Want(http.StatusCreated, "POST", "/projects/demo/robots", robot)
		as.Want(http.StatusForbidden, "POST", "/projects/demo/robots", robot)
		admin.Want(http.StatusOK, "PUT", "/admin/limits/project/"+project.ID.String(), map[string]any{"counts": map[string]any{"robots": 0}, "quota_bytes": 5})
		as.Want(http.StatusCreated, "POST", "/projects/demo/robots", robot)
		usage := string(as.Want(http.StatusOK, "GET", "/projects/demo/usage", nil).Body)
		if !strings.Contains(usage, `"allowed":5`) || !strings.Contains(usage, `{"allowed":0,"name":"robots","used":2}`) {
			t.Errorf("usage: %s", usage)
		}
	})
}

// TestBlocklist: what is blocked, where it is, and that it comes back.
func TestBlocklist(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		_, admin := limited(t, env, func(*config.Config) {})
		ada := env.Person(t, "ada")
		for _, slug := range []string{"one", "two"} {
			env.Repository(t, env.Project(t, slug, ada).ID, "app", 1) // both have the same manifest
		}
		blocked := "sha256:" + strings.Repeat("0", 64)
		body := map[string]any{"digest": blocked, "reason": "malware"}
		answer := string(admin.Want(http.StatusCreated, "POST", "/admin/blocklist", body).Body)
		if !strings.Contains(answer, `"projects":2`) || !strings.Contains(answer, `"repositories":2`) {
			t.Errorf("%s", answer)
		}
		admin.Want(http.StatusUnprocessableEntity, "POST", "/admin/blocklist", map[string]any{"digest": "sha256:x", "reason": "none"})
		if list := string(admin.Want(http.StatusOK, "GET", "/admin/blocklist", nil).Body); !strings.Contains(list, blocked) {
			t.Errorf("%s", list)
		}
		admin.Want(http.StatusNoContent, "DELETE", "/admin/blocklist/"+blocked, nil)
		admin.Want(http.StatusNotFound, "DELETE", "/admin/blocklist/"+blocked, nil)
		if added, removed := audited(t, env, audit.DigestBlock), audited(t, env, audit.DigestUnblock); added != 1 || removed != 1 {
			t.Errorf("audit entries: %d, %d", added, removed)
		}
	})
}
