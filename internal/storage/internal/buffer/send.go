package buffer

import (
	"io"
	"os"
)

// SendStep is how many bytes are handed to a writer at once, so that a reader looks at its context between.
const SendStep = 8 << 20

// Send moves up to n bytes, but no more than SendStep, from where file stands to w. An io.ReaderFrom is given an *io.LimitedReader over the
// *os.File, the form from which a TCP connection, and the response writers of net/http, take bytes by sendfile. It
// returns the number of bytes moved: zero without an error when the file has no more.
func Send(w io.Writer, file *os.File, n int64) (int64, error) {
	limited := &io.LimitedReader{R: file, N: min(n, SendStep)}
	if rf, ok := w.(io.ReaderFrom); ok {
		return rf.ReadFrom(limited) //nolint:wrapcheck // by the caller
	}
	return Copy(w, limited)
}
