package otelsetup

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// environment is what the OTEL_* variables ask for.
type environment struct{ traces, metrics bool }

// readEnvironment decides what is sent to a collector. By the specification the OTLP exporters are on unless they are
// switched off; here somebody has to name an exporter or an endpoint first, so that no server sends anything by itself.
func readEnvironment() (environment, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return environment{}, nil
	}
	var asked environment
	var err error
	if asked.traces, err = signal("TRACES", "otlp", "console"); err != nil {
		return asked, err
	}
	// The exporter of that name listens on a port of its own, without TLS or authentication: /metrics is there instead.
	if os.Getenv("OTEL_METRICS_EXPORTER") == "prometheus" {
		return asked, fmt.Errorf("OTEL_METRICS_EXPORTER=prometheus: set BERTH_METRICS_ADDR instead, and scrape /metrics there")
	}
	asked.metrics, err = signal("METRICS", "otlp", "console")
	return asked, err
}

// signal tells whether a signal is to be sent.
func signal(name string, known ...string) (bool, error) {
	variable := "OTEL_" + name + "_EXPORTER"
	exporter := os.Getenv(variable)
	switch {
	case exporter == "none":
		return false, nil
	case exporter == "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+name+"_ENDPOINT") != "", nil
	case !slices.Contains(known, exporter):
		return false, fmt.Errorf("%s=%s: want none, %s", variable, exporter, strings.Join(known, " or "))
	}
	return true, nil
}
