package e2e

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthregistry/berth/test/crash/faults"
)

// testCopies pulls from a bucket by copies on a disk, and once the bucket has gone: what was pulled before can be pulled
// again, also after a restart.
func testCopies(t *testing.T, program string) {
	b := servers(t)
	_, endpoint, _ := strings.Cut(b.storage, "endpoint=http://")
	target, _, _ := strings.Cut(endpoint, "&")
	s3, err := faults.NewS3(target, 0, &faults.Traps{})
	must(t, err)
	t.Cleanup(s3.Close)
	b.storage = strings.Replace(b.storage, target, s3.Address(), 1)

	dir := filepath.Join(t.TempDir(), "copies")
	settings := []string{"BERTH_BLOB_CACHE=" + dir, "BERTH_BLOB_CACHE_SIZE=256MiB", "BERTH_STORAGE_TIMEOUT=2s", "BERTH_STORAGE_ATTEMPTS=1"}
	before := startChild(t, program, b, settings...)
	before.pushImage("copies/app", "one", content(1), content(70_000), content(b.chunk+b.chunk/3))
	unpulled := "/v2/copies/app/blobs/" + before.pushBlob("copies/app", content(1000)).String()
	pulled := before.readBack("copies/app", "one")
	const copied = 1 + 1 + 1 + 2 // the config, the small layers, and two chunks of the large one
	await(t, "what was pulled lies on the disk", func() bool { return countFiles(t, dir) == copied })
	before.terminate()
	before.wantOrderlyEnd()

	after := startChild(t, program, b, settings...)
	s3.Refuse(true)
	for blob := range pulled {
		await(t, "the copies are found", func() bool {
			a, err := after.try(http.MethodGet, "/v2/copies/app/blobs/"+blob, nil)
			return err == nil && (a.status == http.StatusOK || a.status == http.StatusNotFound) // the manifest is no blob
		})
	}
	same(t, pulled, after.readBack("copies/app", "one"))
	after.wantUnavailable(http.MethodGet, unpulled, nil)
	s3.Heal()
	after.want(http.StatusOK, http.MethodGet, unpulled, nil)
}

// countFiles counts the copies in the folder of a cache.
func countFiles(t *testing.T, dir string) int {
	t.Helper()
	count := 0
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		folder := filepath.Base(filepath.Dir(path))
		if err == nil && !entry.IsDir() && folder != "fetching" && entry.Name() != "lock" {
			count++
		}
		return nil //nolint:nilerr // what goes while the folder is walked through is not counted
	}))
	return count
}
