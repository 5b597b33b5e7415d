package front

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// recoverPanic turns a panic of a handler into a 500, or, when the answer has begun, into a broken connection: the
// client must not take half an answer for a whole one.
func (e *edge) recoverPanic(w *response, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler) // how a handler asks net/http to drop the client
	}
	err := fmt.Errorf("panic: %v", cause)
	reqlog.Fail(r.Context(), err)
	e.logger.ErrorContext(r.Context(), "a handler panicked",
		slog.String("error", err.Error()), slog.String("stack", string(debug.Stack())))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header()) // whatever the handler meant to say about its content
	w.Header().Set(requestIDHeader, reqlog.ID(r.Context()))
	e.cors.decorate(w, r)
	answerInternal(w, r)
}
