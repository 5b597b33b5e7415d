package front

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/config"
)

// events is the order in which things happened.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(event string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) expect(t *testing.T, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.list, want) {
		t.Errorf("events %q, want %q", e.list, want)
	}
}

type workerFunc func(context.Context) error

func (f workerFunc) Run(ctx context.Context) error { return f(ctx) }

// drainable is a plane whose only request lasts until it is told to end.
type drainable struct {
	routes
	drain func()
}

func (p drainable) Drain() { p.drain() }

func TestRunningRequestsFinishWhenTheServerStops(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(*http.Protocols){
		"HTTP/1": func(p *http.Protocols) { p.SetHTTP1(true) },
		"HTTP/2": func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		entered, release := make(chan struct{}), make(chan struct{})
		server, _ := newFront(t, nil, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			_, _ = io.WriteString(w, "finished")
		}})
		r := serve(t, server, listen(t))
		transport := &http.Transport{Protocols: new(http.Protocols)}
		setup(transport.Protocols)
		answers := make(chan string, 1)
		go func() {
			response, err := (&http.Client{Transport: transport}).Get("http://" + r.addr + "/v2/x")
			if err != nil {
				answers <- err.Error()
				return
			}
			defer func() { _ = response.Body.Close() }()
			body, _ := io.ReadAll(response.Body)
			answers <- string(body)
		}()
		<-entered
		r.stop()
		<-r.closed
		if conn, err := dialTCP(r.addr); err == nil {
			_ = conn.Close()
			t.Errorf("%s: a stopping server takes connections", name)
		}
		if !server.health.draining.Load() {
			t.Errorf("%s: a stopping server calls itself ready", name)
		}
		select {
		case err := <-r.ended:
			t.Fatalf("%s: Serve returned %v with a request running", name, err)
		default:
		}
		close(release)
		if answer := <-answers; answer != "finished" {
			t.Errorf("%s: the running request got %q", name, answer)
		}
		if err := <-r.ended; err != nil {
			t.Errorf("%s: Serve: %v", name, err)
		}
		r.ended <- nil
		transport.CloseIdleConnections()
	}
}

func TestDrainEndsWhatDoesNotFinishAndStopsWorkersLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var happened events
		entered, drained := make(chan struct{}), make(chan struct{})
		plane := drainable{
			routes: routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-drained
				time.Sleep(time.Second) // commits its chunk
				happened.add("request")
				w.WriteHeader(http.StatusServiceUnavailable)
			}},
			drain: func() { happened.add("drain"); close(drained) },
		}
		server, _ := newFront(t, func(c *Config) {
			idleSettings(c)
			c.Workers = []Worker{workerFunc(func(ctx context.Context) error {
				<-ctx.Done()
				happened.add("worker")
				return ctx.Err()
			})}
		}, plane)
		listener := newPipes()
		r := serve(t, server, listener)
		status := make(chan int, 1)
		go func() {
			response, err := listener.client(t, false).Get("http://berth/v2/x")
			if err != nil {
				t.Error(err)
				status <- 0
				return
			}
			_ = response.Body.Close()
			status <- response.StatusCode
		}()
		<-entered
		began := time.Now()
		r.stop()
		if got := <-status; got != http.StatusServiceUnavailable {
			t.Errorf("status %d", got)
		}
		r.ended <- <-r.ended
		if took := time.Since(began); took < 11*time.Second || took > 12*time.Second { // half of 20 s, and the plane's second
			t.Errorf("stopped after %s", took)
		}
		happened.expect(t, "drain", "request", "worker")
	})
}

func TestAStoppingServerAcceptsWhileTheLoadBalancerNotices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := newFront(t, func(c *Config) {
			idleSettings(c)
			c.HTTP.DrainDelay = 3 * time.Second
		})
		listener := newPipes()
		r := serve(t, server, listener)
		began := time.Now()
		r.stop()
		synctest.Wait()
		client := listener.client(t, false)
		if got := get(t, client, "http://berth/readyz"); got.status != http.StatusServiceUnavailable {
			t.Errorf("readiness: %d", got.status)
		}
		if got := get(t, client, "http://berth/healthz"); got.status != http.StatusOK {
			t.Errorf("another request: %d", got.status)
		}
		client.CloseIdleConnections()
		<-r.closed
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("accepting ended after %s", took)
		}
		r.ended <- <-r.ended
	})
}

func TestAWorkerThatFailsCutsTheDelayShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("lost the lease")
		ctx, cancel := context.WithCancel(t.Context())
		server, _ := newFront(t, func(c *Config) {
			c.HTTP.DrainDelay = time.Hour
			c.Workers = []Worker{workerFunc(func(context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				return broken
			})}
		})
		began := time.Now()
		err := server.Serve(ctx, newPipes(), cancel)
		if took := time.Since(began); !errors.Is(err, broken) || took > 2*time.Second {
			t.Errorf("Serve: %v after %s", err, took)
		}
	})
}

func TestRequestsThatIgnoreTheDrainAreCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{})
		var happened events
		server, lines := newFront(t, idleSettings, routes{"/v2/*path": func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			time.Sleep(2 * time.Second) // still uses the database
			happened.add("handler")
		}})
		listener := newPipes()
		r := serve(t, server, listener)
		failed := make(chan error, 1)
		go func() {
			response, err := listener.client(t, false).Get("http://berth/v2/x")
			if err == nil {
				_ = response.Body.Close()
			}
			failed <- err
		}()
		<-entered
		r.stop()
		r.ended <- <-r.ended
		happened.add("serve")
		if err := <-failed; err == nil {
			t.Error("the request got an answer")
		}
		happened.expect(t, "handler", "serve")
		if len(lines.with(t, "stopped: requests were cut")) != 1 {
			t.Errorf("log:\n%s", lines)
		}
	})
}

func TestAWorkerThatIsDoneStopsNothing(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, func(c *Config) {
		c.Workers = []Worker{workerFunc(func(context.Context) error { return nil })}
	})
	r := serve(t, server, listen(t))
	if got := get(t, http.DefaultClient, "http://"+r.addr+"/healthz"); got.status != http.StatusOK {
		t.Errorf("answer %d", got.status)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestTheErrorOfAWorkerIsTold(t *testing.T) {
	t.Parallel()
	broken := errors.New("lost the lease")
	server, _ := newFront(t, func(c *Config) {
		c.Workers = []Worker{workerFunc(func(context.Context) error { return broken })}
	})
	if err := server.Serve(t.Context(), listen(t), func() {}); !errors.Is(err, broken) {
		t.Errorf("Serve: %v", err)
	}
}

func TestABrokenListenerEndsServe(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, nil)
	listener := listen(t)
	err := server.Serve(t.Context(), listener, func() { _ = listener.Close() })
	if err == nil || !strings.HasPrefix(err.Error(), "serve: ") {
		t.Errorf("Serve: %v", err)
	}
}

func TestWhatNetHTTPSaysIsLogged(t *testing.T) {
	t.Parallel()
	lines := &logLines{}
	log := newHTTPServer(config.Default().HTTP, http.NotFoundHandler(), lines.logger()).ErrorLog
	log.Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	log.Print("http: Accept error: too many open files; retrying in 5ms")
	found := lines.with(t, "http server")
	if len(found) != 2 || found[0]["level"] != "DEBUG" || found[1]["level"] != "WARN" {
		t.Errorf("log:\n%s", lines)
	}
}
