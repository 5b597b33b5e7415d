package s3

import (
	"context"
	"errors"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Tracing is a middleware (see Options.Middleware) that gives each operation on the bucket a span, all its attempts
// together, inside the span of what asked for it. Nothing of the trace is sent to the server, whose signature of headers
// it would be part of.
func Tracing(tracer trace.Tracer) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("BerthTracing", //nolint:wrapcheck // the SDK's own
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
				out middleware.InitializeOutput, metadata middleware.Metadata, err error,
			) {
				if !trace.SpanContextFromContext(ctx).IsSampled() {
					return next.HandleInitialize(ctx, in)
				}
				operation := awsmiddleware.GetOperationName(ctx)
				ctx, span := tracer.Start(ctx, "S3 "+operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
					attribute.String("rpc.system", "aws-api"), attribute.String("rpc.service", "S3"),
					attribute.String("rpc.method", operation), attribute.String("cloud.region", awsmiddleware.GetRegion(ctx)),
				))
				defer span.End()
				out, metadata, err = next.HandleInitialize(ctx, in)
				finish(span, metadata, err)
				return out, metadata, err
			}), middleware.After)
	}
}

// finish tells the code of an error and not its text, which may hold parts of the request.
func finish(span trace.Span, metadata middleware.Metadata, err error) {
	if id, ok := awsmiddleware.GetRequestIDMetadata(metadata); ok {
		span.SetAttributes(attribute.String("aws.request_id", id))
	}
	if attempts, ok := retry.GetAttemptResults(metadata); ok && len(attempts.Results) > 1 {
		span.SetAttributes(attribute.Int("berth.storage.attempts", len(attempts.Results)))
	}
	if err == nil {
		return
	}
	word := "_OTHER"
	var known smithy.APIError
	if errors.As(err, &known) {
		word = known.ErrorCode()
	}
	span.SetAttributes(attribute.String("error.type", word))
	span.SetStatus(codes.Error, word)
}
