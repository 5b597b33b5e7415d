package front

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// maxLogged bounds the texts of a client in the log, in bytes.
const maxLogged = 256

// logRequest writes the one line of a request. The query stays out: it may hold upload state or tokens.
func (e *edge) logRequest(r *http.Request, w *response, record *reqlog.Record, began time.Time, returned bool) {
	attrs := []slog.Attr{
		slog.String("method", cut(r.Method)),
		slog.String("path", cut(r.URL.EscapedPath())),
		slog.Int("status", w.status),
		slog.Int64("bytes_in", w.body.read.Load()),
		slog.Int64("bytes_out", w.sent),
		slog.Duration("duration", time.Since(began)),
		slog.String("user_agent", cut(r.UserAgent())),
	}
	attrs = append(attrs, record.Attrs()...)
	if !returned {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if err := record.Err(); err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	gone := e.clientGone(r)
	if gone {
		attrs = append(attrs, slog.Bool("client_gone", true))
	}
	e.log(r.Context(), requestLevel(r, w.status, gone), "request", attrs)
}

// log is slog.Logger.LogAttrs without the search for the line of the program that logs, which costs a tenth of it.
func (e *edge) log(ctx context.Context, level slog.Level, message string, attrs []slog.Attr) {
	handler := e.logger.Handler()
	if !handler.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.AddAttrs(attrs...)
	_ = handler.Handle(ctx, record) // as LogAttrs does: where would one say so?
}

// clientGone tells whether the client gave the request up before its answer was complete. Until then nothing else ends
// the context but the server's own last cut, when it stops.
func (e *edge) clientGone(r *http.Request) bool {
	return errors.Is(r.Context().Err(), context.Canceled) && !e.cutting.Load()
}

// requestLevel is how much a request matters. One that its client gave up fails for that reason, and clients give up
// as often as they like: it says nothing about the server.
func requestLevel(r *http.Request, status int, gone bool) slog.Level {
	switch {
	case gone:
		return slog.LevelInfo
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		return slog.LevelError
	case status >= http.StatusInternalServerError:
		return slog.LevelWarn
	case isProbe(r.URL.Path):
		return slog.LevelDebug // they come every few seconds and say nothing new
	}
	return slog.LevelInfo
}

func cut(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "..."
	}
	return s
}
