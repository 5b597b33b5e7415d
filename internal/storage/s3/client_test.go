package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// offline returns a store at a location whose requests go to rt instead of the network.
func offline(t *testing.T, location string, rt roundTripper) *Store {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	loc, err := ParseLocation(location)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), loc, Options{SpoolDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.fast.Transport, s.slow.Transport = rt, rt
	return s
}

// TestAddresses holds where requests go for each form of location.
func TestAddresses(t *testing.T) {
	const point = "arn:aws:s3:us-west-2:123456789012:accesspoint/point"
	tests := []struct{ location, url, copySource string }{
		{
			"s3://bucket/pre?region=eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com/pre/d/s/o",
			"bucket/pre/d/s/o",
		},
		{
			"s3://bucket/pre?region=eu-west-1&path_style=true", "https://s3.eu-west-1.amazonaws.com/bucket/pre/d/s/o",
			"bucket/pre/d/s/o",
		},
		{
			"s3://bucket?region=x&endpoint=http://host:9000&path_style=true", "http://host:9000/bucket/d/s/o", "bucket/d/s/o",
		},
		{
			point + "/pre", "https://point-123456789012.s3-accesspoint.us-west-2.amazonaws.com/pre/d/s/o",
			point + "/object/pre/d/s/o",
		},
	}
	for _, tt := range tests {
		t.Run(tt.location, func(t *testing.T) {
			var got *http.Request
			s := offline(t, tt.location, func(r *http.Request) (*http.Response, error) {
				got = r
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("x")), ContentLength: 1}, nil
			})
			r, err := s.Open(t.Context(), "d/s/o", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			got.URL.RawQuery = ""
			if got.URL.String() != tt.url {
				t.Errorf("URL = %s, want %s", got.URL, tt.url)
			}
			if source := s.copySource("d/s/o"); source != tt.copySource {
				t.Errorf("copy source = %s, want %s", source, tt.copySource)
			}
			link, err := s.Presign(t.Context(), "d/s/o", storage.Presign{Expires: time.Minute})
			if err != nil || !strings.HasPrefix(link, tt.url+"?") {
				t.Errorf("Presign = %s, %v", link, err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	if _, err := New(t.Context(), Location{Bucket: "bucket"}, Options{}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("no region: %v, want ErrInvalid", err)
	}
	loc := Location{Bucket: "bucket", Region: "x"}
	if _, err := New(t.Context(), loc, Options{SpoolDir: t.TempDir() + "/none"}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("no spool folder: %v, want ErrInvalid", err)
	}
	loc = Location{Bucket: "bucket", Endpoint: "http://127.0.0.1:1"}
	s, err := New(t.Context(), loc, Options{})
	if err != nil {
		t.Fatalf("an endpoint needs no region: %v", err)
	}
	_ = s.Close()
}

func TestOutlive(t *testing.T) {
	parent, cancelParent := context.WithCancel(t.Context())
	ctx, cancel := outlive(parent, time.Hour)
	cancelParent()
	if ctx.Err() != nil {
		t.Error("ended with its parent")
	}
	cancel()
	if ctx.Err() == nil {
		t.Error("does not end")
	}
	parent, cancelParent = context.WithCancel(t.Context())
	ctx, cancel = outlive(parent, time.Millisecond)
	defer cancel()
	cancelParent()
	<-ctx.Done()
}
