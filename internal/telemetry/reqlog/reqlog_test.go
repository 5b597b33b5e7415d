package reqlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

func TestRecordKeepsTheLastValueOfAKey(t *testing.T) {
	t.Parallel()
	ctx, record := reqlog.New(t.Context(), "id-1")
	reqlog.Set(ctx, reqlog.Principal, "anonymous")
	reqlog.Set(ctx, reqlog.Route, "blob_get")
	reqlog.Set(ctx, reqlog.Principal, "user:1")
	reqlog.Fail(ctx, errors.New("first"))
	reqlog.Fail(ctx, nil)

	if got, want := fmt.Sprint(record.Attrs()), "[principal=user:1 route=blob_get]"; got != want {
		t.Errorf("attributes: %s, want %s", got, want)
	}
	if record.Err() == nil || record.Err().Error() != "first" {
		t.Errorf("cause: %v", record.Err())
	}
	if reqlog.ID(ctx) != "id-1" || record.ID() != "id-1" {
		t.Errorf("ID: %q", reqlog.ID(ctx))
	}
}

func TestNothingHappensOutsideARequest(t *testing.T) {
	t.Parallel()
	reqlog.Set(t.Context(), "key", 1)
	reqlog.Fail(t.Context(), errors.New("lost"))
	if id := reqlog.ID(context.Background()); id != "" {
		t.Errorf("ID outside a request: %q", id)
	}
}

func TestRecordIsBoundedAndSafe(t *testing.T) {
	t.Parallel()
	ctx, record := reqlog.New(t.Context(), "id")
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 100 {
				reqlog.Set(ctx, fmt.Sprintf("key_%d_%d", worker, i), i)
				record.Attrs()
			}
		})
	}
	group.Wait()
	if n := len(record.Attrs()); n != 32 {
		t.Errorf("%d attributes, want 32", n)
	}
}

func TestHandlerAddsTheRequestID(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(reqlog.Handler(slog.NewTextHandler(&out, nil))).With("a", 1).WithGroup("g")
	ctx, _ := reqlog.New(t.Context(), "id-7")
	logger.InfoContext(ctx, "inside")
	logger.InfoContext(t.Context(), "outside")
	inside, outside, _ := strings.Cut(out.String(), "\n")
	if !strings.Contains(inside, "request_id=id-7") || strings.Contains(outside, "request_id") {
		t.Errorf("log:\n%s", out.String())
	}
}
