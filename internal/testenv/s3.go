package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

// S3URLVariable names a bucket that tests may fill, instead of one on a server of their own; each gets a prefix of its
// own in it, and what it writes stays there. It has the form of BERTH_STORAGE_URL, and the usual AWS variables hold its credentials.
const S3URLVariable = "TEST_S3_URL"

const (
	s3Region = "us-east-1"
	s3Prefix = "berth"
)

var sharedGateway = sync.OnceValues(func() (*gateway, error) {
	g, _, err := newGateway(context.Background())
	return g, err
})

// S3 returns the URL of a fresh, empty bucket, which is removed when the test ends, on a server that this process
// starts once. The credentials are in the environment of the process, where the AWS SDK finds them.
func S3(tb testing.TB) string {
	tb.Helper()
	if external := os.Getenv(S3URLVariable); external != "" {
		u, err := url.Parse(external)
		if err != nil {
			tb.Fatalf("%s is no URL: %v", S3URLVariable, err)
		}
		return u.JoinPath(randomName("berth-test-")).String()
	}
	g, err := sharedGateway()
	if err != nil {
		tb.Fatal(err)
	}
	return g.fresh(tb)
}

// S3Server starts an S3 server of the test's own.
func S3Server(tb testing.TB) *Server {
	tb.Helper()
	g, proc, err := newGateway(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return newServer(tb, g, proc)
}

// gateway is an S3 server over a folder.
type gateway struct {
	program string
	dir     string
	port    int
}

func newGateway(ctx context.Context) (*gateway, *process, error) {
	g := &gateway{}
	var err error
	if g.program, err = buildTool(ctx, "versitygw"); err != nil {
		return nil, nil, err
	}
	if g.dir, err = host.folder("s3-"); err != nil {
		return nil, nil, err
	}
	for _, dir := range []string{g.buckets(), g.sidecar()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, nil, fmt.Errorf("make a folder for the S3 server: %w", err)
		}
	}
	proc, port, err := startOnFreePort(g.start)
	if err != nil {
		return nil, nil, err
	}
	g.port = port
	return g, proc, nil
}

func (g *gateway) buckets() string { return filepath.Join(g.dir, "buckets") }
func (g *gateway) sidecar() string { return filepath.Join(g.dir, "sidecar") }
func (g *gateway) files() []string { return []string{g.dir} }

func (g *gateway) launch() (*process, error) { return g.start(g.port) }

func (g *gateway) start(port int) (*process, error) {
	keys := s3Keys()
	args := []string{"--port", address(port), "--region", s3Region, "--keep-alive", "--quiet", "posix"}
	if !hasAttributes(g.buckets()) {
		args = append(args, "--sidecar", g.sidecar())
	}
	proc, err := command{
		path: g.program,
		args: append(args, g.buckets()),
		env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir,
			"ROOT_ACCESS_KEY_ID=" + keys.AccessKeyID, "ROOT_SECRET_ACCESS_KEY=" + keys.SecretAccessKey,
		},
		dir:  g.dir,
		log:  filepath.Join(g.dir, "log"),
		quit: syscall.SIGKILL,
	}.start("the S3 server")
	if err != nil {
		return nil, err
	}
	client := s3Client(port)
	err = proc.ready(func(ctx context.Context) error {
		_, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return proc, nil
}

func (g *gateway) fresh(tb testing.TB) string {
	tb.Helper()
	bucket := randomName("berth-test-")
	ctx, cancel := context.WithTimeout(tb.Context(), requestTimeout)
	defer cancel()
	if _, err := s3Client(g.port).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		tb.Fatalf("create a bucket: %v", err)
	}
	tb.Cleanup(func() { // by its folders, which is quicker than object by object and needs no server
		err := errors.Join(
			os.RemoveAll(filepath.Join(g.buckets(), bucket)),
			os.RemoveAll(filepath.Join(g.sidecar(), bucket)),
		)
		if err != nil {
			tb.Errorf("remove the bucket: %v", err)
		}
	})
	return fmt.Sprintf("s3://%s/%s?region=%s&endpoint=http://%s&path_style=true",
		bucket, s3Prefix, s3Region, address(g.port))
}

// s3Keys makes the credentials of every S3 server of this process and puts them where the AWS SDK looks first.
var s3Keys = sync.OnceValue(func() aws.Credentials {
	keys := aws.Credentials{AccessKeyID: randomName("test"), SecretAccessKey: randomName("") + randomName("")}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID":     keys.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": keys.SecretAccessKey,
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err) // only for a malformed name
		}
	}
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE"} { // they would change what the two above mean
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	return keys
})

func s3Client(port int) *s3.Client {
	keys := s3Keys()
	return s3.New(s3.Options{
		Region:       s3Region,
		BaseEndpoint: aws.String("http://" + address(port)),
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, ""),
		Retryer:      aws.NopRetryer{},
	})
}

// hasAttributes tells whether the file system keeps extended attributes, in which the S3 server holds metadata.
func hasAttributes(dir string) bool {
	return unix.Setxattr(dir, "user.berth", []byte("1"), 0) == nil
}
