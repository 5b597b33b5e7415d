package server_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

func TestNewLogger(t *testing.T) {
	t.Parallel()
	ctx, _ := reqlog.New(t.Context(), "id-1")
	for name, tt := range map[string]struct {
		cfg  config.Log
		want string
	}{
		"text":  {config.Log{Level: "info", Format: "text"}, `level=INFO msg=info request_id=id-1`},
		"json":  {config.Log{Level: "info", Format: "json"}, `"level":"INFO","msg":"info","request_id":"id-1"`},
		"quiet": {config.Log{Level: "error", Format: "text"}, ""},
	} {
		var out output
		logger := server.NewLogger(&out, tt.cfg)
		logger.DebugContext(ctx, "debug", slog.Int("n", 1))
		logger.InfoContext(ctx, "info")
		if got := out.String(); !strings.Contains(got, tt.want) || strings.Contains(got, "debug") || tt.want == "" && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
