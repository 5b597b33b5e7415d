package s3

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/berthregistry/berth/internal/storage"
)

// Location says where a store keeps its objects.
type Location struct {
	// Bucket is a bucket's name or an access point's ARN.
	Bucket string
	// Prefix is put before every key; it is empty or ends in a slash.
	Prefix string
	// Region is the AWS region; empty means that of the environment.
	Region string
	// Endpoint is the http or https URL of the server; empty means AWS.
	Endpoint string
	// PathStyle puts the bucket into the path instead of the host name, as most servers other than AWS need.
	PathStyle bool
}

// accessPoint matches the ARN of an access point, with its name after a slash or a colon, and a prefix.
var accessPoint = regexp.MustCompile(
	`^(arn:aws[a-z-]*:s3:([a-z0-9-]+):[0-9]{12}:accesspoint[/:][a-z0-9][a-z0-9-]{1,48}[a-z0-9])(?:/(.*))?$`)

// bucketName matches what S3 accepts as a bucket's name, and the older form with capitals and underscores that other
// servers still have.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)

// ParseLocation understands two forms:
//
//	s3://bucket/prefix?region=eu-west-1&endpoint=https://host:port&path_style=true
//	arn:aws:s3:us-west-2:123456789012:accesspoint/name/prefix
//
// The prefix and all parameters are optional; unknown parameters are refused. Credentials never stand in a location.
// The error is storage.ErrInvalid.
func ParseLocation(s string) (Location, error) {
	loc, err := parseLocation(s)
	if err != nil {
		return Location{}, fmt.Errorf("s3: location: %w: %w", storage.ErrInvalid, err)
	}
	return loc, nil
}

func parseLocation(s string) (Location, error) {
	if strings.HasPrefix(s, "arn:") {
		return parseARN(s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return Location{}, fmt.Errorf("malformed URL: %w", withoutURL(err))
	}
	switch {
	case u.Scheme != "s3":
		return Location{}, fmt.Errorf("scheme %q is not s3", u.Scheme)
	case u.User != nil:
		return Location{}, fmt.Errorf("credentials belong in the environment, not in the URL")
	case u.Fragment != "" || u.Opaque != "":
		return Location{}, fmt.Errorf("want s3://bucket/prefix")
	case !bucketName.MatchString(u.Host):
		return Location{}, fmt.Errorf("bucket name %q", u.Host)
	}
	loc := Location{Bucket: u.Host}
	if loc.Prefix, err = parsePrefix(u.Path); err != nil {
		return Location{}, err
	}
	if err := loc.parseQuery(u.RawQuery); err != nil {
		return Location{}, err
	}
	return loc, nil
}

func parseARN(s string) (Location, error) {
	m := accessPoint.FindStringSubmatch(s)
	if m == nil {
		return Location{}, fmt.Errorf("want arn:aws:s3:<region>:<account>:accesspoint/<name>")
	}
	prefix, err := parsePrefix(m[3])
	return Location{Bucket: m[1], Region: m[2], Prefix: prefix}, err
}

// parsePrefix gives a prefix its slash. Prefixes are bound to the form of keys, half as long at most.
func parsePrefix(p string) (string, error) {
	p = strings.Trim(p, "/")
	if p == "" {
		return "", nil
	}
	if err := storage.ValidateKey(p); err != nil {
		return "", fmt.Errorf("prefix: %w", err)
	}
	return p + "/", nil
}

func (l *Location) parseQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("malformed parameters: %w", err)
	}
	for name, values := range query {
		if len(values) != 1 {
			return fmt.Errorf("parameter %s is repeated", name)
		}
		if err := l.set(name, values[0]); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

func (l *Location) set(name, value string) error {
	var err error
	switch name {
	case "region":
		l.Region = value
	case "endpoint":
		l.Endpoint, err = parseEndpoint(value)
	case "path_style":
		l.PathStyle, err = strconv.ParseBool(value)
	default:
		err = fmt.Errorf("unknown")
	}
	return err
}

func parseEndpoint(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	u, err := url.Parse(value)
	if err != nil {
		return "", fmt.Errorf("malformed URL: %w", withoutURL(err))
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("want http://host:port or https://host:port")
	}
	return value, nil
}

// withoutURL strips the URL from what url.Parse returns: somebody may have put a password there.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
