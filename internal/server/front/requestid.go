package front

import (
	"net/http"
	"regexp"

	"github.com/google/uuid"
)

const requestIDHeader = "X-Request-Id"

var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID is the ID that a client or a proxy in front has given the request, if it is fit for a log, else a new one.
func requestID(r *http.Request) string {
	if ids := r.Header[requestIDHeader]; len(ids) == 1 && saneRequestID.MatchString(ids[0]) {
		return ids[0]
	}
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New() // without a clock sequence; crypto/rand itself never fails
	}
	return id.String()
}
