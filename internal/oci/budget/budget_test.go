package budget_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/oci/budget"
)

func TestOneCallerHoldsNoMoreThanTheirShare(t *testing.T) {
	b := budget.New(800, 100)
	first, second, other := b.Open("a"), b.Open("a"), b.Open("b")
	defer other.Release()
	if err := errors.Join(first.TryGrow(60), second.TryGrow(40)); err != nil {
		t.Fatal(err)
	}
	if err := second.TryGrow(1); !errors.Is(err, budget.ErrFull) {
		t.Errorf("over the share: %v", err)
	}
	if err := other.TryGrow(100); err != nil {
		t.Errorf("another caller: %v", err)
	}
	first.Release()
	first.Release()
	if err := second.TryGrow(60); err != nil {
		t.Errorf("after a release: %v", err)
	}
	if err := second.TryGrow(1); !errors.Is(err, budget.ErrFull) {
		t.Errorf("what was released twice counts twice: %v", err)
	}
	second.Release()
}

func TestAllCallersHoldNoMoreThanThereIs(t *testing.T) {
	b := budget.New(250, 100)
	first, second := b.Open("a"), b.Open("b")
	defer first.Release()
	defer second.Release()
	if err := errors.Join(first.TryGrow(100), second.TryGrow(100)); err != nil {
		t.Fatal(err)
	}
	c := b.Open("c")
	defer c.Release()
	if err := c.TryGrow(51); !errors.Is(err, budget.ErrFull) {
		t.Errorf("over the total: %v", err)
	}
	if err := c.TryGrow(50); err != nil {
		t.Errorf("what was refused counts: %v", err)
	}
}

func TestGrowWaitsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(800, 100)
		first, second := b.Open("a"), b.Open("a")
		defer second.Release()
		if err := first.Grow(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := second.Grow(t.Context(), 1); !errors.Is(err, budget.ErrFull) || time.Since(began) != budget.Wait {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if err := second.Grow(t.Context(), 101); !errors.Is(err, budget.ErrFull) || time.Since(began) != budget.Wait {
			t.Errorf("what can never be is waited for: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := second.Grow(gone, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		time.AfterFunc(time.Second, first.Release)
		if err := second.Grow(t.Context(), 100); err != nil {
			t.Errorf("released in time: %v", err)
		}
	})
}

func TestManyCallers(t *testing.T) {
	b := budget.New(400, 100)
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			h := b.Open(string(rune('a' + i%8)))
			defer h.Release()
			for range 10 {
				if err := h.Grow(t.Context(), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	h := b.Open("all")
	defer h.Release()
	if err := h.TryGrow(100); err != nil {
		t.Errorf("something was not given back: %v", err)
	}
}

func TestBufferHoldsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := budget.New(1<<30, 1<<30)
		h := b.Open("a")
		defer h.Release()
		buffer := budget.NewBuffer(h)
		var want bytes.Buffer
		for i, n := range rapid.SliceOfN(rapid.IntRange(0, 3*budget.Block), 0, 6).Draw(t, "sizes") {
			piece := strings.Repeat(string(rune('a'+i)), n)
			want.WriteString(piece)
			var err error
			if i%2 == 0 {
				_, err = buffer.WriteString(piece)
			} else {
				_, err = io.Copy(struct{ io.Writer }{buffer}, struct{ io.Reader }{strings.NewReader(piece)})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			var got bytes.Buffer
			n, err := buffer.WriteTo(&got)
			if err != nil || n != int64(want.Len()) || buffer.Len() != want.Len() || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Fatalf("%d of %d bytes, %v", n, want.Len(), err)
			}
		}
	})
}

func TestBufferCountsAllButItsFirstBlock(t *testing.T) {
	b := budget.New(budget.Block, budget.Block)
	small, large := b.Open("a"), b.Open("a")
	defer large.Release()
	buffer := budget.NewBuffer(large)
	if n, err := buffer.Write(make([]byte, 3*budget.Block)); n != 2*budget.Block || !errors.Is(err, budget.ErrFull) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := budget.NewBuffer(small).Write(make([]byte, budget.Block)); err != nil {
		t.Errorf("a small answer: %v", err)
	}
	small.Release()
}
