package ocierr

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
)

// maxDetail bounds a marshalled detail in bytes.
const maxDetail = 4 << 10

// envelope is the body of the section "Error Codes".
type envelope struct {
	Errors []entry `json:"errors"`
}

type entry struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

// Write answers the request with the error: status, headers and the envelope
// of the section "Error Codes". The answer to a HEAD has the headers only,
// Content-Length included. Causes are never sent. Write must come before
// anything else has been written.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	answer := From(err)
	if answer == nil {
		answer = Internal
	}
	body := answer.body()
	setHeader(w.Header(), answer.Header, len(body))
	w.WriteHeader(answer.Status)
	if r.Method == http.MethodHead {
		return
	}
	// The client may be gone; there is nobody left to tell.
	_, _ = w.Write(body)
}

// body marshals the envelope.
func (e *Error) body() []byte {
	one := entry{Code: e.Code, Message: cleanMessage(e.Message), Detail: marshalDetail(e.Detail)}
	body, err := json.Marshal(envelope{Errors: []entry{one}})
	if err != nil {
		// A detail that marshals itself into invalid JSON gets here.
		one.Detail = nil
		body, _ = json.Marshal(envelope{Errors: []entry{one}})
	}
	return body
}

// marshalDetail leaves out what is unfit to send: an error must not fail.
func marshalDetail(detail any) json.RawMessage {
	if detail == nil {
		return nil
	}
	raw, err := json.Marshal(detail)
	if err != nil || len(raw) > maxDetail {
		return nil
	}
	return raw
}

// setHeader drops what a handler may have said about the content that it now
// fails to send.
func setHeader(header, extra http.Header, length int) {
	for _, key := range []string{
		"Accept-Ranges", "Content-Encoding", "Content-Range", "Docker-Content-Digest", "Etag", "Last-Modified",
		"Link",
	} {
		header.Del(key)
	}
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(length))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	maps.Copy(header, extra.Clone()) // what middleware appends must not reach the variables
}
