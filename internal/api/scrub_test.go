package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
)

type scrubStatus struct {
	Enabled bool
	Open    int64 `json:"open_findings"`
	Runs    []struct {
		Kind       string
		FinishedAt string `json:"finished_at"`
		Figures    map[string]int64
	}
}

type scrubFindings struct {
	Items []struct{ ID, Kind, Digest, Detail string }
}

// TestScrubOnDemand asks one replica for a scrub that another one may do, and reads what came of it, page by page.
func TestScrubOnDemand(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		scrubbing := func(c *config.Config) { c.Scrub.Enabled, c.GC.Interval = true, 20*time.Millisecond }
		one, other := env.Serve(t, scrubbing), env.Serve(t, scrubbing)
		for _, digit := range []string{"a", "b", "c"} {
			env.Exec(t, `INSERT INTO blobs (id, digest, size, created_at) VALUES (?, ?, 5, 0)`,
				uuid.Must(uuid.NewV7()), "sha256:"+strings.Repeat(digit, 64))
		}
		one.Admin(t).Want(http.StatusAccepted, http.MethodPost, "/admin/scrub", map[string]any{"fraction": 1})
		tick, deadline := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
		defer tick.Stop()
		for scrubbed := false; !scrubbed; {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal("waited in vain for a scrub")
			}
			var status scrubStatus
			apitest.Check(t, json.Unmarshal(other.Admin(t).Want(http.StatusOK, http.MethodGet, "/admin/scrub", nil).Body, &status))
			for _, run := range status.Runs {
				scrubbed = scrubbed || run.Kind == "requested" && run.FinishedAt != "" && run.Figures["damaged"] == 3 && status.Open == 3
			}
		}
		var first, second scrubFindings
		answer := other.Admin(t).Want(http.StatusOK, http.MethodGet, "/admin/scrub/findings?limit=2", nil)
		apitest.Check(t, json.Unmarshal(answer.Body, &first))
		next, _, _ := strings.Cut(strings.TrimPrefix(answer.Header.Get("Link"), "<"), ">")
		answer = one.Admin(t).Want(http.StatusOK, http.MethodGet, "/admin/scrub/findings"+next, nil)
		apitest.Check(t, json.Unmarshal(answer.Body, &second))
		if len(first.Items) != 2 || len(second.Items) != 1 || answer.Header.Get("Link") != "" || first.Items[0].ID <= first.Items[1].ID ||
			first.Items[1].ID <= second.Items[0].ID || second.Items[0].Kind != "damaged" || second.Items[0].Detail == "" {
			t.Errorf("%+v, %+v", first, second)
		}
	})
}
