package diskcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/diskcache"
)

type stepped struct {
	io.ReadCloser
	steps <-chan int // how many bytes the next Read may give; closed: all
}

func (s stepped) Read(p []byte) (int, error) {
	n, ok := <-s.steps
	if !ok {
		return s.ReadCloser.Read(p)
	}
	return io.ReadFull(s.ReadCloser, p[:n])
}

func TestReadersShareAFetch(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return stepped{ReadCloser: r, steps: steps}, err
	}
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", 2*mib)
	const readers = 100
	opened, done := make(chan struct{}), make(chan error)
	for i := range readers {
		go func() {
			r, err := s.Open(context.Background(), "day/object", int64(i), int64(2*mib-i))
			if err != nil {
				done <- err
				return
			}
			opened <- struct{}{}
			got, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(got, data[i:]) {
				err = errors.New("other bytes")
			}
			done <- errors.Join(err, r.Close())
		}()
		<-opened // the first begins at 0, and the others come while nothing has been fetched
	}
	for range 4 {
		steps <- 1000
	}
	close(steps)
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantOpens(t, b, 1)
	if stats := s.Stats(); stats.Shared != readers-1 {
		t.Errorf("stats %+v", stats)
	}
}

func TestFarAhead(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	s := open(t, b, diskcache.Options{Size: 8 * diskcache.MinSize})
	data := put(t, s, "day/object", 20*mib)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		b.open = nil
		return stepped{ReadCloser: r, steps: steps}, err
	}
	first, err := s.Open(t.Context(), "day/object", 0, 20*mib)
	if err != nil {
		t.Fatal(err)
	}
	read(t, s, "day/object", data, 19*mib, mib)
	wantOpens(t, b, 3)
	close(steps)
	if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

func TestGivenUp(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	ended := make(chan struct{})
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return closing{stepped{ReadCloser: r, steps: steps}, ended}, err
	}
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", mib)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Open(ctx, "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Open(t.Context(), "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(first); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context has ended: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	steps <- 1000
	got := make([]byte, 1000)
	if _, err := io.ReadFull(second, got); err != nil || !bytes.Equal(got, data[:1000]) {
		t.Errorf("the other reader: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	close(steps) // the context of the fetch has ended: its next Read fails
	<-ended
	s.WaitIdle()
	if _, ok := s.CopyOf("day/object"); ok {
		t.Error("there is a copy of what was given up")
	}
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	wantOpens(t, b, 2)
}

func TestFirstLeavesEarly(t *testing.T) {
	b, answer := newBehind(t), make(chan struct{})
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		<-answer
		return r, err
	}
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", mib)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.Open(ctx, "day/object", 0, mib)
		left <- err
	}()
	await(t, func() bool { return b.opens.Load() == 1 })
	const followers = 20
	done := make(chan error)
	for range followers {
		go func() {
			r, err := s.Open(context.Background(), "day/object", 0, mib)
			if err != nil {
				done <- err
				return
			}
			got, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(got, data) {
				err = errors.New("other bytes")
			}
			done <- errors.Join(err, r.Close())
		}()
	}
	await(t, func() bool { return s.Followers("day/object") == 1+followers })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	close(answer)
	for range followers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantOpens(t, b, 1)
}

func await(t *testing.T, so func() bool) {
	t.Helper()
	for !so() {
		if t.Context().Err() != nil {
			t.Fatal("the test has ended")
		}
		runtime.Gosched()
	}
}

func TestRefused(t *testing.T) {
	b, answer := newBehind(t), make(chan struct{})
	b.open = func(_ io.ReadCloser, err error) (io.ReadCloser, error) {
		<-answer
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	s := open(t, b, diskcache.Options{})
	done := make(chan error)
	for range 10 {
		go func() {
			_, err := s.Open(context.Background(), "day/object", 0, 10)
			done <- err
		}()
	}
	await(t, func() bool { return s.Followers("day/object") == 10 })
	close(answer)
	for range 10 {
		if err := <-done; !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	wantOpens(t, b, 1)
}

type closing struct {
	stepped
	closed chan struct{}
}

func (c closing) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.stepped.Close()
}

type cut struct {
	io.ReadCloser
	left int
	err  error
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func TestStoreBreaksOff(t *testing.T) {
	b := newBehind(t)
	s := open(t, b, diskcache.Options{})
	data := put(t, s, "day/object", mib)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return &cut{r, 300_000, fmt.Errorf("%w: cut", storage.ErrUnavailable)}, err
	}
	read(t, s, "day/object", data, 0, len(data))
	s.WaitIdle()
	wantOpens(t, b, 4)
	if _, ok := s.CopyOf("day/object"); !ok {
		t.Error("there is no copy")
	}
}

func TestStoreGivesUp(t *testing.T) {
	for name, failure := range map[string]error{"for good": errors.New("broken"), "four times in a row": storage.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			b := newBehind(t)
			s := open(t, b, diskcache.Options{})
			data := put(t, s, "day/object", mib)
			var opens int
			b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
				opens++
				switch {
				case opens == 1:
					return &cut{r, 300_000, failure}, err
				case opens <= 4 && errors.Is(failure, storage.ErrUnavailable):
					return &cut{r, 0, failure}, err
				}
				return r, err
			}
			r, err := s.Open(t.Context(), "day/object", 0, mib)
			if err != nil {
				t.Fatal(err)
			}
			s.WaitIdle() // so that its end is what the reader meets
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if _, ok := s.CopyOf("day/object"); ok || s.Stats().Bytes != 0 {
				t.Errorf("there is a copy, or something of it: %+v", s.Stats())
			}
		})
	}
}

func TestErrorsOfTheStore(t *testing.T) {
	b := newBehind(t)
	s := open(t, b, diskcache.Options{})
	if _, err := s.Open(t.Context(), "day/object", 0, 10); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("absent: %v", err)
	}
	data := put(t, s, "day/object", 10)
	r, err := s.Open(t.Context(), "day/object", 0, 11)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(got, data) {
		t.Errorf("longer than the object: %d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	s.WaitIdle()
	if _, ok := s.CopyOf("day/object"); ok {
		t.Error("there is a copy of what was shorter than asked")
	}
}

func TestManyFetches(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	s := open(t, b, diskcache.Options{})
	var readers []io.ReadCloser
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return stepped{ReadCloser: r, steps: steps}, err
	}
	for i := range diskcache.MaxFetches + 10 {
		key := fmt.Sprintf("day/object-%d", i)
		put(t, s, key, 10)
		r, err := s.Open(t.Context(), key, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if got := s.Stats().Bytes; got != diskcache.MaxFetches*diskcache.Block {
		t.Errorf("%d bytes are being fetched", got)
	}
	close(steps)
	for _, r := range readers {
		if n, err := io.Copy(io.Discard, r); err != nil || n != 10 {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestClose(t *testing.T) {
	b, steps := newBehind(t), make(chan int)
	b.open = func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		return stepped{ReadCloser: r, steps: steps}, err
	}
	s := wrap(t, b, diskcache.Options{Dir: t.TempDir()})
	put(t, s, "day/object", mib)
	r, err := s.Open(t.Context(), "day/object", 0, mib)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	close(steps)
	if err := errors.Join(<-closed, r.Close()); err != nil {
		t.Error(err)
	}
}
