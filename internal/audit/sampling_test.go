package audit

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSampling: the first few refusals of a caller and action in a minute are written, the others counted; callers without an
// account are one by network; nothing grows without bound.
func TestSampling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSampler(2, time.Now)
		refuse := func(actor, ip, action string) verdict {
			return s.judge(Refusal{Origin: Origin{Actor: actor, RemoteIP: ip}, Action: action, Reason: action})
		}
		expect := func(want verdict, actor, ip, action string) {
			t.Helper()
			if got := refuse(actor, ip, action); got != want {
				t.Errorf("%s from %s, %s: %d, want %d", actor, ip, action, got, want)
			}
		}
		expect(written, "anonymous", "192.0.2.1", "a.b")
		expect(written, "anonymous", "::ffff:192.0.2.1", "a.b")
		expect(sampled, "anonymous", "192.0.2.1", "a.b")
		expect(sampled, "anonymous", "192.0.2.1", "a.b")
		expect(written, "anonymous", "192.0.2.1", "a.c")
		expect(written, "anonymous", "192.0.2.2", "a.b")
		expect(written, "user:1", "192.0.2.1", "a.b")
		expect(written, "anonymous", "2001:db8::1", "a.b")
		expect(written, "anonymous", "2001:db8::2", "a.b")
		expect(sampled, "anonymous", "2001:db8::3", "a.b")
		expect(written, "anonymous", "2001:db8:0:1::1", "a.b")
		if over := s.counts(false); len(over) != 0 {
			t.Errorf("counts before the minute is over: %+v", over)
		}
		time.Sleep(sampleWindow)
		total := 0
		for _, r := range s.counts(false) {
			total += r.count
		}
		if total != 3 || len(s.seen) != 0 {
			t.Errorf("%d counted, %d still known", total, len(s.seen))
		}
		expect(written, "anonymous", "192.0.2.1", "a.b")
	})
}

// TestSamplingIsBounded: who comes when there is no room is dropped, until a minute is over.
func TestSamplingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder(RecorderConfig{First: 1})
		for i := range maxSamples + 10 {
			r.Refused(Refusal{Origin: Origin{Actor: "user:" + time.Duration(i).String()}, Action: "a.b"})
		}
		want := Stats{Queued: maxSamples, Dropped: 10 + maxSamples - maxQueue}
		if got := r.Stats(); got != want || len(r.queue) != maxQueue {
			t.Errorf("%+v, %d queued, want %+v", got, len(r.queue), want)
		}
		time.Sleep(sampleWindow)
		r.sampler.counts(false)
		r.take()
		r.Refused(Refusal{Origin: Origin{Actor: "user:new"}, Action: "a.b"})
		if len(r.queue) != 1 {
			t.Error("nothing is taken any more")
		}
	})
}
