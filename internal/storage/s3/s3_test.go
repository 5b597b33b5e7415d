package s3_test

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/storage/storagetest"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestStore(t *testing.T) { storagetest.Run(t, open) }

// TestStoreWithoutMemory sends every byte through the disk.
func TestStoreWithoutMemory(t *testing.T) {
	storagetest.Run(t, func(tb testing.TB) storage.Store {
		return openWith(tb, s3.Options{UploadMemory: -1})
	})
}

func BenchmarkStore(b *testing.B) { storagetest.Bench(b, open) }

func open(tb testing.TB) storage.Store { return openWith(tb, s3.Options{}) }

// openWith returns a store over a fresh bucket. At the end nothing may be left in the spool and no multipart upload
// may be open.
func openWith(tb testing.TB, options s3.Options) *s3.Store {
	tb.Helper()
	loc, err := s3.ParseLocation(testenv.S3(tb))
	if err != nil {
		tb.Fatal(err)
	}
	options.SpoolDir = tb.TempDir()
	store := newStore(tb, loc, options)
	tb.Cleanup(func() {
		expectIdle(tb, store)
		expectEmptyFolder(tb, options.SpoolDir)
		expectNoUploads(tb, loc)
	})
	return store
}

func newStore(tb testing.TB, loc s3.Location, options s3.Options) *s3.Store {
	tb.Helper()
	store, err := s3.New(context.Background(), loc, options)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

func expectIdle(tb testing.TB, store *s3.Store) {
	tb.Helper()
	if stats := store.SpoolStats(); stats != (s3.SpoolStats{}) {
		tb.Errorf("the spool still holds %+v", stats)
	}
}

func expectEmptyFolder(tb testing.TB, dir string) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Error(err)
	}
	for _, e := range entries {
		tb.Errorf("left in the spool folder: %s", e.Name())
	}
}

func expectNoUploads(tb testing.TB, loc s3.Location) {
	tb.Helper()
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(loc.Region))
	if err != nil {
		tb.Error(err)
		return
	}
	client := awss3.NewFromConfig(cfg, func(o *awss3.Options) {
		o.BaseEndpoint, o.UsePathStyle = aws.String(loc.Endpoint), loc.PathStyle
	})
	out, err := client.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{
		Bucket: aws.String(loc.Bucket), Prefix: aws.String(loc.Prefix),
	})
	if err != nil {
		tb.Errorf("list multipart uploads: %v", err)
		return
	}
	for _, u := range out.Uploads {
		tb.Errorf("multipart upload left over: %s", aws.ToString(u.Key))
	}
}
