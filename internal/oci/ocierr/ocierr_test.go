package ocierr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/storage"
)

var errCause = errors.New("secret: password=hunter2")

func TestRefinedCopiesLeaveTheOriginalAlone(t *testing.T) {
	refined := ocierr.BlobUnknown.With("blob %s", "x").WithDetail(1).WithHeader("A", "b").WithCause(errCause)
	if !errors.Is(refined, ocierr.BlobUnknown) || !errors.Is(refined, errCause) {
		t.Errorf("%v must be a BlobUnknown with its cause", refined)
	}
	if errors.Is(refined, ocierr.ManifestUnknown) || errors.Is(ocierr.RouteUnknown, ocierr.Unsupported) {
		t.Error("codes and statuses must tell errors apart")
	}
	again := refined.WithHeader("A", "c")
	if refined.Header.Get("A") != "b" || again.Header.Get("A") != "c" {
		t.Errorf("headers are shared: %v, %v", refined.Header, again.Header)
	}
	original := ocierr.BlobUnknown
	if original.Message != "blob unknown to registry" || original.Detail != nil || original.Header != nil || original.Cause != nil {
		t.Errorf("the original has changed: %#v", original)
	}
}

func TestFrom(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want *ocierr.Error
	}{
		{"database", fmt.Errorf("query: %w", database.ErrUnavailable), ocierr.Unavailable},
		{"storage", fmt.Errorf("put: %w", storage.ErrUnavailable), ocierr.Unavailable},
		{"deadline", context.DeadlineExceeded, ocierr.Unavailable},
		{"cancelled", context.Canceled, ocierr.Unavailable},
		{"body limit", fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 7}), ocierr.BlobTooLarge},
		{"wrapped", fmt.Errorf("put tag: %w", ocierr.ManifestUnknown), ocierr.ManifestUnknown},
		{"joined", errors.Join(errCause, ocierr.Denied), ocierr.Denied},
		{"an answer wins over its cause", ocierr.BlobUnknown.WithCause(database.ErrUnavailable), ocierr.BlobUnknown},
		{"unknown", errCause, ocierr.Internal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ocierr.From(test.err)
			if got.Code != test.want.Code || got.Status != test.want.Status {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if !errors.Is(got, test.err) {
				t.Errorf("%v has lost %v", got, test.err)
			}
		})
	}
	if got := ocierr.From(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
	if got := ocierr.Unavailable.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q", got)
	}
}

func TestWrite(t *testing.T) {
	answer := ocierr.ManifestBlobUnknown.WithDetail(map[string]string{"digest": "sha256:1"}).WithHeader("Warning", "w").WithCause(errCause)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		t.Run(method, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			recorder.Header().Set("Etag", `"stale"`)
			recorder.Header().Set("Docker-Content-Digest", "sha256:stale")
			ocierr.Write(recorder, httptest.NewRequest(method, "/v2/", nil), fmt.Errorf("put: %w", answer))
			const body = `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"manifest references a manifest or blob unknown to registry","detail":{"digest":"sha256:1"}}]}`
			checkHeader(t, recorder, map[string]string{
				"Content-Type": "application/json", "Cache-Control": "no-store", "Warning": "w",
				"Content-Length": strconv.Itoa(len(body)), "Etag": "", "Docker-Content-Digest": "",
			})
			want := body
			if method == http.MethodHead {
				want = ""
			}
			if recorder.Code != http.StatusBadRequest || recorder.Body.String() != want {
				t.Errorf("got %d %s", recorder.Code, recorder.Body)
			}
		})
	}
}

func checkHeader(t *testing.T, recorder *httptest.ResponseRecorder, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := recorder.Header().Get(key); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
}

func TestWriteNeverSendsCauses(t *testing.T) {
	for _, err := range []error{errCause, fmt.Errorf("%w: %w", database.ErrUnavailable, errCause), nil} {
		recorder := httptest.NewRecorder()
		ocierr.Write(recorder, httptest.NewRequest(http.MethodGet, "/v2/", nil), err)
		if recorder.Code < 500 || strings.Contains(recorder.Body.String(), "hunter2") {
			t.Errorf("%v: got %d %s", err, recorder.Code, recorder.Body)
		}
	}
}

// unmarshalable claims to be JSON.
type unmarshalable struct{}

func (unmarshalable) MarshalJSON() ([]byte, error) { return []byte("{"), nil }

func TestMessagesAndDetailsAreBoundedAndClean(t *testing.T) {
	nasty := "\x00\r\nSet-Cookie: a=b\x1b[31m\u202e\u2028\xff" + strings.Repeat("é", 5000)
	tests := map[string]*ocierr.Error{
		"With":           ocierr.NameInvalid.With("name %s", nasty),
		"literal":        {Status: 400, Code: "NAME_INVALID", Message: nasty},
		"long detail":    ocierr.NameInvalid.WithDetail(strings.Repeat("x", 5000)),
		"broken detail":  ocierr.NameInvalid.WithDetail(make(chan int)),
		"invalid detail": ocierr.NameInvalid.WithDetail(unmarshalable{}),
		"raw detail":     ocierr.NameInvalid.WithDetail(json.RawMessage("{")),
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			ocierr.Write(recorder, httptest.NewRequest(http.MethodGet, "/v2/", nil), answer)
			if recorder.Body.Len() > 2048 {
				t.Errorf("the body has %d bytes", recorder.Body.Len())
			}
			checkMessage(t, recorder.Body.Bytes())
		})
	}
}

func checkMessage(t *testing.T, body []byte) {
	t.Helper()
	var envelope struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &envelope); err != nil || len(envelope.Errors) != 1 {
		t.Fatalf("no envelope: %v: %s", err, body)
	}
	message := envelope.Errors[0].Message
	if message == "" || len(message) > 512 {
		t.Errorf("the message has %d bytes", len(message))
	}
	if strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("the message is not printable: %q", message)
	}
}
