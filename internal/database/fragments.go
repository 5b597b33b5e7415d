package database

import (
	"errors"
	"fmt"
	"strings"
)

const (
	postgresNow = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
	sqliteNow   = "(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)"

	// sqliteUUID is a random UUID, version 4.
	sqliteUUID = "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a' || " +
		"substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))"
)

// fragment is what one {name} stands for; in one with an argument, %[1]s is the parameter.
type fragment struct {
	postgres, sqlite string
	argument         bool
	locks            bool
}

var fragments = map[string]fragment{
	"now":      {postgres: postgresNow, sqlite: sqliteNow},
	"instant":  {postgres: "(SELECT " + postgresNow + ")", sqlite: sqliteNow},
	"newid":    {postgres: "gen_random_uuid()", sqlite: sqliteUUID},
	"share":    {postgres: "FOR SHARE", locks: true},
	"keyshare": {postgres: "FOR KEY SHARE", locks: true},
	"update":   {postgres: "FOR UPDATE", locks: true},
	"skip":     {postgres: "FOR UPDATE SKIP LOCKED", locks: true},
	"each": {
		postgres: "json_array_elements_text(%[1]s::text::json) AS each(value)",
		sqlite:   "json_each(%[1]s) AS each",
		argument: true,
	},
	"matches": {postgres: "~", sqlite: "REGEXP"},
	"lock":    {postgres: "pg_advisory_xact_lock(hashtextextended(%[1]s::text, 0))", sqlite: "%[1]s", argument: true},
	"uuid":    {postgres: "%[1]s::uuid", sqlite: "%[1]s", argument: true},
	"text":    {postgres: "%[1]s::text", sqlite: "%[1]s", argument: true},
	"bigint":  {postgres: "%[1]s::bigint", sqlite: "%[1]s", argument: true},
	"bytea":   {postgres: "%[1]s::bytea", sqlite: "%[1]s", argument: true},
	// SQLite looks at the value of a parameter that is a whole LIMIT, or what LIKE compares with, when it makes its plan. So it
	// compiles the statement anew for each execution, which takes several times as long as to execute it. Of an expression it
	// knows no value.
	"limit":   {postgres: "%[1]s::bigint", sqlite: "+%[1]s", argument: true},
	"pattern": {postgres: "%[1]s::text", sqlite: "'' || %[1]s", argument: true},
}

// scanner writes a statement's two texts.
type scanner struct {
	in               string
	postgres, sqlite strings.Builder
	locks            bool // has a fragment that locks rows
}

func (s *scanner) scan() error {
	for s.in != "" {
		switch n, err := s.verbatim(); {
		case err != nil:
			return err
		case n > 0:
			s.both(s.in[:n])
			s.in = s.in[n:]
		case s.in[0] == '{':
			if err := s.fragment(); err != nil {
				return err
			}
		case s.in[0] == '$':
			if err := s.parameter(); err != nil {
				return err
			}
		case s.in[0] == ';':
			if strings.TrimSpace(s.in[1:]) != "" {
				return errors.New("more than one statement")
			}
			return nil
		default:
			s.both(s.in[:1])
			s.in = s.in[1:]
		}
	}
	return nil
}

// verbatim is the length of the quoted text or comment that comes next, or 0.
func (s *scanner) verbatim() (int, error) {
	for _, delimiter := range []struct{ open, end string }{{"'", "'"}, {`"`, `"`}, {"/*", "*/"}} {
		rest, found := strings.CutPrefix(s.in, delimiter.open)
		if !found {
			continue
		}
		i := strings.Index(rest, delimiter.end)
		if i < 0 {
			return 0, fmt.Errorf("%s without its end", delimiter.open)
		}
		return len(delimiter.open) + i + len(delimiter.end), nil
	}
	if strings.HasPrefix(s.in, "--") {
		if i := strings.IndexByte(s.in, '\n'); i >= 0 {
			return i + 1, nil
		}
		return len(s.in), nil
	}
	return 0, nil
}

func (s *scanner) fragment() error {
	end := strings.IndexByte(s.in, '}')
	if end < 0 {
		return errors.New("{ without }")
	}
	name, argument, given := strings.Cut(s.in[1:end], ":")
	f, known := fragments[name]
	switch {
	case !known:
		return fmt.Errorf("unknown fragment {%s}", name)
	case given != f.argument:
		return fmt.Errorf("fragment {%s}: wants a parameter: %t", name, f.argument)
	case !given:
		s.postgres.WriteString(f.postgres)
		s.sqlite.WriteString(f.sqlite)
	case len(argument) < 2 || digits(argument) != len(argument):
		return fmt.Errorf("fragment {%s}: %q is no parameter", name, argument)
	default:
		fmt.Fprintf(&s.postgres, f.postgres, argument)
		fmt.Fprintf(&s.sqlite, f.sqlite, "?"+argument[1:])
	}
	s.locks = s.locks || f.locks
	s.in = s.in[end+1:]
	return nil
}

// parameter writes $1, which SQLite takes for a name, as ?1 there.
func (s *scanner) parameter() error {
	n := digits(s.in)
	if n < 2 {
		return errors.New("$ without a number")
	}
	s.postgres.WriteString(s.in[:n])
	s.sqlite.WriteString("?" + s.in[1:n])
	s.in = s.in[n:]
	return nil
}

func (s *scanner) both(text string) {
	s.postgres.WriteString(text)
	s.sqlite.WriteString(text)
}

// digits is the length of the parameter ($ and a number) that text begins with; 0 or 1 is none.
func digits(text string) int {
	if !strings.HasPrefix(text, "$") {
		return 0
	}
	n := 1
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	if n > 1 && text[1] == '0' {
		return 0
	}
	return n
}
