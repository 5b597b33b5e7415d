package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	s3Region = "us-east-1"
	s3Bucket = "berth-bench"
)

// objectStore is an S3 server with an empty bucket.
type objectStore struct{ endpoint, id, secret string }

// bucket starts an S3 server and returns the storage URL of an empty bucket, and the environment that gives access to it.
func (st *stage) bucket(ctx context.Context) (url string, env []string, err error) {
	b, err := st.objects(ctx)
	if err != nil {
		return "", nil, err
	}
	return b.url(), b.environment(), nil
}

// objects starts an S3 server on a folder of its own.
func (st *stage) objects(ctx context.Context) (*objectStore, error) {
	path, err := st.tool(ctx, "versitygw")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(addr, ":")
	buckets, err := st.folder("buckets-" + port)
	if err != nil {
		return nil, err
	}
	sidecar, err := st.folder("sidecar-" + port)
	if err != nil {
		return nil, err
	}
	id, secret := rand.Text(), rand.Text()
	c, err := st.start("s3-"+port, []string{"ROOT_ACCESS_KEY_ID=" + id, "ROOT_SECRET_ACCESS_KEY=" + secret}, path,
		"--port", addr, "--region", s3Region, "--keep-alive", "--quiet", "posix", "--sidecar", sidecar, buckets)
	if err != nil {
		return nil, err
	}
	if err := c.ready(ctx, "http://"+addr); err != nil {
		return nil, err
	}
	client := s3.New(s3.Options{
		Region: s3Region, BaseEndpoint: aws.String("http://" + addr), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	})
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(s3Bucket)}); err != nil {
		return nil, fmt.Errorf("create a bucket: %w", err)
	}
	return &objectStore{"http://" + addr, id, secret}, nil
}
