package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	leastPart = 1 << 20
	mostPart  = 16 << 20
	// attempts is how often the rest of an upload is sent: after a cut the registry may still be storing what it got.
	attempts = 5
)

// errCut ends a body in the middle.
var errCut = errors.New("cut on purpose")

// upload is one upload in three parts, of which the second breaks off.
type upload struct {
	run      *run
	bearer   string
	location string
	content  []byte
	part     int
}

// resume sends a part, breaks off in the middle of the next, asks how much has arrived and goes on from there.
func (r *run) resume(ctx context.Context) (string, error) {
	bearer, err := r.may(ctx, "pull,push")
	if err != nil {
		return "", err
	}
	location, least, err := r.begin(ctx, r.repository, bearer)
	if err != nil {
		return "", err
	}
	asked, _ := strconv.Atoi(least) // none is none
	u := &upload{run: r, bearer: bearer, location: location, part: min(max(asked, leastPart), mostPart)}
	u.content = make([]byte, 3*u.part)
	_, _ = rand.Read(u.content) // it never fails
	if err := u.patch(ctx, 0, u.part); err != nil {
		return "", fmt.Errorf("the first part: %w", err)
	}
	u.cut(ctx)
	kept, err := u.goOn(ctx)
	if err != nil {
		return "", err
	}
	d := digest.FromBytes(u.content)
	if err := r.finish(ctx, u.location, bearer, nil, d); err != nil {
		return "", err
	}
	r.left = append(r.left, object{"blobs", d})
	a, err := r.blob(ctx, bearer, d, nil)
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", err
	}
	if !bytes.Equal(a.body, u.content) {
		return "", errors.New("the upload went on and other bytes come back")
	}
	return fmt.Sprintf("cut at %d KiB, went on at %d KiB of %d KiB", (u.part+u.part/2)>>10, kept>>10, len(u.content)>>10), nil
}

// patch sends a range of the content.
func (u *upload) patch(ctx context.Context, from, to int) error {
	body, length := some(u.content[from:to])
	a, err := u.run.wire.do(ctx, u.request(body, length, from, to))
	if err != nil {
		return err
	}
	if err := a.want(http.StatusAccepted); err != nil {
		return err
	}
	u.location, err = a.location()
	return err
}

func (u *upload) request(body io.Reader, length int64, from, to int) request {
	return request{
		method: http.MethodPatch, path: u.location, bearer: u.bearer, body: body, length: length,
		header: map[string]string{"Content-Type": "application/octet-stream", "Content-Range": fmt.Sprintf("%d-%d", from, to-1)},
	}
}

// cut sends half of the second part and drops the connection; what becomes of the request is not this client's to know.
func (u *upload) cut(ctx context.Context) {
	half := bytes.NewReader(u.content[u.part : u.part+u.part/2])
	_, _ = u.run.wire.do(ctx, u.request(io.MultiReader(half, breaking{}), int64(u.part), u.part, 2*u.part))
}

// breaking is a body that breaks off.
type breaking struct{}

// Read implements io.Reader.
func (breaking) Read([]byte) (int, error) { return 0, errCut }

// goOn sends what is missing, from where the registry says, and gives where that was.
func (u *upload) goOn(ctx context.Context) (from int, err error) {
	for range attempts {
		if from, err = u.offset(ctx); err != nil {
			return 0, err
		}
		if from < u.part || from > 2*u.part {
			return 0, fmt.Errorf("after the cut the registry has %d bytes: it acknowledged %d and was sent %d", from, u.part, u.part+u.part/2)
		}
		err = u.patch(ctx, from, len(u.content))
		var refused statusError
		if !errors.As(err, &refused) || refused.status != http.StatusRequestedRangeNotSatisfiable {
			return from, err
		}
	}
	return 0, fmt.Errorf("the upload does not go on where the registry says: %w", err)
}

// offset asks how much of the upload has arrived.
func (u *upload) offset(ctx context.Context) (int, error) {
	a, err := u.run.wire.do(ctx, request{method: http.MethodGet, path: u.location, bearer: u.bearer})
	if err != nil {
		return 0, err
	}
	if err := a.want(http.StatusNoContent); err != nil {
		return 0, fmt.Errorf("the upload is gone after the cut: %w", err)
	}
	if u.location, err = a.location(); err != nil {
		return 0, err
	}
	_, last, found := strings.Cut(a.header.Get("Range"), "-")
	end, err := strconv.Atoi(last)
	if !found || err != nil {
		return 0, fmt.Errorf("the upload's Range is %q", a.header.Get("Range"))
	}
	return end + 1, nil
}
