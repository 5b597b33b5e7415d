package archtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/berthregistry/berth"

// room is a folder with all that is below it, as far as no longer entry of rooms claims that.
type room struct {
	// path is the folder below the module's root.
	path string
	// may names the rooms whose packages it may import, by path; "*" is every room except the test rooms. A room
	// may always import itself.
	may []string
}

// rooms is the whole truth about who may import whom. Imports run one way:
//
//	cmd -> server -> api, oci -> projects, auth, rbac, ratelimit, audit -> storage, database -> migrations
//
// A package outside every room, and an import that is not listed, fail the test. Adding an edge is a decision about
// the structure, to be made here and nowhere else. Tests are free, and so are folders whose name ends in "test", as in
// storagetest: they hold helpers of tests, and in turn nothing but tests imports them.
var rooms = []room{
	{path: "cmd/api", may: []string{"internal/server", "internal/config", "internal/doctor", "internal/verify", "client"}},
	{path: "internal/server", may: []string{"*"}},
	{path: "internal/config"},
	// What surrounds a server, looked at from outside of it: no domain.
	{path: "internal/doctor", may: []string{"internal/config", "internal/database", "internal/storage"}},
	// For any registry of anybody, so it knows nothing of this one but what the wire tells.
	{path: "internal/verify"},

	{path: "internal/api", may: slices.Concat(domain, stores, []string{"internal/api/problem", "internal/oci/content", "web/openapi"})},
	{path: "internal/api/problem", may: []string{"internal/telemetry"}},
	{path: "internal/oci", may: slices.Concat(domain, stores, []string{"internal/oci/*", "internal/oci/content"})},
	{path: "internal/oci/*", may: slices.Concat(domain, stores, []string{"internal/oci/content"})},
	// What exists, and its rules: both planes change it, each with a guard of its own, and one set of statements knows how.
	{path: "internal/oci/content", may: slices.Concat(domain, stores)},

	{path: "internal/projects", may: []string{"internal/limits", "internal/rbac", "internal/audit", "internal/events", "internal/recent", "internal/rounds", "internal/database", "internal/telemetry"}},
	{path: "internal/auth", may: []string{"internal/limits", "internal/rbac", "internal/audit", "internal/recent", "internal/database", "internal/telemetry"}},
	{path: "internal/limits", may: []string{"internal/audit", "internal/rounds", "internal/database", "internal/telemetry"}},
	{path: "internal/audit", may: []string{"internal/rounds", "internal/database", "internal/telemetry"}},
	{path: "internal/events", may: []string{"internal/audit", "internal/rounds", "internal/database", "internal/telemetry"}},
	{path: "internal/ratelimit", may: []string{"internal/telemetry"}},
	{path: "internal/rbac"},
	{path: "internal/recent"},
	{path: "internal/rounds"},
	{path: "internal/telemetry"},

	{path: "internal/storage", may: []string{"internal/recent", "internal/telemetry"}},
	{path: "internal/database", may: []string{"migrations", "internal/telemetry"}},
	{path: "migrations"},
	{path: "web/openapi"},
	{path: "client"}, // for programs of others, so it needs nothing of this one

	{path: "internal/testenv"},
	{path: "internal/archtest"},
	{path: "test", may: []string{"*", "internal/testenv"}},
}

var (
	domain = []string{
		"internal/projects", "internal/auth", "internal/rbac", "internal/ratelimit", "internal/limits", "internal/audit",
		"internal/events", "internal/rounds", "internal/telemetry",
	}
	stores = []string{"internal/storage", "internal/database", "migrations"}
	// testRooms hold no part of the program: only tests and one another import them.
	testRooms = []string{"internal/testenv", "internal/archtest", "test"}
)

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t) {
		if file.test || helpsTests(file.dir) {
			continue
		}
		for _, imported := range file.imports(t) {
			if err := check(file.dir, imported); err != nil {
				t.Errorf("%s: %v", file.path, err)
			}
		}
	}
}

func TestEveryPackageHasARoom(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t) {
		if _, ok := roomOf(file.dir); !ok {
			t.Errorf("%s is in no room: add its folder to rooms, with what it may import", file.path)
		}
	}
}

func TestRoomsNameOnlyRooms(t *testing.T) {
	t.Parallel()
	for _, r := range rooms {
		for _, name := range r.may {
			known := name == "*" || slices.ContainsFunc(rooms, func(other room) bool { return other.path == name })
			if !known {
				t.Errorf("%s may import %q, which is no room", r.path, name)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{"cmd/api", "internal/server", true},
		{"cmd/api", "internal/oci", false},
		{"internal/server", "internal/oci/uploads", true},
		{"internal/server", "internal/testenv", false},
		{"internal/oci", "internal/oci/uploads", true},
		{"internal/oci/uploads", "internal/oci/manifests", true},
		{"internal/oci/uploads", "internal/oci", false},
		{"internal/oci/uploads", "internal/auth", true},
		{"internal/oci/uploads", "internal/api", false},
		{"internal/oci/access", "internal/auth", true},
		{"internal/oci/access", "internal/api", false},
		{"internal/oci", "internal/api", false},
		{"internal/projects", "internal/auth", false},
		{"internal/rbac", "internal/database", false},
		{"internal/storage/s3", "internal/storage", true},
		{"internal/storage/s3", "internal/database", false},
		{"internal/storage/s3", "internal/storage/storagetest", false},
		{"internal/server", "internal/database/dbtest", false},
		{"test/bench", "internal/database/dbtest", true},
		{"internal/database", "migrations", true},
		{"internal/config", "internal/telemetry", false},
		{"internal/testenv", "internal/testenv/tool", true},
		{"test/bench", "internal/testenv", true},
		{"internal/newroom", "internal/rbac", false},
		{"internal/server", "internal/newroom", false},
	}
	for _, tt := range tests {
		if err := check(tt.from, tt.to); (err == nil) != tt.allowed {
			t.Errorf("%s importing %s: error %v, want allowed %t", tt.from, tt.to, err, tt.allowed)
		}
	}
}

// check returns an error where a package of folder from may not import that of folder to.
func check(from, to string) error {
	here, ok := roomOf(from)
	if !ok {
		return fmt.Errorf("%s is in no room", from)
	}
	there, ok := roomOf(to)
	if !ok {
		return fmt.Errorf("imports %s, which is in no room", to)
	}
	if helpsTests(to) && !slices.Contains(testRooms, here.path) {
		return fmt.Errorf("imports %s, which is for tests", to)
	}
	wildcard := slices.Contains(here.may, "*") && !slices.Contains(testRooms, there.path)
	if here.path == there.path || wildcard || slices.Contains(here.may, there.path) {
		return nil
	}
	return fmt.Errorf("%s may not import %s: that edge is not in rooms (internal/archtest)", here.path, to)
}

// roomOf returns the room with the longest path that holds a folder.
func roomOf(dir string) (room, bool) {
	var found room
	for _, r := range rooms {
		folder, deeper := strings.CutSuffix(r.path, "/*")
		inside := below(dir, folder) && (!deeper || dir != folder)
		if inside && len(r.path) > len(found.path) {
			found = r
		}
	}
	return found, found.path != ""
}

// helpsTests tells whether a folder holds helpers of tests, as net/http/httptest does.
func helpsTests(dir string) bool { return strings.HasSuffix(dir, "test") && dir != "test" }

func below(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

// imports returns the folders of the module's packages that a file imports, whatever the file's build constraints.
func (s source) imports(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), s.path, s.content, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if dir, ok := strings.CutPrefix(path, module+"/"); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
