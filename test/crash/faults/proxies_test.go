package faults

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const patience = 30 * time.Second

// database is a connection through a proxy, and one past it, to a database with a table of one column.
func database(t *testing.T, traps *Traps) (p *Postgres, through func() *pgx.Conn, direct *pgx.Conn) {
	t.Helper()
	u, err := url.Parse(testenv.Postgres(t))
	must(t, err)
	p, err = NewPostgres(u.Host, 0, traps)
	must(t, err)
	t.Cleanup(p.Close)
	direct = connect(t, u.String())
	_, err = direct.Exec(t.Context(), "CREATE TABLE seen (n int)")
	must(t, err)
	u.Host = p.Address()
	return p, func() *pgx.Conn { return connect(t, u.String()) }, direct
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// insert writes two rows in one transaction, as the registry does: one pipeline.
func insert(t *testing.T, conn *pgx.Conn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := &pgx.Batch{}
	b.Queue("INSERT INTO seen VALUES (1)")
	b.Queue("INSERT INTO seen VALUES (2)")
	return conn.SendBatch(ctx, b).Close()
}

func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM seen").Scan(&n))
	return n
}

func TestPostgresSteps(t *testing.T) {
	t.Parallel()
	tests := map[Step]struct {
		rows   int  // that are committed when the replica ends
		answer bool // it has heard of that
	}{
		BeforeCommit:   {0, false},
		CommitWithheld: {2, false},
		CommitAnswered: {2, true},
	}
	for step, tt := range tests {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			var traps Traps
			_, through, direct := database(t, &traps)
			conn := through()
			must(t, conn.Ping(t.Context()))
			_, err := conn.Prepare(t.Context(), "one", "INSERT INTO seen VALUES (1)") // no transaction of the registry
			must(t, err)
			rows := make(chan int, 1)
			traps.Arm(step, AnyReplica, 0, func(int) {
				if step == BeforeCommit {
					rows <- 0 // the connection ends after this
					return
				}
				rows <- count(t, direct)
			})
			err = insert(t, conn)
			if (err == nil) != tt.answer {
				t.Errorf("the batch ended with %v", err)
			}
			if got := <-rows; got != tt.rows {
				t.Errorf("%d rows were committed at the step, want %d", got, tt.rows)
			}
			if got := count(t, direct); got != tt.rows {
				t.Errorf("%d rows are committed afterwards, want %d", got, tt.rows)
			}
		})
	}
}

func TestPostgresFaults(t *testing.T) {
	t.Parallel()
	var traps Traps
	p, through, direct := database(t, &traps)
	conn := through()
	must(t, insert(t, conn))
	p.Halve(1)
	if err := insert(t, conn); err == nil {
		t.Error("an answer that was cut in half arrived")
	}
	if got := count(t, direct); got != 4 {
		t.Errorf("%d rows, want 4: only the answer is lost", got)
	}
	p.Refuse(true)
	u := direct.Config().Copy()
	u.Port = uint16(portOf(t, p.Address()))
	if refused, err := pgx.ConnectConfig(t.Context(), u); err == nil {
		t.Error("a connection was taken", refused.Close(t.Context()))
	}
	p.Refuse(false)
	conn = through()
	p.Hang(true)
	ended := make(chan error, 1)
	go func() { ended <- insert(t, conn) }()
	select {
	case err := <-ended:
		t.Errorf("ended while everything hangs: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.Heal()
	must(t, <-ended)
	p.Cut()
	if err := insert(t, conn); err == nil {
		t.Error("a connection that was cut still works")
	}
	if c := p.Counts(); c.Halved != 1 || c.Refused == 0 || c.Cut == 0 { // a driver may try twice
		t.Errorf("counted %+v", c)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse("http://" + address)
	must(t, err)
	port := 0
	for _, digit := range u.Port() {
		port = 10*port + int(digit-'0')
	}
	return port
}

// store is a bucket through a proxy, and past it.
func store(t *testing.T, traps *Traps) (s *S3, through, direct storage.Store) {
	t.Helper()
	at := testenv.S3(t)
	_, rest, _ := strings.Cut(at, "endpoint=http://")
	target, _, _ := strings.Cut(rest, "&")
	s, err := NewS3(target, 0, traps)
	must(t, err)
	t.Cleanup(s.Close)
	open := func(at string) storage.Store {
		store, err := storeurl.Open(t.Context(), at, storeurl.Options{})
		must(t, err)
		t.Cleanup(func() { _ = store.Close() })
		return store
	}
	return s, open(strings.Replace(at, target, s.Address(), 1)), open(at)
}

const objectKey = "2026-01-02/018f0000-0000-7000-8000-000000000000/00000000000000000000000000000001"

var object = bytes.Repeat([]byte("berth"), 100_000)

func put(ctx context.Context, to storage.Store) error {
	w, err := to.Create(ctx, objectKey, int64(len(object)))
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	if _, err := w.Write(object); err != nil {
		return err
	}
	return w.Commit(ctx)
}

func stored(t *testing.T, in storage.Store) bool {
	t.Helper()
	r, err := in.Open(t.Context(), objectKey, 0, -1)
	if errors.Is(err, storage.ErrNotFound) {
		return false
	}
	must(t, err)
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r)
	must(t, err)
	if !bytes.Equal(content, object) {
		t.Errorf("%d bytes are stored, want %d", len(content), len(object))
	}
	return true
}

// errSprung ends the replica of a test, which is its context.
var errSprung = errors.New("sprung")

func TestS3Steps(t *testing.T) {
	t.Parallel()
	for step, there := range map[Step]bool{PutBegun: false, PutHalf: false, PutWithheld: true} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			var traps Traps
			_, through, direct := store(t, &traps)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			sprung := make(chan bool, 1)
			traps.Arm(step, AnyReplica, 0, func(int) {
				sprung <- stored(t, direct)
				cancel(errSprung)
			})
			if err := put(ctx, through); err == nil {
				t.Error("a put was acknowledged to who had been ended")
			}
			if got := <-sprung; got != there {
				t.Errorf("stored at the step: %t, want %t", got, there)
			}
		})
	}
}

func TestS3Removals(t *testing.T) {
	t.Parallel()
	for step, there := range map[Step]bool{DeleteBegun: true, DeleteWithheld: false} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			var traps Traps
			_, through, direct := store(t, &traps)
			must(t, put(t.Context(), direct))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			sprung := make(chan bool, 1)
			traps.Arm(step, AnyReplica, 0, func(int) {
				sprung <- stored(t, direct)
				cancel(errSprung)
			})
			if err := through.Delete(ctx, objectKey); err == nil {
				t.Error("a removal was acknowledged to who had been ended")
			}
			if got := <-sprung; got != there {
				t.Errorf("stored at the step: %t, want %t", got, there)
			}
		})
	}
}

func TestS3Faults(t *testing.T) {
	t.Parallel()
	var traps Traps
	s, through, direct := store(t, &traps)
	answered := make(chan struct{}, 1)
	s.Answered = func() { answered <- struct{}{} }
	s.SlowDown(1)
	must(t, put(t.Context(), through)) // tried again
	<-answered
	if !stored(t, direct) || !stored(t, through) {
		t.Error("not stored")
	}
	s.Halve(1)
	r, err := through.Open(t.Context(), objectKey, 0, -1)
	must(t, err)
	if got, err := io.ReadAll(r); err == nil && !bytes.Equal(got, object) {
		t.Errorf("%d bytes were read of an object that was cut in half, without an error", len(got))
	}
	_ = r.Close()
	s.Refuse(true)
	if err := through.Check(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a refused connection: %v", err)
	}
	s.Refuse(false)
	s.Lose(1)
	response, err := http.Get("http://" + s.Address() + "/")
	must(t, err)
	_ = response.Body.Close()
	must(t, through.Delete(t.Context(), objectKey))
	if stored(t, direct) {
		t.Error("not removed")
	}
	if c := s.Counts(); c.SlowDown != 1 || c.Halved != 1 || c.Refused == 0 {
		t.Errorf("counted %+v", c)
	}
}
