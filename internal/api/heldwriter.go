package api

import (
	"bytes"
	"net/http"

	"github.com/gin-gonic/gin"
)

// heldWriter holds an answer back until send.
type heldWriter struct {
	gin.ResponseWriter
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *heldWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. The first status counts.
func (w *heldWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// WriteHeaderNow implements gin.ResponseWriter.
func (w *heldWriter) WriteHeaderNow() { w.WriteHeader(http.StatusOK) }

// Write implements io.Writer.
func (w *heldWriter) Write(p []byte) (int, error) {
	w.WriteHeaderNow()
	return w.body.Write(p)
}

// WriteString implements io.StringWriter.
func (w *heldWriter) WriteString(s string) (int, error) {
	w.WriteHeaderNow()
	return w.body.WriteString(s)
}

// Status implements gin.ResponseWriter.
func (w *heldWriter) Status() int { return w.status }

// Size implements gin.ResponseWriter.
func (w *heldWriter) Size() int { return w.body.Len() }

// Written implements gin.ResponseWriter.
func (w *heldWriter) Written() bool { return w.status != 0 }

// Flush implements http.Flusher: nothing leaves before send.
func (w *heldWriter) Flush() {}

func (w *heldWriter) send() {
	to := w.ResponseWriter.Header()
	for name, values := range w.header {
		to[name] = values
	}
	w.ResponseWriter.WriteHeader(w.status)
	w.ResponseWriter.WriteHeaderNow()
	_, _ = w.ResponseWriter.Write(w.body.Bytes()) // the client may be gone
}
