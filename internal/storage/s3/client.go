package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berthregistry/berth/internal/storage"
)

const (
	dialTimeout   = 10 * time.Second
	keepAlive     = 30 * time.Second
	idlePerHost   = 128
	copyTimeout   = 15 * time.Minute // one part of up to 5 GiB, moved inside the server
	socketBuffer  = 64 << 10
	defaultRegion = "us-east-1" // what servers other than AWS expect unless told otherwise
)

// connect builds the clients.
func (s *Store) connect(ctx context.Context) error {
	settings := []func(*config.LoadOptions) error{config.WithHTTPClient(awshttp.NewBuildableClient())}
	if s.location.Region != "" {
		settings = append(settings, config.WithRegion(s.location.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, settings...)
	if err != nil {
		return fmt.Errorf("s3: configure: %w: %w", storage.ErrInvalid, err)
	}
	if cfg.Region == "" {
		if s.location.Endpoint == "" {
			return fmt.Errorf("s3: configure: %w: no region", storage.ErrInvalid)
		}
		cfg.Region = defaultRegion
	}
	transport := s.transport(cfg)
	s.fast = newHTTPClient(transport)
	patient := transport.Clone()
	patient.ResponseHeaderTimeout = copyTimeout
	s.slow = newHTTPClient(patient)
	s.client = awss3.NewFromConfig(cfg, s.configure)
	s.presign, err = newPresigner(s.client, cfg.Credentials)
	return err
}

func (s *Store) configure(o *awss3.Options) {
	o.HTTPClient = s.fast
	o.UsePathStyle = s.location.PathStyle
	if s.location.Endpoint != "" {
		o.BaseEndpoint = aws.String(s.location.Endpoint)
	}
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = s.options.Attempts
		r.MaxBackoff = s.options.MaxBackoff
		r.Retryables = append([]retry.IsErrorRetryable{notInTime{}}, r.Retryables...)
	})
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.APIOptions = append(o.APIOptions, s.options.Middleware...)
}

// notInTime keeps requests from being sent again to a server that hangs.
type notInTime struct{}

// IsErrorRetryable implements retry.IsErrorRetryable.
func (notInTime) IsErrorRetryable(err error) aws.Ternary {
	var failed net.Error
	if errors.As(err, &failed) && failed.Timeout() {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// transport starts from the SDK's own, which carries the CA bundle of the environment.
func (s *Store) transport(cfg aws.Config) *http.Transport {
	base, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		base = awshttp.NewBuildableClient()
	}
	t := base.GetTransport()
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conduit{Conn: conn, timeout: s.options.IdleTimeout}, nil
	}
	t.ForceAttemptHTTP2 = false // S3 speaks HTTP/1.1, and one connection must not carry every transfer
	t.MaxIdleConns = 0          // the limit per host is the only one
	t.MaxIdleConnsPerHost = idlePerHost
	t.MaxConnsPerHost = 0
	t.ResponseHeaderTimeout = s.options.IdleTimeout
	t.DisableCompression = true
	t.ReadBufferSize = socketBuffer
	t.WriteBufferSize = socketBuffer
	return t
}

// conduit is a connection on which no single write may hang: the server must take bytes within the timeout. Reads
// need no such limit, the transport and the reader of an object have their own.
type conduit struct {
	net.Conn
	timeout time.Duration
}

// Write implements net.Conn.
func (c *conduit) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// httpClient watches over the requests of one operation, see watchAttempts. It follows no redirects: they would lose
// the signature.
type httpClient struct{ http.Client }

func newHTTPClient(t http.RoundTripper) *httpClient {
	return &httpClient{http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do implements aws.HTTPClient.
func (c *httpClient) Do(req *http.Request) (*http.Response, error) {
	res, err := c.Client.Do(req) //nolint:gosec // the SDK makes the request, to the endpoint that the operator configured
	if seen, ok := req.Context().Value(attemptsKey{}).(*attempts); ok && (err != nil || unclearStatus(res.StatusCode)) {
		seen.unclear.Add(1)
	}
	return res, err
}

// unclearStatus says whether a server that answers so may have done what it was asked all the same.
func unclearStatus(code int) bool {
	return code >= 500 && code != http.StatusNotImplemented && code != http.StatusServiceUnavailable
}

type attemptsKey struct{}

// attempts is what happened to the requests of one operation.
type attempts struct {
	unclear atomic.Int32 // requests after which nobody knows what the server did
}

// watchAttempts returns a context under which every attempt is seen. The SDK itself tells only of the last one.
func watchAttempts(ctx context.Context) (context.Context, *attempts) {
	seen := new(attempts)
	return context.WithValue(ctx, attemptsKey{}, seen), seen
}
