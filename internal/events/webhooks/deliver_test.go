package webhooks_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/events/webhooks"
)

// TestReceiverThatIsDownGetsEverything: while a receiver fails, the events of an object wait behind the first of them; then
// all come, in order.
func TestReceiverThatIsDownGetsEverything(t *testing.T) {
	each(t, func(w *world) {
		r := newReceiver(w.t, always(http.StatusInternalServerError))
		s := w.service()
		hook, secret := w.hook(s, r.URL+"/hook?key=1")
		for n := range 4 {
			for i := range 3 {
				w.push(fmt.Sprintf("o%d", i), n)
			}
		}
		for range 3 {
			check(w.t, s.Dispatch(w.t.Context()))
			w.advance(time.Hour)
		}
		down := r.taken()
		if len(down) != 9 {
			w.t.Errorf("%d attempts while the receiver was down, want 3 of each object's first event", len(down))
		}
		for _, m := range down {
			if m.n != 0 {
				w.t.Errorf("%s: event %d overtook the first", m.object, m.n)
			}
			verify(w.t, secret, m)
		}
		if is, err := s.Get(w.t.Context(), w.project, hook.ID); err != nil || is.FailingSince.IsZero() {
			w.t.Errorf("%+v %v: does not fail", is, err)
		}
		r.answers(nil)
		check(w.t, s.Dispatch(w.t.Context()))
		up := r.taken()
		if len(up) != 12 {
			w.t.Errorf("%d events came at once when the receiver was up again, want 12", len(up))
		}
		inOrder(w.t, append(down, up...), 3, 4)
		if is, err := s.Get(w.t.Context(), w.project, hook.ID); err != nil || !is.FailingSince.IsZero() {
			w.t.Errorf("%+v %v: fails", is, err)
		}
		if stats := s.Stats(); stats.Delivered != 12 || stats.Failed != 9 || stats.Dead != 0 {
			w.t.Errorf("%+v", stats)
		}
	})
}

// TestReceiverThatFailsNowAndThen: a receiver that fails at random gets everything in order all the same.
func TestReceiverThatFailsNowAndThen(t *testing.T) {
	each(t, func(w *world) {
		var count atomic.Int64
		r := newReceiver(w.t, func(message) int {
			if count.Add(1)%3 == 0 {
				return http.StatusBadGateway
			}
			return http.StatusNoContent
		})
		s := w.service()
		hook, _ := w.hook(s, r.URL)
		for n := range 5 {
			for i := range 3 {
				w.push(fmt.Sprintf("o%d", i), n)
			}
		}
		w.drain(s, hook.ID)
		inOrder(w.t, r.taken(), 3, 5)
	})
}

// TestTwoReplicasDeliverOnce: while nobody crashes, replicas that deliver at the same time send each event once, in order.
func TestTwoReplicasDeliverOnce(t *testing.T) {
	each(t, func(w *world) {
		const hooks, objects, each = 4, 3, 6
		replicas := []*webhooks.Service{w.service(), w.service(func(c *webhooks.Config) { c.DB = w.other() })}
		w.t.Cleanup(func() { check(w.t, replicas[1].DB.Close()) })
		receivers := make([]*receiver, hooks)
		for i := range receivers {
			receivers[i] = newReceiver(w.t, nil)
			w.hook(replicas[0], receivers[i].URL)
		}
		for n := range each {
			for i := range objects {
				w.push(fmt.Sprintf("o%d", i), n)
			}
		}
		var work sync.WaitGroup
		for _, s := range replicas {
			work.Go(func() {
				if err := s.Dispatch(w.t.Context()); err != nil {
					w.t.Error(err)
				}
			})
		}
		work.Wait()
		for _, s := range replicas { // what a replica had taken when the other looked for the last time
			check(w.t, s.Dispatch(w.t.Context()))
		}
		for i, r := range receivers {
			got := r.taken()
			if len(got) != objects*each {
				w.t.Errorf("receiver %d got %d messages, want %d", i, len(got), objects*each)
			}
			inOrder(w.t, got, objects, each)
		}
		if sum := replicas[0].Stats().Delivered + replicas[1].Stats().Delivered; sum != hooks*objects*each {
			w.t.Errorf("%d delivered", sum)
		}
	})
}

// TestCrashAfterTheAnswer: a replica that ends after the receiver has taken an event, and before that is written down, leaves
// it to others, who send it again when the lease has ended: with the same ID and body.
func TestCrashAfterTheAnswer(t *testing.T) {
	each(t, func(w *world) {
		doomed := w.other()
		var once sync.Once
		r := newReceiver(w.t, func(message) int {
			once.Do(func() { _ = doomed.Close() })
			return http.StatusOK
		})
		crashing := w.service(func(c *webhooks.Config) { c.DB = doomed })
		s := w.service()
		hook, _ := w.hook(s, r.URL)
		w.push("o0", 0)
		w.push("o0", 1)
		if err := crashing.Dispatch(w.t.Context()); err == nil {
			w.t.Error("nothing crashed")
		}
		check(w.t, s.Dispatch(w.t.Context()))
		first := r.taken()
		if len(first) != 1 {
			w.t.Fatalf("%d messages while the lease lasts, want 1", len(first))
		}
		w.exec(`UPDATE webhooks SET leased_until = 1`) // it has ended
		check(w.t, s.Dispatch(w.t.Context()))
		again := r.taken()
		if len(again) != 2 || again[0].id != first[0].id || !bytes.Equal(again[0].body, first[0].body) {
			w.t.Errorf("%+v, after %+v", again, first)
		}
		inOrder(w.t, append(first, again...), 1, 2)
		if left := w.deliveries(s, hook.ID, webhooks.Pending); len(left) != 0 {
			w.t.Errorf("%+v", left)
		}
	})
}

// TestAskedForWhileItIsSent: what somebody wants to be sent again while it is being sent is sent again, although that succeeds.
func TestAskedForWhileItIsSent(t *testing.T) {
	each(t, func(w *world) {
		var s *webhooks.Service
		var hook webhooks.Webhook
		var once sync.Once
		r := newReceiver(w.t, func(m message) int {
			once.Do(func() {
				if _, err := s.Redeliver(w.t.Context(), nil, w.project, hook.ID, uuid.MustParse(m.id)); err != nil {
					w.t.Error(err)
				}
			})
			return http.StatusOK
		})
		s = w.service()
		hook, _ = w.hook(s, r.URL)
		w.push("o0", 0)
		check(w.t, s.Dispatch(w.t.Context()))
		w.advance(time.Second)
		check(w.t, s.Dispatch(w.t.Context()))
		if got := r.taken(); len(got) != 2 || got[0].id != got[1].id {
			w.t.Errorf("%+v", got)
		}
		if left := w.deliveries(s, hook.ID, webhooks.Pending); len(left) != 0 {
			w.t.Errorf("%+v", left)
		}
	})
}

// TestAReceiverThatFailsHoldsNoSlot: one that fails, with much to get, lets the others have their turn after each round.
func TestAReceiverThatFailsHoldsNoSlot(t *testing.T) {
	each(t, func(w *world) {
		r := newReceiver(w.t, func(m message) int {
			if m.object != "works" {
				return http.StatusBadGateway
			}
			return http.StatusOK
		})
		s := w.service(func(c *webhooks.Config) { c.Concurrency = 1 })
		w.hook(s, r.URL)
		for i := range 20 {
			w.push(fmt.Sprintf("o%d", i), 0)
		}
		w.hook(s, r.URL)
		w.push("works", 0) // for both, and last in line at the first
		check(w.t, s.Dispatch(w.t.Context()))
		got := r.taken()
		if at := slices.IndexFunc(got, func(m message) bool { return m.object == "works" }); at < 0 || at > 4 {
			w.t.Errorf("the second webhook had its turn after %d attempts of the first, of %d", at, len(got))
		}
	})
}

// TestDeadLetter: an event that is given up stays to be seen, lets the next one of its object through, and is sent again
// when somebody asks for it.
func TestDeadLetter(t *testing.T) {
	each(t, func(w *world) {
		r := newReceiver(w.t, func(m message) int {
			if m.n == 0 {
				return http.StatusTeapot
			}
			return http.StatusOK
		})
		s := w.service(func(c *webhooks.Config) { c.MaxAttempts = 3 })
		hook, _ := w.hook(s, r.URL)
		w.push("o0", 0)
		w.push("o0", 1)
		w.drain(s, hook.ID)
		if got := r.taken(); len(got) != 4 || got[3].n != 1 {
			w.t.Errorf("%+v", got)
		}
		dead := w.deliveries(s, hook.ID, webhooks.Dead)
		if len(dead) != 1 || dead[0].Attempts != 3 || dead[0].Status != http.StatusTeapot || dead[0].FinishedAt.IsZero() {
			w.t.Fatalf("%+v", dead)
		}
		if stats := s.Stats(); stats.Dead != 1 || stats.Failed != 3 || stats.Delivered != 1 {
			w.t.Errorf("%+v", stats)
		}
		r.answers(nil)
		again, err := s.Redeliver(w.t.Context(), nil, w.project, hook.ID, dead[0].ID)
		check(w.t, err)
		if again.State != webhooks.Pending || again.ID != dead[0].ID {
			w.t.Errorf("%+v", again)
		}
		check(w.t, s.Dispatch(w.t.Context()))
		if got := r.taken(); len(got) != 1 || got[0].id != dead[0].ID.String() {
			w.t.Errorf("%+v", got)
		}
		if left := w.deliveries(s, hook.ID, webhooks.Delivered); len(left) != 2 {
			w.t.Errorf("%+v", left)
		}
		if _, err := s.Redeliver(w.t.Context(), nil, w.project, hook.ID, uuid.New()); err == nil {
			w.t.Error("an event that does not exist is sent")
		}
	})
}

// TestReceiverThatIsGone: the server disables a webhook whose receiver says that it is gone, or that fails for days.
func TestReceiverThatIsGone(t *testing.T) {
	each(t, func(w *world) {
		r := newReceiver(w.t, always(http.StatusGone))
		s := w.service()
		gone, _ := w.hook(s, r.URL)
		w.push("o0", 0)
		w.push("o0", 1)
		check(w.t, s.Dispatch(w.t.Context()))
		is, err := s.Get(w.t.Context(), w.project, gone.ID)
		check(w.t, err)
		if is.Enabled || is.DisabledReason == "" || len(r.taken()) != 1 || len(w.deliveries(s, gone.ID, webhooks.Dead)) != 2 {
			w.t.Errorf("%+v", is)
		}
		w.push("o0", 2)
		if all := w.deliveries(s, gone.ID, ""); len(all) != 2 {
			w.t.Errorf("a disabled webhook gets events: %+v", all)
		}
		if _, err := s.Ping(w.t.Context(), nil, w.project, gone.ID, "test"); err == nil {
			w.t.Error("a disabled webhook is pinged")
		}
		check(w.t, s.Delete(w.t.Context(), nil, w.project, gone.ID, 0))

		r.answers(always(http.StatusInternalServerError))
		failing, _ := w.hook(s, r.URL)
		for day := range 6 {
			w.push(fmt.Sprintf("o%d", day), 0)
			check(w.t, s.Dispatch(w.t.Context()))
			if is, err = s.Get(w.t.Context(), w.project, failing.ID); err != nil || is.Enabled != (day < 5) {
				w.t.Errorf("day %d: %+v %v", day, is, err)
			}
			w.advance(24 * time.Hour)
		}
	})
}

// TestReceiverThatAsksForPatience: Retry-After is granted, up to a day; a redirect is not followed and is a failure.
func TestReceiverThatAsksForPatience(t *testing.T) {
	each(t, func(w *world) {
		elsewhere := newReceiver(w.t, nil)
		status := http.StatusServiceUnavailable
		busy := http.NewServeMux()
		busy.HandleFunc("/", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Retry-After", "7200")
			rw.Header().Set("Location", elsewhere.URL)
			rw.WriteHeader(status)
		})
		server := newServer(w.t, busy)
		s := w.service()
		hook, _ := w.hook(s, server)
		w.push("o0", 0)
		check(w.t, s.Dispatch(w.t.Context()))
		if d := w.deliveries(s, hook.ID, ""); len(d) != 1 || !d[0].NextAttemptAt.Equal(w.now().Add(2*time.Hour)) {
			w.t.Errorf("%+v at %s", d, w.now())
		}
		status = http.StatusTemporaryRedirect
		w.advance(2 * time.Hour)
		check(w.t, s.Dispatch(w.t.Context()))
		if d := w.deliveries(s, hook.ID, webhooks.Pending); len(d) != 1 || d[0].Status != http.StatusTemporaryRedirect || d[0].Attempts != 2 {
			w.t.Errorf("%+v", d)
		}
		if got := elsewhere.taken(); len(got) != 0 {
			w.t.Errorf("a redirect was followed: %+v", got)
		}
	})
}
