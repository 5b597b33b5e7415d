package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/budget"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// Header names of the Distribution Specification that net/http has no constant for.
const (
	headerContentDigest  = "Docker-Content-Digest"
	headerUploadID       = "Docker-Upload-Uuid"
	headerChunkMin       = "Oci-Chunk-Min-Length"
	headerSubject        = "Oci-Subject"
	headerTag            = "Oci-Tag"
	headerFiltersApplied = "Oci-Filters-Applied"
)

// writeJSON answers 200 with a document.
func writeJSON(w http.ResponseWriter, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that has gone away needs no answer
}

// writeDocument answers 200 with a document, whose encoding counts as the caller's memory unless it is small.
func (h *Handler) writeDocument(c *call, contentType string, document any) error {
	body, err := encode(document)
	if err != nil {
		return err
	}
	hold := h.hold(c)
	defer hold.Release()
	if cap(body) > budget.Block {
		if err := hold.Grow(c.ctx(), int64(cap(body))); err != nil {
			return err
		}
	}
	writeJSON(c.w, contentType, body)
	return nil
}

// empty answers without a body.
func empty(w http.ResponseWriter, status int) {
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
}

// encode leaves <, > and & as they are: what was pushed comes back no longer than it was.
func encode(document any) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimRight(body.Bytes(), "\n"), nil
}

func (c *call) base() string { return "/v2/" + c.req.Name() }

func (c *call) blobLocation(d digest.Digest) string { return c.base() + "/blobs/" + d.String() }

// pageSize reads the parameter n of a list: at most limit, and limit without it.
func pageSize(query url.Values, limit int) (int, error) {
	raw := query.Get("n")
	if raw == "" {
		return limit, nil
	}
	n, err := strconv.ParseUint(raw, 10, 64)
	if err != nil {
		return 0, invalidPage(raw)
	}
	return int(min(n, uint64(limit))), nil
}

// textParameter reads a parameter that is compared with texts of the database, which hold no NUL and nothing but UTF-8.
func textParameter(query url.Values, name string) (string, error) {
	text := query.Get(name)
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		known := ocierr.Unsupported.With("%s=%.64q is not a text", name, text)
		known.Status = http.StatusBadRequest
		return "", known
	}
	return text, nil
}

// invalidPage answers for a page size that is no number. The specification has no code for it; 400 with the code for
// what an endpoint does not do is the nearest.
func invalidPage(raw string) error {
	known := ocierr.Unsupported.With("n=%.32q is not a page size", raw)
	known.Status = http.StatusBadRequest
	return known
}

// invalidQuery answers for a query that does not decode. What the parts that do decode would ask for is another thing.
func invalidQuery() error {
	known := ocierr.Unsupported.With("the query is escaped wrongly")
	known.Status = http.StatusBadRequest
	return known
}

// linkNext names the next page (RFC 5988), relative, so that it holds behind every proxy.
func linkNext(w http.ResponseWriter, path string, query url.Values) {
	w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", path, query.Encode()))
}
