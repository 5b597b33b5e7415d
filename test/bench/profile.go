package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profile records where Berth spends processor time until end is called, if profiles are wanted. Its failures are said
// and do no harm: it is no part of what is measured.
func (st *stage) profile(ctx context.Context, r *registry, name string) (end func()) {
	if st.profiles == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.recordProfile(ctx, filepath.Join(st.profiles, fileName(name)+".pprof")); err != nil {
			st.say("profile of %s: %v", name, err)
		}
	}()
	return func() {
		<-done
		cancel()
	}
}

// profileSeconds is the length of a profile: about that of a case.
const profileSeconds = "6"

func (r *registry) recordProfile(ctx context.Context, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.debug+"/debug/pprof/profile?seconds="+profileSeconds, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // profiles are no secret
		return err
	}
	return os.WriteFile(file, data, 0o644) //nolint:gosec // profiles are no secret
}

// fileName makes a name of a case fit for a file.
func fileName(name string) string {
	return strings.NewReplacer(", ", "-", " ", "-", "/", "-").Replace(name)
}
