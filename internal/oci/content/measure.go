package content

import (
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

// What lists tell of a manifest is found out when it is pushed: a list then reads one row for each, however many manifests
// an index has.

const (
	// maxTotal is the most that a total says, in bytes: a manifest may claim any size, and indexes add up.
	maxTotal = 100_000_000_000_000
	// maxPlatforms bounds the platforms that are kept of one index, and maxPlatform their length.
	maxPlatforms = 64
	maxPlatform  = 100
)

// Platform is what an index says of a child.
type Platform struct {
	// Child is the child's digest.
	Child digest.Digest
	// Name is os/architecture[/variant].
	Name string
}

// platformName is what is kept as a platform: names are kept in one text, with spaces between.
var platformName = regexp.MustCompile(`^[A-Za-z0-9._-]+/[A-Za-z0-9._/-]+$`)

// unknownPlatform is what builders write on what runs nowhere, such as attestations.
const unknownPlatform = "unknown/unknown"

func (p Platform) known() bool {
	return p.Name != unknownPlatform && len(p.Name) <= maxPlatform && platformName.MatchString(p.Name)
}

// totalSize is $12, the manifest's own bytes, and the totals of those of its children ($13) that are there. Children of
// children are in their totals.
const totalSize = `(SELECT CASE WHEN held.bytes > 100000000000000 THEN 100000000000000 ELSE held.bytes END FROM (
	SELECT CAST({bigint:$12} + coalesce(sum((SELECT coalesce(c.total_size, c.size) FROM manifests c
		WHERE c.repository_id = r.id AND c.digest = child.value AND c.deleted_at IS NULL)), 0) AS bigint) AS bytes
	FROM (SELECT DISTINCT each.value FROM {each:$13}) AS child) AS held)`

// ownSize is the bytes of the manifest and its blobs.
func (m *NewManifest) ownSize() int64 {
	return min(int64(len(m.Content))+min(m.BlobSize, maxTotal), maxTotal)
}

// platforms are the names of the index's platforms, each once.
func (m *NewManifest) platforms() string {
	var names []string
	seen := map[string]bool{}
	for _, p := range m.Platforms {
		if len(names) == maxPlatforms {
			break
		}
		if p.known() && !seen[p.Name] {
			seen[p.Name] = true
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, " ")
}

// byPlatform are the children by the platforms that they are kept with, and the platforms in order; "" is none. A child with
// several has the first.
func (m *NewManifest) byPlatform() (groups map[string][]string, order []string) {
	kept := map[string]bool{}
	for _, name := range strings.Fields(m.platforms()) {
		kept[name] = true
	}
	of := make(map[digest.Digest]string, len(m.Platforms))
	for _, platform := range m.Platforms {
		if of[platform.Child] == "" && kept[platform.Name] {
			of[platform.Child] = platform.Name
		}
	}
	groups = map[string][]string{}
	for _, child := range m.Children {
		name := of[child]
		if _, known := groups[name]; !known {
			order = append(order, name)
		}
		groups[name] = append(groups[name], string(child))
	}
	return groups, order
}

// insertChildren adds to b the children of an index, by their platforms: most indexes have a few.
func insertChildren(b *database.Batch, p Place, m NewManifest) {
	groups, order := m.byPlatform()
	for _, name := range order {
		b.Exec(insertManifestChildren, p.Project, p.Path, string(m.Digest), database.Strings(groups[name]), name)
	}
}
