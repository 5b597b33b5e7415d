package database

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// openEngine chooses the dialect by the URL's scheme.
func openEngine(ctx context.Context, cfg Config) (engine, error) {
	scheme, rest, _ := strings.Cut(cfg.URL, ":")
	switch scheme {
	case "sqlite":
		path, err := sqlitePath(rest)
		if err != nil {
			return nil, err
		}
		return openSQLite(ctx, path, cfg.MustExist)
	case "postgres", "postgresql":
		return openPostgres(ctx, cfg)
	case "":
		return nil, errors.New("the database URL is empty: give sqlite:PATH or postgres://…")
	default:
		return nil, errors.New("the database URL has to begin with sqlite: or postgres://") // it may hold a password
	}
}

// sqlitePath is the file that the part after sqlite: names.
func sqlitePath(rest string) (string, error) {
	switch {
	case rest == "":
		return "", errors.New("the database URL names no file: give sqlite:PATH")
	case strings.Contains(rest, ":memory:"):
		return "", errors.New("the database URL names memory: SQLite needs a file here")
	case strings.Contains(rest, "?"):
		return "", fmt.Errorf("the database URL sqlite:%s has options, but sqlite: takes none", rest)
	case strings.ContainsRune(rest, 0):
		return "", errors.New("the database URL has a NUL byte")
	case strings.HasPrefix(rest, "//") && !strings.HasPrefix(rest, "///"):
		return "", fmt.Errorf("the database URL sqlite:%s names a host: write sqlite:PATH, or sqlite:/PATH for an absolute one", rest)
	case strings.HasSuffix(rest, "/"):
		return "", fmt.Errorf("the database URL sqlite:%s names a folder: SQLite needs a file", rest)
	}
	return filepath.Clean(rest), nil
}
