package server

import (
	"io"
	"log/slog"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// NewLogger makes a logger that writes to w and adds the request's ID to what is logged within a request. An unknown
// level counts as info, an unknown format as text.
func NewLogger(w io.Writer, cfg config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if cfg.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(reqlog.Handler(handler))
}
