package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/config"
)

// idleSettings has timeouts that tell themselves apart.
func idleSettings(c *Config) {
	c.HTTP.BodyIdleTimeout = time.Minute
	c.HTTP.IdleTimeout = time.Hour
	c.HTTP.ReadHeaderTimeout = 10 * time.Second
}

// trickle yields one byte each pause, then stops for good or ends.
type trickle struct {
	ctx   context.Context
	pause time.Duration
	left  int
	hang  bool
}

func (r *trickle) Read(p []byte) (int, error) {
	if r.left == 0 && !r.hang {
		return 0, io.EOF
	}
	wait := time.After(r.pause)
	if r.left == 0 {
		wait = nil
	}
	select {
	case <-wait:
		r.left--
		p[0] = 'x'
		return 1, nil
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}

// upload reads a body and reports how that ended and after what time.
type upload struct {
	err  error
	n    int64
	took time.Duration
}

func uploads(ended chan<- upload) routes {
	return routes{"/v2/*path": func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		n, err := io.Copy(io.Discard, r.Body)
		ended <- upload{err, n, time.Since(began)}
		if err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}}
}

func TestUploadsEndWhenTheyStallAndOnlyThen(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		for _, hang := range []bool{false, true} {
			t.Run(fmt.Sprintf("http2=%t,hang=%t", http2, hang), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { testUpload(t, http2, hang) })
			})
		}
	}
}

func testUpload(t *testing.T, http2, hang bool) {
	ended := make(chan upload, 1)
	server, _ := newFront(t, idleSettings, uploads(ended))
	listener := newPipes()
	serve(t, server, listener)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// A byte every 59 seconds for an hour is slow, but it moves.
	body := &trickle{ctx: ctx, pause: 59 * time.Second, left: 60, hang: hang}
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://berth/v2/upload", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := listener.client(t, http2).Do(request)
	result := <-ended
	if result.n != 60 {
		t.Errorf("%d bytes arrived", result.n)
	}
	if !hang {
		if err != nil || result.err != nil || response.StatusCode != http.StatusAccepted {
			t.Fatalf("a slow upload was cut: %v, %v", err, result.err)
		}
		_ = response.Body.Close()
		return
	}
	if err == nil {
		if response.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answer %s", response.Status)
		}
		_ = response.Body.Close()
	}
	if !errors.Is(result.err, io.ErrUnexpectedEOF) || !errors.Is(result.err, os.ErrDeadlineExceeded) {
		t.Errorf("the handler got %v", result.err)
	}
	if want := 61 * time.Minute * 59 / 60; result.took < want || result.took > want+2*time.Minute {
		t.Errorf("cut after %s", result.took)
	}
	if stalled := result.took - 60*59*time.Second; stalled != time.Minute {
		t.Errorf("the stalled read was cut after %s", stalled)
	}
}

func TestAHandlerThatWaitsDoesNotMakeItsClientSlow(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%t", http2), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, _ := newFront(t, idleSettings, routes{"/v2/*path": func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(10 * time.Minute) // for a lease
					n, err := io.Copy(io.Discard, r.Body)
					if n != 3<<20 || err != nil {
						t.Errorf("%d bytes, %v", n, err)
					}
					time.Sleep(10 * time.Minute) // for storage
					if err := r.Context().Err(); err != nil {
						t.Errorf("the request ended while its handler worked: %v", err)
					}
					w.WriteHeader(http.StatusCreated)
				}})
				listener := newPipes()
				serve(t, server, listener)
				client := listener.client(t, http2)
				for range 2 {
					response, err := client.Post("http://berth/v2/x", "", bytes.NewReader(make([]byte, 3<<20)))
					if err != nil {
						t.Fatal(err)
					}
					_ = response.Body.Close()
					time.Sleep(30 * time.Minute) // the connection stays
				}
			})
		})
	}
}

func TestDownloadsEndWhenTheyStallAndOnlyThen(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%t", http2), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testDownload(t, http2) })
		})
	}
}

// Larger than what HTTP/2 clients take unasked.
const downloadSize = 8 << 20

func testDownload(t *testing.T, http2 bool) {
	ended := make(chan error, 1)
	server, _ := newFront(t, idleSettings, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.Copy(w, bytes.NewReader(make([]byte, downloadSize)))
		ended <- err
	}})
	listener := newPipes()
	serve(t, server, listener)
	client := listener.client(t, http2)

	response, err := client.Get("http://berth/v2/slow")
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for {
		n, err := io.CopyN(io.Discard, response.Body, 256<<10)
		total += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("a slow download was cut after %d bytes: %v", total, err)
		}
		time.Sleep(50 * time.Second)
	}
	_ = response.Body.Close()
	if err := <-ended; err != nil || total != downloadSize {
		t.Errorf("%d bytes, %v", total, err)
	}

	response, err = client.Get("http://berth/v2/stalled")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = <-ended
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("cut after %s", took)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the handler got %v", err)
	}
	if n, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Errorf("the client takes %d bytes for a whole answer", n)
	}
	_ = response.Body.Close()
}

func TestStallsOverSockets(t *testing.T) {
	t.Parallel()
	file, _ := randomFile(t, 64<<20) // more than sockets buffer
	received, sent := make(chan upload, 1), make(chan error, 1)
	handlers := uploads(received)
	handlers["/file"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(64<<20))
		_, err := io.Copy(w, file)
		sent <- err
	}
	cert := newCertificate(t, t.TempDir())
	cert.write(t, "localhost")
	for _, encrypted := range []bool{false, true} {
		server, _ := newFront(t, func(c *Config) {
			c.HTTP.BodyIdleTimeout = 50 * time.Millisecond
			if encrypted {
				c.TLS.Cert, c.TLS.Key = cert.certFile, cert.keyFile
			}
		}, handlers)
		r := serve(t, server, listen(t))
		dial := func() *raw {
			conn, err := dialTCP(r.addr)
			if encrypted && err == nil {
				conn = tls.Client(conn, cert.client("localhost"))
			}
			return newRaw(t, conn, err)
		}
		c := dial()
		c.send("PATCH /v2/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst")
		if result := <-received; result.n != 5 || !errors.Is(result.err, errStalled) {
			t.Errorf("TLS %t: the upload ended with %d bytes, %v", encrypted, result.n, result.err)
		}
		if status := c.receive(); status != http.StatusRequestTimeout {
			t.Errorf("TLS %t: status %d", encrypted, status)
		}
		c.awaitClose()

		c = dial()
		c.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := <-sent; !errors.Is(err, errStalled) {
			t.Errorf("TLS %t: the download ended with %v", encrypted, err)
		}
		c.awaitClose()
	}
}

func TestHeadersThatDoNotComeEndTheConnection(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, func(c *Config) {
		c.HTTP.ReadHeaderTimeout = 50 * time.Millisecond
		c.HTTP.IdleTimeout = 50 * time.Millisecond
	})
	r := serve(t, server, listen(t))
	for name, sent := range map[string]string{
		"nothing":      "",
		"half a line":  "GET /hea",
		"half of them": "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow:",
		"idle after":   "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn, err := dialTCP(r.addr)
		c := newRaw(t, conn, err)
		c.send(sent)
		if name == "idle after" {
			if status := c.receive(); status != http.StatusOK {
				t.Errorf("%s: %d", name, status)
			}
		}
		c.awaitClose()
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, func(c *Config) { c.HTTP.MaxHeaderBytes = 8 * config.KiB })
	r := serve(t, server, listen(t))
	conn, err := dialTCP(r.addr)
	c := newRaw(t, conn, err)
	c.send("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", 20<<10) + "\r\n\r\n")
	if status := c.receive(); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("answer %d", status)
	}
}

func TestABodyThatIsNotReadCannotHoldTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := newFront(t, idleSettings, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
		}})
		listener := newPipes()
		serve(t, server, listener)
		conn, err := listener.dial(t.Context(), "", "")
		c := newRaw(t, conn, err)
		began := time.Now()
		c.send("PATCH /v2/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst")
		if status := c.receive(); status != http.StatusUnauthorized {
			t.Errorf("answer %d", status)
		}
		c.awaitClose()
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("the connection was held for %s", took)
		}
	})
}

func TestAnAnswerThatNobodyTakesCannotHoldTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := newFront(t, idleSettings, routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "small enough for a buffer, sent after the handler")
		}})
		listener := newPipes()
		r := serve(t, server, listener)
		conn, err := listener.dial(t.Context(), "", "")
		c := newRaw(t, conn, err)
		c.send("GET /v2/x HTTP/1.1\r\nHost: x\r\n\r\n") // and then reads nothing
		began := time.Now()
		r.stop() // Serve waits for the connection
		r.ended <- <-r.ended
		if took := time.Since(began); took > server.drainTimeout+closeGrace {
			t.Errorf("stopped after %s", took)
		}
	})
}

func TestStallWatchIsSafe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cuts := 0
		var mu sync.Mutex
		count := func() { mu.Lock(); cuts++; mu.Unlock() }
		watch := newStallWatch(time.Second, count, count)
		watch.begin(reading)
		time.Sleep(900 * time.Millisecond)
		watch.begin(writing)
		if err := watch.end(reading, io.ErrClosedPipe); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a read in time yields %v", err)
		}
		time.Sleep(900 * time.Millisecond)
		if err := watch.end(writing, nil); err != nil {
			t.Errorf("a write in time yields %v", err)
		}
		time.Sleep(time.Hour)
		if cuts != 0 {
			t.Errorf("%d cuts without a stall", cuts)
		}
		watch.begin(reading)
		time.Sleep(time.Second)
		synctest.Wait()
		if cuts != 1 {
			t.Errorf("%d cuts of a stalled read", cuts)
		}
		if err := watch.end(reading, io.ErrClosedPipe); !errors.Is(err, errStalled) {
			t.Errorf("a stalled read yields %v", err)
		}
		watch.begin(writing)
		watch.stop()
		time.Sleep(time.Hour)
		if cuts != 1 {
			t.Errorf("%d cuts after the stop", cuts)
		}
	})
}
