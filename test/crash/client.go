package main

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/berthregistry/berth/test/crash/faults"
	"github.com/berthregistry/berth/test/crash/history"
)

const (
	// requestWithin outlasts the lease of an upload session, for which a request may have to wait.
	requestWithin = 40 * time.Second
	// dialAgain is the time between two attempts to reach any replica.
	dialAgain = 20 * time.Millisecond
)

// request is one to be sent.
type request struct {
	what    string // for the history
	method  string
	path    string
	body    []byte
	headers []string
	cut     int         // give up after so many bytes of the body; 0 does not
	sink    sink        // takes the body of a 200, instead of answer.body
	step    faults.Step // where the answer is a success
	// told makes the steps of an answer; status 0 is none. It may be nil.
	told func(a answer) (history.Outcome, []history.Step)
}

// sink takes an answer's body in parts.
type sink interface {
	io.Writer
	// Size is what is expected.
	Size() int64
}

// answer is what came back.
type answer struct {
	replica int
	status  int
	header  http.Header
	body    []byte
}

func (a answer) location() string { return a.header.Get("Location") }

// unclear says that the request may have been done.
func (a answer) unclear() bool {
	return a.status == 0 || a.status >= 500 || a.status == http.StatusTooManyRequests
}

// client sends requests as real clients do, each to another replica.
type client struct {
	h         *harness
	id        int
	random    *rand.Rand
	transport *http.Transport
	next      int
}

func (h *harness) newClient(id int, random *rand.Rand) *client {
	return &client{h: h, id: id, random: random, next: random.IntN(len(h.replicas)), transport: &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 4, ExpectContinueTimeout: requestWithin,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
}

var authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+adminToken))

// do sends a request to the next replica that takes connections, and records it. Without an answer the status is 0.
func (c *client) do(ctx context.Context, r request) answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestWithin)
	defer cancel()
	for {
		c.next = (c.next + 1) % len(c.h.replicas)
		op := c.h.log.Begin(history.Op{Worker: c.id, Replica: c.next, What: r.what})
		a, err := c.send(ctx, c.next, r)
		if dialFailed(err) && ctx.Err() == nil {
			wait(ctx, dialAgain)
			continue // it has reached nobody
		}
		c.record(op, r, a)
		c.h.pauseAfter(ctx, a)
		return a
	}
}

func dialFailed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *client) record(op history.Op, r request, a answer) {
	op.Status = a.status
	switch {
	case r.told != nil:
		op.Outcome, op.Steps = r.told(a)
	case a.unclear():
		op.Outcome = history.Unclear
	default:
		op.Outcome = history.Done
	}
	c.h.log.End(op)
	c.h.stats.op(r.what[:min(len(r.what), firstSpace(r.what))], op.Outcome)
	if a.status >= 500 && a.status != http.StatusServiceUnavailable || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		c.h.violated(r.what, "replica %d answered %d: %s", a.replica, a.status, a.body)
	}
	if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		c.h.violated(r.what, "replica %d answered 503 without Retry-After", a.replica)
	}
}

// firstSpace is where the second word of a text ends: what is counted together.
func firstSpace(what string) int {
	spaces := 0
	for i, letter := range what {
		if letter == ' ' {
			if spaces++; spaces == 2 {
				return i
			}
		}
	}
	return len(what)
}

func (c *client) send(ctx context.Context, replica int, r request) (answer, error) {
	a := answer{replica: replica}
	var body io.Reader
	if r.body != nil {
		body = &sending{c: c, replica: replica, rest: r.body, length: len(r.body), cut: r.cut}
	}
	out, err := http.NewRequestWithContext(ctx, r.method, "http://"+c.h.replicas[replica].address+r.path, body)
	if err != nil {
		return a, err //nolint:wrapcheck // a defect of this program
	}
	out.ContentLength = int64(len(r.body))
	out.Header.Set("Authorization", authorization)
	for i := 0; i+1 < len(r.headers); i += 2 {
		out.Header.Set(r.headers[i], r.headers[i+1])
	}
	response, err := c.transport.RoundTrip(out)
	if err != nil {
		return a, err //nolint:wrapcheck // only looked at
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK && r.sink != nil {
		if err := c.receive(replica, r.sink, response.Body); err != nil {
			return a, err
		}
	} else if a.body, err = io.ReadAll(response.Body); err != nil {
		return a, err //nolint:wrapcheck // only looked at
	}
	a.status, a.header = response.StatusCode, response.Header
	if a.status < 300 && r.step != "" {
		c.h.traps.Pass(r.step, replica)
	}
	return a, nil
}

func (c *client) receive(replica int, to sink, from io.Reader) error {
	if _, err := io.CopyN(to, from, to.Size()/2); err != nil {
		return err //nolint:wrapcheck // only looked at
	}
	c.h.traps.Pass(readHalf, replica)
	_, err := io.Copy(to, from)
	return err //nolint:wrapcheck // only looked at
}

// errCut ends a body that the client gives up.
var errCut = errors.New("cut")

// sending is a body on its way to a replica.
type sending struct {
	c            *client
	replica      int
	rest         []byte
	length, cut  int
	half, passed bool
}

// Read implements io.Reader.
func (s *sending) Read(p []byte) (int, error) {
	sent := s.length - len(s.rest)
	switch {
	case s.cut > 0 && sent >= s.cut:
		return 0, errCut
	case !s.half && sent >= s.length/2:
		s.half = true
		s.c.h.traps.Pass(bodyHalf, s.replica)
	case len(s.rest) == 0 && !s.passed:
		s.passed = true
		s.c.h.traps.Pass(bodySent, s.replica)
	}
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	most := len(s.rest)
	if !s.half {
		most = s.length/2 - sent
	}
	if s.cut > 0 {
		most = min(most, s.cut-sent)
	}
	n := copy(p[:min(len(p), max(most, 1))], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
