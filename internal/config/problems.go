package config

import "strings"

// Problem is one setting that cannot be used.
type Problem struct {
	// Variable is the name of the setting's environment variable.
	Variable string
	// Sentence says what is wrong and what would be right. It holds no secrets.
	Sentence string
}

// Problems is all that is wrong with a configuration. As an error it has one line for each problem.
type Problems []Problem

// Error implements error.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Variable + ": " + problem.Sentence
	}
	return strings.Join(lines, "\n")
}

func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Section is a part of the configuration that can judge itself: [Config] and the structs in it.
type Section interface {
	check(refuse refuseFunc)
}

// refuseFunc notes a problem of a variable.
type refuseFunc func(variable, sentence string, args ...any)

// Validate checks settings and returns every problem, as [Problems], or nil. It is no method: Kong would call it by
// itself, before all problems are known.
func Validate(sections ...Section) error {
	var l Loader
	return l.Check(sections...)
}
