package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxResponse is how much of a response is read, and thrown away.
	maxResponse = 4 << 10
	// idlePerHost and idleLife bound the connections that are kept.
	idlePerHost = 2
	idleLife    = 30 * time.Second
	maxIdle     = 64
	maxHeader   = 16 << 10
	userAgent   = "Berth-Webhooks/1"
)

// newClient makes the client that speaks to receivers. It follows no redirect and knows no proxy, and connects to nothing
// that networks does not allow.
func newClient(networks Networks, resolver *net.Resolver, timeout time.Duration, roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Resolver: resolver, ControlContext: networks.control}
	plain := func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(context.WithValue(ctx, plainKey{}, true), network, address)
	}
	secure := &tls.Dialer{NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: plain, DialTLSContext: secure.DialContext,
			MaxIdleConns: maxIdle, MaxIdleConnsPerHost: idlePerHost, IdleConnTimeout: idleLife,
			MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		},
	}
}

// result is what came of an attempt.
type result struct {
	event  *due
	status int           // of the response; 0: there was none
	err    string        // why it failed, in words for whoever looks after the webhook; empty: it did not
	after  time.Duration // that the receiver asked to be left alone
	cut    bool          // the server is stopping: nobody knows
}

func (r result) delivered() bool { return r.err == "" }

// send makes one attempt. It holds nothing of the database.
func (s *Service) send(ctx context.Context, h *claimed, e *due) result {
	request, err := s.request(ctx, h, e)
	if err != nil {
		return result{event: e, err: err.Error()}
	}
	response, err := s.client.Do(request)
	if err != nil {
		return result{event: e, err: reason(err), cut: ctx.Err() != nil}
	}
	defer response.Body.Close()                             //nolint:errcheck // nothing is lost
	_, _ = io.CopyN(io.Discard, response.Body, maxResponse) // so that the connection can be used again; what it says does not matter
	r := result{event: e, status: response.StatusCode}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		r.err = "the receiver answered " + strconv.Itoa(response.StatusCode)
		r.after = retryAfter(response.StatusCode, response.Header, s.now())
	}
	return r
}

func (s *Service) request(ctx context.Context, h *claimed, e *due) (*http.Request, error) {
	body, err := e.body(h)
	if err != nil {
		return nil, err
	}
	at := s.now()
	signed, err := signatures(e.id.String(), at, body, h.secrets(at)...)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the URL cannot be used")
	}
	request.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {userAgent},
		"Webhook-Id":        {e.id.String()},
		"Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)},
		"Webhook-Signature": {signed},
	}
	return request, nil
}

// reason says why there was no response, without the addresses that names stand for: whoever manages a webhook must not
// learn them from it.
func reason(err error) string {
	var certificate *tls.CertificateVerificationError
	var network net.Error
	var name *net.DNSError
	switch {
	case errors.Is(err, ErrAddress):
		return ErrAddress.Error()
	case errors.As(err, &certificate):
		return "the certificate is not valid for the host"
	case errors.As(err, &name):
		return "the name of the host was not resolved"
	case errors.As(err, &network) && network.Timeout():
		return "there was no answer in time"
	case strings.Contains(err.Error(), "tls:"):
		return "TLS was not agreed on"
	}
	return "the connection failed"
}
