package front

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/berthregistry/berth/internal/config"
)

// HTTP/2 needs larger windows than its defaults for uploads to be as fast as over HTTP/1.
const (
	http2Streams      = 250
	http2FrameSize    = 1 << 20
	http2StreamWindow = 2 << 20
	http2ConnWindow   = 4<<20 - 1 // the largest that net/http accepts
	http2PingAfter    = 30 * time.Second
	http2PingTimeout  = 15 * time.Second
)

// newHTTPServer serves HTTP/1.1 and HTTP/2, the latter with TLS or by prior knowledge without. There is no limit on
// the whole of a request or answer: bodies are watched by the edge, which lets a large layer take its time.
func newHTTPServer(settings config.HTTP, handler http.Handler, logger *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: settings.ReadHeaderTimeout,
		IdleTimeout:       settings.IdleTimeout,
		MaxHeaderBytes:    int(settings.MaxHeaderBytes),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          http2Streams,
			MaxReadFrameSize:              http2FrameSize,
			MaxReceiveBufferPerConnection: http2ConnWindow,
			MaxReceiveBufferPerStream:     http2StreamWindow,
			SendPingTimeout:               http2PingAfter,
			PingTimeout:                   http2PingTimeout,
			WriteByteTimeout:              settings.BodyIdleTimeout,
		},
		ErrorLog: log.New(errorLog{logger}, "", 0),
	}
}

// errorLog takes what net/http has to say. Failed handshakes are the daily noise of scanners.
type errorLog struct{ logger *slog.Logger }

// Write implements io.Writer for one message of package log.
func (l errorLog) Write(message []byte) (int, error) {
	text, level := strings.TrimSpace(string(message)), slog.LevelWarn
	if strings.HasPrefix(text, "http: TLS handshake error") {
		level = slog.LevelDebug
	}
	l.logger.Log(context.Background(), level, "http server", slog.String("message", cut(text)))
	return len(message), nil
}
