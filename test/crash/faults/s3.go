package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// S3 is a proxy between one replica and an S3 server. It keeps the Host of requests, which their signatures cover.
type S3 struct {
	link
	traps     *Traps
	replica   int
	target    string
	transport *http.Transport
	server    *http.Server
	listener  net.Listener
	running   sync.WaitGroup
	// Answered is called at PutAnswered, after the answer is forwarded.
	Answered func()
}

// NewS3 begins to pass requests of a replica on to the server at an address.
func NewS3(target string, replica int, traps *Traps) (*S3, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen before S3: %w", err)
	}
	s := &S3{
		traps: traps, replica: replica, target: target, listener: listener,
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: time.Minute}
	s.running.Go(func() { _ = s.server.Serve(&entrance{listener, &s.link}) })
	return s, nil
}

// Address is where the replica finds the S3 server.
func (s *S3) Address() string { return s.listener.Addr().String() }

// SlowDown answers the next requests with 503 SlowDown.
func (s *S3) SlowDown(requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = requests
}

// Lose lets the next requests be done, and answers them with 500.
func (s *S3) Lose(requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = requests
}

// Close ends the proxy with its connections.
func (s *S3) Close() {
	s.Heal()
	_ = s.server.Close()
	s.transport.CloseIdleConnections()
	s.running.Wait()
}

// entrance is a listener whose connections the faults can reach.
type entrance struct {
	net.Listener
	link *link
}

// Accept implements net.Listener.
func (e *entrance) Accept() (net.Conn, error) {
	for {
		conn, err := e.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // an http.Server compares it
		}
		if e.link.enter(conn) {
			return &entered{Conn: conn, link: e.link}, nil
		}
	}
}

type entered struct {
	net.Conn
	link *link
}

// Close implements net.Conn.
func (e *entered) Close() error {
	e.link.leave(e.Conn)
	return nil
}

const (
	slowDown = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>`
	internal = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>We lost it.</Message></Error>`
)

func (s *S3) serve(w http.ResponseWriter, r *http.Request) {
	s.pass()
	if s.take(&s.slow, &s.counts.SlowDown) {
		answerError(w, http.StatusServiceUnavailable, slowDown)
		return
	}
	removes := r.Method == http.MethodDelete || r.Method == http.MethodPost && r.URL.Query().Has("delete")
	if removes && s.traps.Pass(DeleteBegun, s.replica) {
		panic(http.ErrAbortHandler)
	}
	answer, err := s.forward(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = answer.Body.Close() }()
	done := answer.StatusCode < 300
	if done && removes && s.traps.Pass(DeleteWithheld, s.replica) || done && isPut(r) && s.traps.Pass(PutWithheld, s.replica) {
		panic(http.ErrAbortHandler)
	}
	if done && s.take(&s.failing, &s.counts.Lost) {
		answerError(w, http.StatusInternalServerError, internal)
		return
	}
	s.answer(w, r, answer)
	if done && isPut(r) && s.Answered != nil {
		_ = http.NewResponseController(w).Flush()
		s.Answered()
	}
}

func isPut(r *http.Request) bool { return r.Method == http.MethodPut && r.ContentLength > 0 }

func answerError(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// forward sends a request on, and passes the steps of its body.
func (s *S3) forward(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", s.target, ""
	out.Header.Del("Expect") // the server of this proxy has said that it shall come
	if isPut(r) {
		out.Body = &steps{ReadCloser: r.Body, s: s, half: r.ContentLength / 2}
	}
	answer, err := s.transport.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("forward to S3: %w", err)
	}
	return answer, nil
}

// answer sends an answer back, half of it where a fault or a trap wants that.
func (s *S3) answer(w http.ResponseWriter, r *http.Request, answer *http.Response) {
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	half := answer.ContentLength / 2
	if r.Method != http.MethodGet || half <= 0 {
		if _, err := io.Copy(w, answer.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		return
	}
	if _, err := io.CopyN(w, answer.Body, half); err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = http.NewResponseController(w).Flush()
	if s.traps.Pass(GetHalf, s.replica) || s.take(&s.halve, &s.counts.Halved) {
		panic(http.ErrAbortHandler)
	}
	if _, err := io.Copy(w, answer.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// errKilled ends a body whose sender is gone.
var errKilled = errors.New("the replica was killed")

// steps is the body of an object on its way to the S3 server.
type steps struct {
	io.ReadCloser
	s             *S3
	half, sent    int64
	begun, passed bool
}

// Read implements io.Reader.
func (b *steps) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		if b.s.traps.Pass(PutBegun, b.s.replica) {
			return 0, errKilled
		}
	}
	if !b.passed && b.sent >= b.half {
		b.passed = true
		if b.s.traps.Pass(PutHalf, b.s.replica) {
			return 0, errKilled
		}
	}
	if !b.passed {
		p = p[:min(int64(len(p)), max(1, b.half-b.sent))]
	}
	n, err := b.ReadCloser.Read(p)
	b.sent += int64(n)
	return n, err //nolint:wrapcheck // a body
}
