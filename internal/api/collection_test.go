package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
)

type collectionStatus struct {
	Enabled bool
	Runs    []struct {
		FinishedAt string `json:"finished_at"`
		Figures    map[string]int64
	}
}

// TestCollectionOnDemand asks one replica for a collection that another one may do, and reads what came of it.
func TestCollectionOnDemand(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		collecting := func(c *config.Config) { c.GC.Enabled, c.GC.Interval = true, 20*time.Millisecond }
		one, other := env.Serve(t, collecting), env.Serve(t, collecting)
		env.Exec(t, `INSERT INTO blobs (id, digest, size, created_at) VALUES (?, 'sha256:x', 5, 0)`, uuid.Must(uuid.NewV7()))
		env.Exec(t, `INSERT INTO blob_reviews (blob_id, created_at) SELECT id, 0 FROM blobs`)
		one.Admin(t).Want(http.StatusAccepted, http.MethodPost, "/admin/gc", nil)
		tick, deadline := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
		defer tick.Stop()
		for collected := false; !collected; {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal("waited in vain for a collection")
			}
			var status collectionStatus
			apitest.Check(t, json.Unmarshal(other.Admin(t).Want(http.StatusOK, http.MethodGet, "/admin/gc", nil).Body, &status))
			for _, run := range status.Runs {
				collected = collected || run.FinishedAt != "" && run.Figures["blobs"] == 1 && run.Figures["blob_bytes"] == 5
			}
		}
	})
}

// TestCollectionSwitchedOff is told to whoever asks for one.
func TestCollectionSwitchedOff(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		admin := env.Serve(t).Admin(t)
		admin.Want(http.StatusConflict, http.MethodPost, "/admin/gc", nil)
		var status collectionStatus
		apitest.Check(t, json.Unmarshal(admin.Want(http.StatusOK, http.MethodGet, "/admin/gc", nil).Body, &status))
		if status.Enabled || len(status.Runs) != 0 {
			t.Errorf("%+v", status)
		}
	})
}
