package api

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/database"
)

// defaultLimit is the length of a page, in items, for who does not ask; the contract says so too, and what is the most.
const defaultLimit = 50

// page is a part of a list that was asked for.
type page struct {
	limit int
	after string
}

// pageOf reads the parameters of a listing.
func pageOf(limit *int, cursor *string) (page, error) {
	p := page{limit: defaultLimit}
	if limit != nil {
		p.limit = *limit
	}
	if cursor == nil {
		return p, nil
	}
	after, err := base64.RawURLEncoding.DecodeString(*cursor)
	if err != nil || len(after) == 0 || !isText(string(after)) {
		return page{}, badCursor.WithCause(err)
	}
	p.after = string(after)
	return p, nil
}

var badCursor = invalidFields(problem.Field{Pointer: "?cursor", Detail: "is not from a Link of this list"})

// isText tells whether every database takes a parameter of a query for text.
func isText(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// request is what the domain is asked for: one item more tells whether there is a next page.
func (p page) request() database.Page { return database.Page{After: p.after, Limit: p.limit + 1} }

// cut gives the items of the page, and the Link to the next one if there is one. key is what a list goes on after.
// The link is relative to the list; query is what it has besides.
func cut[T any](p page, items []T, key func(T) string, query url.Values) ([]T, *string) {
	if len(items) <= p.limit {
		return items, nil
	}
	items = items[:p.limit]
	next := url.Values{}
	for name, values := range query {
		next[name] = values
	}
	next.Set("cursor", base64.RawURLEncoding.EncodeToString([]byte(key(items[len(items)-1]))))
	next.Set("limit", strconv.Itoa(p.limit))
	link := "<?" + next.Encode() + `>; rel="next"`
	return items, &link
}
