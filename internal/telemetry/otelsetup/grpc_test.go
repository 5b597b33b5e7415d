package otelsetup_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	metrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// told is what a collector was sent, as text.
type told struct {
	mu   sync.Mutex
	text strings.Builder
}

func (c *told) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.WriteString(text)
}

func (c *told) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.text.String(), text)
}

type tracesOverGRPC struct {
	traces.UnimplementedTraceServiceServer
	told
}

// Export implements traces.TraceServiceServer.
func (c *tracesOverGRPC) Export(_ context.Context, r *traces.ExportTraceServiceRequest) (*traces.ExportTraceServiceResponse, error) {
	c.note(r.String())
	return &traces.ExportTraceServiceResponse{}, nil
}

type metricsOverGRPC struct {
	metrics.UnimplementedMetricsServiceServer
	told
}

// Export implements metrics.MetricsServiceServer.
func (c *metricsOverGRPC) Export(_ context.Context, r *metrics.ExportMetricsServiceRequest) (*metrics.ExportMetricsServiceResponse, error) {
	c.note(r.String())
	return &metrics.ExportMetricsServiceResponse{}, nil
}

func TestEverythingGoesToTheCollectorByGRPC(t *testing.T) { //nolint:paralleltest // sets the environment
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, spans, figures := grpc.NewServer(), &tracesOverGRPC{}, &metricsOverGRPC{}
	traces.RegisterTraceServiceServer(server, spans)
	metrics.RegisterMetricsServiceServer(server, figures)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	telemetry, err := startWith(t, false, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	if err != nil {
		t.Fatal(err)
	}
	if err := use(t, telemetry); err != nil {
		t.Fatal(err)
	}
	if !spans.has("a-span-of-the-test") || !figures.has("a.figure.of.the.test") {
		t.Errorf("spans %s, metrics %s", spans.text.String(), figures.text.String())
	}
}
