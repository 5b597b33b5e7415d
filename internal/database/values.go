package database

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strconv"
)

// namedValues converts arguments as database/sql does.
func namedValues(args []any) ([]driver.NamedValue, error) {
	values := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("database: parameter $%d: %w", i+1, err)
		}
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: value}
	}
	return values, nil
}

// valueCursor is values as Rows.
type valueCursor struct {
	values [][]driver.Value
	at     int
}

// Next implements Rows.
func (c *valueCursor) Next() bool {
	if c.at+1 >= len(c.values) {
		return false
	}
	c.at++
	return true
}

// Scan implements Rows.
func (c *valueCursor) Scan(dest ...any) error {
	return assignAll(dest, c.values[c.at])
}

// assignAll stores the values of a row.
func assignAll(dest []any, row []driver.Value) error {
	if len(dest) != len(row) {
		return fmt.Errorf("database: %d columns for %d destinations", len(row), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, row[i]); err != nil {
			return fmt.Errorf("database: column %d: %w", i, err)
		}
	}
	return nil
}

// Err implements Rows.
func (c *valueCursor) Err() error { return nil }

// Close implements Rows.
func (c *valueCursor) Close() {}

// assign stores a value of SQLite (nil, int64, float64, string or []byte) as database/sql would.
func assign(dest any, value driver.Value) error {
	switch d := dest.(type) {
	case sql.Scanner:
		return d.Scan(value)
	case *any:
		*d = value
		return nil
	case *[]byte:
		return (*blob)(d).Scan(value)
	case *string:
		if s, ok := value.(string); ok {
			*d = s
			return nil
		}
	case *int64:
		if n, ok := value.(int64); ok {
			*d = n
			return nil
		}
	}
	target := reflect.ValueOf(dest)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("destination %T is no pointer", dest)
	}
	return assignValue(target.Elem(), value)
}

func assignValue(target reflect.Value, value driver.Value) error {
	if target.Kind() == reflect.Pointer {
		if value == nil {
			target.SetZero()
			return nil
		}
		target.Set(reflect.New(target.Type().Elem()))
		return assign(target.Interface(), value)
	}
	if value == nil {
		return fmt.Errorf("NULL does not fit %s", target.Type())
	}
	var err error
	switch target.Kind() { // the rest is refused
	case reflect.String:
		target.SetString(text(value))
	case reflect.Bool:
		var b any
		if b, err = driver.Bool.ConvertValue(value); err == nil {
			target.SetBool(b == true)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		if n, err = strconv.ParseInt(text(value), 10, target.Type().Bits()); err == nil {
			target.SetInt(n)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var n uint64
		if n, err = strconv.ParseUint(text(value), 10, target.Type().Bits()); err == nil {
			target.SetUint(n)
		}
	case reflect.Float32, reflect.Float64:
		var f float64
		if f, err = strconv.ParseFloat(text(value), target.Type().Bits()); err == nil {
			target.SetFloat(f)
		}
	default:
		return fmt.Errorf("%T does not fit %s", value, target.Type())
	}
	if err != nil {
		return fmt.Errorf("%T does not fit %s: %w", value, target.Type(), err)
	}
	return nil
}

func text(value driver.Value) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}
