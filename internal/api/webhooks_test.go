package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
)

// told is what a receiver was told, with a signature that holds.
type told struct {
	Type string
	Data map[string]any
}

// heard is a message as it came.
type heard struct {
	header http.Header
	body   []byte
}

// hearing is a receiver of webhooks.
type hearing struct {
	*httptest.Server
	messages chan heard
	secret   string
}

func newHearing(t *testing.T) *hearing {
	t.Helper()
	h := &hearing{messages: make(chan heard, 64)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is cut is not signed
		h.messages <- heard{r.Header, body}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(h.Close)
	return h
}

// next waits for as many messages as there are kinds, which come in any order, and gives them by kind.
func (h *hearing) next(t *testing.T, kinds ...string) map[string]told {
	t.Helper()
	key, err := standard.NewWebhook(h.secret)
	apitest.Check(t, err)
	all, deadline := map[string]told{}, time.After(30*time.Second)
	for range kinds {
		select {
		case m := <-h.messages:
			if err := key.Verify(m.body, m.header); err != nil {
				t.Errorf("%v: %s", err, m.body)
			}
			var one told
			apitest.Check(t, json.Unmarshal(m.body, &one))
			all[one.Type] = one
		case <-deadline:
			t.Fatalf("only %v came, want %v", all, kinds)
		}
	}
	for _, kind := range kinds {
		if _, came := all[kind]; !came {
			t.Errorf("%v came, want %v", all, kinds)
		}
	}
	return all
}

// send sends a request of a client of the registry.
func send(t *testing.T, r *apitest.Replica, secret string, status int, method, path string, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, bytes.NewReader(body))
	apitest.Check(t, err)
	request.SetBasicAuth("any", secret)
	request.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	response, err := http.DefaultTransport.RoundTrip(request)
	apitest.Check(t, err)
	answer, err := io.ReadAll(response.Body)
	apitest.Check(t, err)
	apitest.Check(t, response.Body.Close())
	if response.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, response.StatusCode, status, answer)
	}
}

// TestWebhooksTellWhatHappens: from the creation of a webhook by the API to what its receiver gets for pushes, deletions and a
// full project.
func TestWebhooksTellWhatHappens(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r := env.Serve(t, func(c *config.Config) {
			c.Webhooks.AllowedNetworks, c.Quotas.Project = []string{"127.0.0.0/8"}, 2000
		})
		h, owner := newHearing(t), env.Person(t, "owner")
		p := env.Project(t, "demo", owner)
		c := r.As(t, owner.Secret)
		created := c.Want(http.StatusCreated, http.MethodPost, "/projects/demo/webhooks", map[string]any{
			"url": h.URL + "/hook", "events": []string{"manifest.pushed", "manifest.deleted", "tag.moved", "tag.deleted", "quota.exceeded"},
		}, "Idempotency-Key", "once")
		var hook struct {
			Secret  string
			Webhook struct{ ID string }
		}
		apitest.Check(t, json.Unmarshal(created.Body, &hook))
		h.secret = hook.Secret

		first := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		second := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"a":"b"}}`)
		one, two := "sha256:"+digest(string(first)), "sha256:"+digest(string(second))
		const manifests = "/v2/demo/app/manifests/"

		send(t, r, owner.Secret, http.StatusCreated, http.MethodPut, manifests+"v1", first)
		got := h.next(t, "manifest.pushed", "tag.moved")
		pushed, moved := got["manifest.pushed"].Data, got["tag.moved"].Data
		if pushed["digest"] != one || pushed["repository"] != "app" || pushed["actor"] != "user:"+owner.ID.String() ||
			fmt.Sprint(pushed["project"]) != fmt.Sprint(map[string]any{"id": p.ID.String(), "slug": "demo"}) {
			t.Errorf("%v", pushed)
		}
		if moved["tag"] != "v1" || moved["digest"] != one || moved["previous_digest"] != nil {
			t.Errorf("%v", moved)
		}
		send(t, r, owner.Secret, http.StatusCreated, http.MethodPut, manifests+"v1", second)
		if moved := h.next(t, "manifest.pushed", "tag.moved")["tag.moved"].Data; moved["digest"] != two || moved["previous_digest"] != one {
			t.Errorf("%v", moved)
		}
		send(t, r, owner.Secret, http.StatusCreated, http.MethodPut, manifests+"v1", second) // it names that already
		h.next(t, "manifest.pushed")
		send(t, r, owner.Secret, http.StatusCreated, http.MethodPut, manifests+"v2", second)
		h.next(t, "manifest.pushed", "tag.moved")
		send(t, r, owner.Secret, http.StatusAccepted, http.MethodDelete, manifests+"v2", nil)
		if gone := h.next(t, "tag.deleted")["tag.deleted"].Data; gone["tag"] != "v2" || gone["previous_digest"] != two {
			t.Errorf("%v", gone)
		}
		send(t, r, owner.Secret, http.StatusAccepted, http.MethodDelete, manifests+two, nil)
		got = h.next(t, "manifest.deleted", "tag.deleted")
		if got["manifest.deleted"].Data["digest"] != two || got["tag.deleted"].Data["tag"] != "v1" {
			t.Errorf("%v", got)
		}

		c.Want(http.StatusOK, http.MethodPost, "/projects/demo/repositories/app/manifests/"+two+"/restore", nil)
		if back := h.next(t, "tag.moved")["tag.moved"].Data; back["digest"] != two || back["tag"] != "v1" {
			t.Errorf("%v", back)
		}
		c.Want(http.StatusNoContent, http.MethodDelete, "/projects/demo/repositories/app", nil)
		h.next(t, "manifest.deleted", "manifest.deleted", "tag.deleted")

		large := make([]byte, 5000)
		for range 2 {
			send(t, r, owner.Secret, http.StatusForbidden, http.MethodPost, "/v2/demo/app/blobs/uploads/?digest="+"sha256:"+digest(string(large)), large)
		}
		full := h.next(t, "quota.exceeded")["quota.exceeded"].Data
		if full["scope"] != "project" || full["allowed"] != float64(2000) || full["repository"] != "app" {
			t.Errorf("%v", full)
		}
		deliveries := "/projects/demo/webhooks/" + hook.Webhook.ID + "/deliveries"
		ping := c.Want(http.StatusAccepted, http.MethodPost, "/projects/demo/webhooks/"+hook.Webhook.ID+"/ping", nil)
		h.next(t, "webhook.ping")
		quotas := 0
		items := c.Want(http.StatusOK, http.MethodGet, deliveries+"?limit=200", nil).Items(t)
		for _, item := range items {
			if item["event"] == "quota.exceeded" {
				quotas++
			}
		}
		if quotas != 1 || len(items) != 16 {
			t.Errorf("%d deliveries, %d about the quota", len(items), quotas)
		}
		var sent struct{ ID string }
		apitest.Check(t, json.Unmarshal(ping.Body, &sent))
		c.Want(http.StatusAccepted, http.MethodPost, deliveries+"/"+sent.ID+"/redeliver", nil)
		h.next(t, "webhook.ping")
	})
}
