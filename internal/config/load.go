package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Loader reads settings with Kong and gathers every value that does not parse, so that an operator sees all mistakes
// at once and by the names of the variables. One Loader serves one command line.
type Loader struct {
	unparsed map[string]string // variable -> sentence
	order    []string          // variables in the order in which they were first refused
	flags    map[string]bool   // variables whose flag was given
}

// Options are the Kong options with which settings must be parsed: the forms of values, and help texts that name
// variables and defaults.
func (l *Loader) Options() []kong.Option {
	l.unparsed, l.flags = map[string]string{}, map[string]bool{}
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[ByteSize](), l.mapper(parseInto(ParseByteSize))),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), l.mapper(parseInto(parseDuration))),
		kong.TypeMapper(reflect.TypeFor[int](), l.mapper(parseInto(parseInt))),
		kong.TypeMapper(reflect.TypeFor[bool](), boolMapper{l.mapper(parseInto(parseBool))}),
		kong.TypeMapper(reflect.TypeFor[[]string](), kong.MapperFunc(decodeList)),
		kong.ValueFormatter(helpText),
	}
}

// Check validates sections and returns what they, and the parser for them, refuse: as [Problems], or nil. Kong reads the
// variables of all commands; those of other sections do not matter.
func (l *Loader) Check(sections ...Section) error {
	var all Problems
	used := map[string]bool{}
	for _, section := range sections {
		for _, attr := range attrs(reflect.ValueOf(section)) {
			used[attr.Key] = true
		}
	}
	for _, variable := range l.order {
		sentence, bad := l.unparsed[variable]
		if isFlag := strings.HasPrefix(variable, "--"); bad && (isFlag || used[variable]) {
			all = append(all, Problem{Variable: variable, Sentence: sentence})
		}
	}
	for _, section := range sections {
		section.check(func(variable, sentence string, args ...any) {
			// The value of a variable that did not parse is zero: what it breaks is no news.
			if _, known := l.unparsed[variable]; !known {
				all = append(all, Problem{Variable: variable, Sentence: fmt.Sprintf(sentence, args...)})
			}
		})
	}
	return all.err()
}

// Default returns the settings of a server that nobody told anything. It does not read the environment.
func Default() Config {
	var c Config
	var l Loader
	options := append(l.Options(), kong.PostBuild(func(k *kong.Kong) error {
		return kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
			if flag, ok := node.(*kong.Flag); ok {
				flag.Envs, flag.Tag.Envs = nil, nil
			}
			return next(nil)
		})
	}))
	parser, err := kong.New(&c, options...)
	if err == nil {
		_, err = parser.Parse(nil)
	}
	if err = errors.Join(err, l.Check(c)); err != nil {
		panic("config: the defaults are wrong: " + err.Error()) // a defect of this file; a test holds it
	}
	return c
}

// mapper decodes one type of value. A bad text is noted, not returned: Kong would stop at the first.
func (l *Loader) mapper(decode func(text string, target reflect.Value) error) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue("value")
		if err != nil {
			return err //nolint:wrapcheck // Kong's own words about a flag without a value
		}
		variable := "--" + ctx.Value.Name
		if len(ctx.Value.Tag.Envs) > 0 {
			variable = ctx.Value.Tag.Envs[0]
		}
		text := strings.TrimSpace(fmt.Sprint(token.Value))
		if text == "" && ctx.Value.HasDefault {
			text = ctx.Value.Default // an empty variable, as compose files leave them behind
		}
		// Kong reads flags first, into values of their own, and then the environment into the field.
		fromFlag := target.Addr().Pointer() != ctx.Value.Target.Addr().Pointer()
		if l.flags[variable] && !fromFlag {
			return nil // the flag decides, whatever the variable holds
		}
		l.flags[variable] = fromFlag
		delete(l.unparsed, variable) // of a flag given twice, the last one counts
		if err := decode(text, target); err != nil {
			l.refuse(variable, fmt.Sprintf("%q %s", text, err))
		}
		return nil
	}
}

func (l *Loader) refuse(variable, sentence string) {
	if !slices.Contains(l.order, variable) { // Kong reads a variable once for each command that has it
		l.order = append(l.order, variable)
	}
	l.unparsed[variable] = sentence
}

// boolMapper lets a flag stand without a value, for true.
type boolMapper struct{ value kong.MapperFunc }

// IsBool implements kong.BoolMapper.
func (boolMapper) IsBool() bool { return true }

// Decode implements kong.Mapper.
func (m boolMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	return m.value(ctx, target)
}

func parseInto[T any](parse func(string) (T, error)) func(string, reflect.Value) error {
	return func(text string, target reflect.Value) error {
		value, err := parse(text)
		if err != nil {
			return err
		}
		target.Set(reflect.ValueOf(value))
		return nil
	}
}

// decodeList takes texts between commas, without the blanks around them. A flag given again adds to the list.
func decodeList(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("value")
	if err != nil {
		return err //nolint:wrapcheck // Kong's own words about a flag without a value
	}
	for text := range strings.SplitSeq(fmt.Sprint(token.Value), ",") {
		if text = strings.TrimSpace(text); text != "" {
			target.Set(reflect.Append(target, reflect.ValueOf(text)))
		}
	}
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("is not a duration: write one such as 30s, 5m or 24h")
	}
	return d, nil
}

func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, errors.New("is not a whole number")
	}
	return n, nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, errors.New("is neither true nor false")
}

// helpText adds the default of a switch, which Kong leaves out, and the variable.
func helpText(value *kong.Value) string {
	if value.IsBool() && value.HasDefault {
		shown := *value
		shown.Help = value.Help + " Default: " + value.Default + "."
		return kong.DefaultHelpValueFormatter(&shown)
	}
	return kong.DefaultHelpValueFormatter(value)
}
