package config

import (
	"fmt"
	"log/slog"
	"reflect"
)

// LogValue lists every setting by its variable, with secrets masked.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(attrs(reflect.ValueOf(c))...)
}

// String lists every setting by its variable, with secrets masked.
func (c Config) String() string { return fmt.Sprint(c.LogValue()) }

// GoString is String: %#v shows no secrets either.
func (c Config) GoString() string { return c.String() }

func attrs(section reflect.Value) []slog.Attr {
	var out []slog.Attr
	for i := range section.NumField() {
		variable, ok := section.Type().Field(i).Tag.Lookup("env")
		if !ok {
			out = append(out, attrs(section.Field(i))...)
			continue
		}
		// Types with secrets say themselves how they are shown.
		out = append(out, slog.String(variable, fmt.Sprint(section.Field(i).Interface())))
	}
	return out
}
