package database

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Stmt is one SQL statement in the words of both dialects. Make it once, as a package variable: a [DB] keeps a
// prepared statement for each Stmt that it has seen.
type Stmt struct {
	texts *texts
}

// texts is a statement as each dialect wants it. Its address is the key of SQLite's prepared statements.
type texts struct {
	postgres named
	require  named // postgres, ending the transaction unless it returns a row
	sqlite   string
}

// named is a text with the name that it is prepared under on connections to PostgreSQL.
type named struct {
	name, text string
}

var statements atomic.Int64

func newNamed(text string) named {
	return named{name: "berth_" + strconv.FormatInt(statements.Add(1), 10), text: text}
}

// SQL makes a statement. Parameters are $1, $2 and so on. What the dialects say differently is written as a fragment:
//
//	{now}        database time in Unix microseconds (SQLite has whole milliseconds), read anew each time
//	{instant}    the same, read once for the statement, so that PostgreSQL can look it up in an index
//	{newid}      a random UUID, another one for each row
//	{share}      FOR SHARE;              nothing on SQLite, as are the next three
//	{keyshare}   FOR KEY SHARE
//	{update}     FOR UPDATE
//	{skip}       FOR UPDATE SKIP LOCKED
//	{each:$1}    in a FROM clause: the JSON array of strings in $1 (see [Strings]) as rows each(value)
//	{lock:$1}    as the one column of a SELECT given to [Batch.Exec]: waits for every transaction that has locked the
//	             same text, and keeps others waiting until this one ends; nothing on SQLite
//	{matches}    between a text and a regular expression, of a kind that both dialects and Go understand alike
//	{uuid:$1}    a parameter whose type PostgreSQL cannot infer; so are {text:$1}, {bigint:$1} and {bytea:$1}
//
// Text in quotes and comments stands as it is. A text that is not one statement, or has an unknown fragment, panics:
// that is a mistake in the program, found when it starts.
func SQL(text string) Stmt {
	s := scanner{in: text}
	if err := s.scan(); err != nil {
		panic(fmt.Sprintf("database: %v in statement: %s", err, text))
	}
	made.add(text)
	postgres, sqlite := strings.TrimSpace(s.postgres.String()), strings.TrimSpace(s.sqlite.String())
	if postgres == "" || sqlite == "" {
		panic("database: empty statement")
	}
	return Stmt{texts: &texts{
		postgres: newNamed(postgres),
		require:  newNamed(requireText(postgres, s.locks)),
		sqlite:   sqlite,
	}}
}

// made are the texts of all statements. They are constants of the program, so this keeps nothing that would go.
var made words

type words struct {
	mu    sync.Mutex
	texts []string
}

func (w *words) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// Texts are those of all statements that this process has made, as they were given to [SQL]. What one version has, the
// schema of the next one must still understand: a test keeps them for that.
func Texts() []string {
	made.mu.Lock()
	defer made.mu.Unlock()
	return slices.Clone(made.texts)
}

// requireText wraps a statement so that it raises BR001 unless it returns a row. One that locks rows is read to its
// end, for rows that nobody reads are not locked.
func requireText(text string, locks bool) string {
	condition := "EXISTS (SELECT 1 FROM q)"
	if locks {
		condition = "(SELECT count(*) FROM q) > 0"
	}
	return "WITH q AS (" + text + "\n) SELECT berth_require(" + condition + ")"
}

// Strings is values as a JSON array: the parameter of an {each} fragment.
func Strings(values []string) string {
	if len(values) == 0 {
		return "[]"
	}
	text, err := json.Marshal(values)
	if err != nil {
		panic(fmt.Sprintf("database: %v", err)) // strings always encode
	}
	return string(text)
}

func (s Stmt) mustTexts() *texts {
	if s.texts == nil {
		panic("database: a Stmt that SQL did not make")
	}
	return s.texts
}

// String is the text for PostgreSQL.
func (s Stmt) String() string { return s.mustTexts().postgres.text }
