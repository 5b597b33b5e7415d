package database

import (
	"database/sql/driver"
	"fmt"
	"regexp"
	"sync"

	"github.com/maypok86/otter/v2"
	driversqlite "modernc.org/sqlite"
)

// maxExpressions bounds the compiled expressions that are kept.
const maxExpressions = 1000

// defineMatches gives SQLite its operator REGEXP, which has a syntax and no meaning: {matches} in statements. It is for
// all connections of the process.
var defineMatches = sync.OnceValue(func() error {
	compiled := otter.Must(&otter.Options[string, *regexp.Regexp]{MaximumSize: maxExpressions})
	err := driversqlite.RegisterDeterministicScalarFunction("regexp", 2,
		func(_ *driversqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			expression, ok := args[0].(string)
			value, text := args[1].(string)
			if !ok || !text {
				return nil, nil // as PostgreSQL has it for NULL
			}
			re, known := compiled.GetIfPresent(expression)
			if !known {
				var err error
				if re, err = regexp.Compile(expression); err != nil {
					return nil, fmt.Errorf("match: %w", err)
				}
				compiled.Set(expression, re)
			}
			return re.MatchString(value), nil
		})
	if err != nil {
		return fmt.Errorf("define REGEXP: %w", err)
	}
	return nil
})
