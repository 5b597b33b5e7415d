package s3_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
)

func TestParseLocation(t *testing.T) {
	const arn = "arn:aws:s3:us-west-2:123456789012:accesspoint/my-point"
	tests := map[string]s3.Location{
		"s3://bucket":             {Bucket: "bucket"},
		"s3://bucket/":            {Bucket: "bucket"},
		"s3://my.bucket-1/a/b_c/": {Bucket: "my.bucket-1", Prefix: "a/b_c/"},
		"s3://bucket/prefix?region=eu-west-1&endpoint=http://127.0.0.1:9000&path_style=true": {
			Bucket: "bucket", Prefix: "prefix/", Region: "eu-west-1", Endpoint: "http://127.0.0.1:9000", PathStyle: true,
		},
		"s3://bucket?endpoint=https%3A%2F%2Fs3.example.com%2Fbase&path_style=0": {
			Bucket: "bucket", Endpoint: "https://s3.example.com/base",
		},
		"s3://bucket?region=&endpoint=&path_style=true": {Bucket: "bucket", PathStyle: true},
		arn:                  {Bucket: arn, Region: "us-west-2"},
		arn + "/":            {Bucket: arn, Region: "us-west-2"},
		arn + "/some/prefix": {Bucket: arn, Region: "us-west-2", Prefix: "some/prefix/"},
		"arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:point": {
			Bucket: "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:point", Region: "cn-north-1",
		},
	}
	for in, want := range tests {
		got, err := s3.ParseLocation(in)
		if err != nil {
			t.Errorf("ParseLocation(%q): %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ParseLocation(%q) (-want +got):\n%s", in, diff)
		}
	}
}

func TestParseLocationRefuses(t *testing.T) {
	for _, in := range []string{
		"", "bucket", "file:x", "s3:", "s3:bucket", "s3://", "s3:///prefix", "s3://b", "s3://bu:80/x", "s3://buck et", "s3://-bucket",
		"s3://key:secret@bucket", "s3://bucket#f", "s3://bucket/../x", "s3://bucket/a//b", "s3://bucket/a%00b", "s3://bucket/ü",
		"s3://bucket?regoin=x", "s3://bucket?region=a&region=b", "s3://bucket?path_style=maybe", "s3://bucket?path_style=",
		"s3://bucket?endpoint=127.0.0.1:9000", "s3://bucket?endpoint=ftp://host", "s3://bucket?endpoint=http://",
		"s3://bucket?endpoint=http://key:secret@host", "s3://bucket?endpoint=http://host?secret=x", "s3://bucket?%zz",
		"s3://key:secret@bucket\x7f",
		"arn:aws:s3:::bucket", "arn:aws:s3:us-west-2:123:accesspoint/name", "arn:aws:s3:us-west-2:123456789012:accesspoint/",
		"arn:aws:sqs:us-west-2:123456789012:accesspoint/name", "arn:aws:s3:us-west-2:123456789012:accesspoint/name/../x",
		"arn:aws:s3:us-west-2:123456789012:accesspoint/Name", "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op/accesspoint/n",
	} {
		loc, err := s3.ParseLocation(in)
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("ParseLocation(%q) = %+v, %v; want ErrInvalid", in, loc, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseLocation(%q) tells the secret: %v", in, err)
		}
	}
}
