package uploads

import (
	"testing"
	"time"
)

// TestWhatAnUploadGivesUpGoesSoon: what no quota counts must not stay for as long as what somebody may be reading.
func TestWhatAnUploadGivesUpGoesSoon(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for delay, want := range map[time.Duration]time.Duration{24 * time.Hour: time.Hour, time.Minute: time.Minute} {
		s := New(Config{SweepDelay: delay, Clock: func() time.Time { return now }})
		if got := s.discardAt(); got != now.Add(want).UnixMicro() {
			t.Errorf("sweep delay %s: %s", delay, time.UnixMicro(got).Sub(now))
		}
		if got := s.doomAt(); got != now.Add(delay).UnixMicro() {
			t.Errorf("sweep delay %s of a blob: %s", delay, time.UnixMicro(got).Sub(now))
		}
	}
}
