package webhooks_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/projects"
)

// in makes a world of another project of the same database, of an account where one is given.
func (w *world) in(slug, account string) *world {
	w.t.Helper()
	other := &world{t: w.t, url: w.url, db: w.db, clock: w.now()}
	tenants := projects.NewService(w.db, projects.Options{Clock: w.now, UnclaimedPush: true})
	p, err := tenants.Ensure(w.t.Context(), slug, projects.Creator{Principal: "anonymous"})
	check(w.t, err)
	other.project = p.ID
	if account != "" {
		w.exec(`INSERT INTO accounts (id, kind, name, created_at) VALUES (?, 'organisation', ?, 1) ON CONFLICT (id) DO NOTHING`, account, account)
		w.exec(`UPDATE projects SET account_id = ?, state = 'active' WHERE id = ?`, account, p.ID)
	}
	return other
}

// TestReceiversThatHangDelayTheirOwnOnly: an account has its share of the slots, with all of its projects. What is to be sent for
// others goes out meanwhile, and when an attempt ends the account goes on without a pause.
func TestReceiversThatHangDelayTheirOwnOnly(t *testing.T) {
	each(t, func(w *world) {
		const account = "00000000-0000-7000-8000-00000000000a"
		began, hang := make(chan struct{}, 16), make(chan struct{})
		var ends sync.Once
		end := func() { ends.Do(func() { close(hang) }) }
		slow := newReceiver(w.t, func(message) int {
			began <- struct{}{}
			<-hang
			return http.StatusOK
		})
		answered := make(chan struct{}, 16)
		quick := newReceiver(w.t, func(message) int {
			answered <- struct{}{}
			return http.StatusOK
		})
		s := w.service(func(c *webhooks.Config) { c.Concurrency, c.OwnerPercent, c.Timeout = 8, 25, time.Minute })
		for _, slug := range []string{"one", "two", "three"} {
			p := w.in(slug, account)
			for range 4 {
				p.hook(s, slow.URL)
			}
			p.push("o0", 0)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
		var work sync.WaitGroup
		work.Go(func() { _ = s.Run(ctx) }) // always nil
		w.t.Cleanup(func() {
			end()
			cancel()
			work.Wait()
		})
		<-began
		<-began
		quickHook, _ := w.hook(s, quick.URL)
		for range 2 { // by the second one at the latest, whatever else might have been sent was
			_, err := s.Ping(w.t.Context(), nil, w.project, quickHook.ID, "test")
			check(w.t, err)
			within(w.t, answered, "another project's event waits for receivers that hang")
		}
		if n := len(began); n != 0 {
			w.t.Errorf("%d attempts under way for one account, want 2 of 8", n+2)
		}
		end()
		for range 12 - 2 {
			within(w.t, began, "the account's other webhooks wait")
		}
	})
}

// within waits for a value, for a time that is far more than it takes.
func within(t *testing.T, c <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal(otherwise)
	}
}
