package uploads

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// TestNoInterruptAfterEnd never touches the connection of a request that has ended: it may serve another one by then.
func TestNoInterruptAfterEnd(t *testing.T) {
	for name, interrupt := range map[string]func(ws *writers, w *writer){
		"stop":  func(_ *writers, w *writer) { _ = w.stop(t.Context()) },
		"drain": func(_ *writers, w *writer) { w.interruptUntilDone() },
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWriters()
			id := uuid.New()
			w, _, err := ws.begin(t.Context(), id, func() { t.Error("interrupted after its end") })
			if err != nil {
				t.Fatal(err)
			}
			ws.end(id, w)
			interrupt(&ws, w)
		})
	}
}

// TestEndWaitsForInterrupt keeps a request from ending while it is being interrupted.
func TestEndWaitsForInterrupt(t *testing.T) {
	ws := newWriters()
	id := uuid.New()
	var w *writer
	w, _, err := ws.begin(t.Context(), id, func() {
		go ws.end(id, w)
		for range 10_000 {
			runtime.Gosched()
			select {
			case <-w.done:
				t.Error("the request ended while it was being interrupted")
				return
			default:
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.interruptUntilDone()
}

// TestInterruptsUntilTheEnd interrupts again and again: a request may set its read deadline at the same moment.
func TestInterruptsUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := newWriters()
		id := uuid.New()
		count := 0
		var first *writer
		first, _, err := ws.begin(t.Context(), id, func() {
			if count++; count == 3 {
				go ws.end(id, first)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := ws.begin(t.Context(), id, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if count < 3 || !errors.Is(context.Cause(first.ctx), errSuperseded) {
			t.Errorf("the first request was interrupted %d times and ended by %v", count, context.Cause(first.ctx))
		}
		ws.end(id, second)
	})
}

// TestFinishingIsNotStopped lets a request that has read its body end by itself.
func TestFinishingIsNotStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := newWriters()
		id := uuid.New()
		first, _, err := ws.begin(t.Context(), id, func() { t.Error("interrupted") })
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(first.watch(strings.NewReader("body"))); string(body) != "body" || err != nil {
			t.Errorf("read %q, %v", body, err)
		}
		go func() {
			<-time.After(time.Minute)
			if err := first.ctx.Err(); err != nil {
				t.Error(err)
			}
			ws.end(id, first)
		}()
		second, _, err := ws.begin(t.Context(), id, func() {})
		if err != nil {
			t.Fatal(err)
		}
		ws.end(id, second)
	})
}

// TestInheritedFence hands the fence of the last commit on from writer to writer, also over one that committed nothing.
func TestInheritedFence(t *testing.T) {
	ws := newWriters()
	id := uuid.New()
	begin := func(want int64) *writer {
		t.Helper()
		var w *writer
		var once sync.Once
		w, inherited, err := ws.begin(t.Context(), id, func() { once.Do(func() { go ws.end(id, w) }) })
		if err != nil {
			t.Fatal(err)
		}
		if inherited != want {
			t.Errorf("inherited %d, want %d", inherited, want)
		}
		return w
	}
	begin(0).fence = 7
	begin(7)
	begin(7).fence = 9
	last := begin(9)
	ws.end(id, last)
	ws.end(id, &writer{done: make(chan struct{}), cancel: func(error) {}})
	if w := begin(0); w.fence != 0 {
		t.Errorf("a writer that stopped nobody begins with the fence %d", w.fence)
	}
}

// TestBeginGivesUp lets a request go whose client does not wait for the one before to end.
func TestBeginGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := newWriters()
		id := uuid.New()
		first, _, err := ws.begin(t.Context(), id, func() {})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := ws.begin(ctx, id, func() {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		ws.end(id, first)
		s := &Service{writers: newWriters()}
		s.Drain()
		if _, _, err := s.writers.begin(t.Context(), id, func() {}); !errors.Is(err, errDraining) {
			t.Errorf("error %v", err)
		}
	})
}
