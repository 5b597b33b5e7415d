package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/test/children"
)

func TestMixHasItsProportions(t *testing.T) {
	t.Parallel()
	const n = 200_000
	p := newPlan(7, 50, 100, 1)
	s := p.stream(0)
	ops, classes, images := map[string]int{}, map[int]int{}, make([]int, 50)
	blobs := 0
	for range n {
		a := s.next()
		ops[a.op]++
		switch a.op {
		case opBlobGet, opBlobHead, opBlobPush:
			blobs++
			classes[a.class]++
			if a.blob >= len(p.sizes[a.class]) {
				t.Fatalf("%+v names a blob of %d", a, len(p.sizes[a.class]))
			}
		default:
			images[a.image]++
		}
	}
	near := func(what string, got, of, percent int) {
		t.Helper()
		if share := 100 * float64(got) / float64(of); share < float64(percent)-0.6 || share > float64(percent)+0.6 {
			t.Errorf("%s are %.1f%%, want %d%%", what, share, percent)
		}
	}
	near("manifest reads", ops[opManifestGet]+ops[opManifestHead], n, 50)
	near("blob GETs", ops[opBlobGet], n, 38)
	near("blob HEADs", ops[opBlobHead], n, 7)
	near("writes", ops[opBlobPush]+ops[opManifestPut], n, 5)
	for i, percent := range []int{65, 15, 15, 5} {
		near("blobs of class "+strconv.Itoa(i), classes[i], blobs, percent)
	}
	if !slices.IsSortedFunc(images[:5], func(a, b int) int { return b - a }) || images[0] < 10*images[49] {
		t.Errorf("the popularity of images is not skewed: %v", images)
	}
}

func TestSizesAreOfTheirClass(t *testing.T) {
	t.Parallel()
	p := newPlan(1, 1, 100, 1)
	for i, bounds := range [][2]int64{{0, 1e6}, {1e6, 10e6}, {10e6, 100e6}, {100e6, 1e12}} {
		if want := []int{65, 15, 15, 5}[i]; len(p.sizes[i]) != want {
			t.Errorf("class %d has %d blobs, want %d", i, len(p.sizes[i]), want)
		}
		for _, size := range p.sizes[i] {
			if size < bounds[0] || size >= bounds[1] {
				t.Errorf("class %d has a blob of %d bytes", i, size)
			}
		}
	}
	scaled := newPlan(1, 1, 100, 0.01)
	for i, size := range p.sizes[3] {
		if got := scaled.sizes[3][i]; got != int64(float64(size)*0.01) && got != int64(float64(size)*0.01)+1 {
			t.Errorf("%d bytes scaled by 0.01 are %d", size, got)
		}
	}
}

func TestEqualSeedsAskEqually(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64, client int) []asked {
		s := newPlan(seed, 20, 40, 1).stream(client)
		all := make([]asked, 500)
		for i := range all {
			all[i] = s.next()
		}
		return all
	}
	if !slices.Equal(draw(3, 1), draw(3, 1)) {
		t.Error("one seed asks in two ways")
	}
	if slices.Equal(draw(3, 1), draw(4, 1)) || slices.Equal(draw(3, 1), draw(3, 2)) {
		t.Error("two seeds, or clients, ask the same")
	}
	one, err := seededContent(3, 1, 1000).digest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := seededContent(4, 1, 1000).digest()
	if err != nil {
		t.Fatal(err)
	}
	// A known one: what one run pushes, the next one finds, on whatever machine.
	if one == other || one != "sha256:9cf92770eb6c76e7ac037717cdd2cdd7df5312d3d33410fc51ce62d789e6ac81" {
		t.Errorf("contents of seeds 3 and 4: %s, %s", one, other)
	}
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tt := range []struct {
		values []time.Duration
		p      float64
		want   time.Duration
	}{
		{hundred, 50, 50}, {hundred, 90, 90}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{hundred[:1], 50, 1}, {hundred[:1], 99, 1}, {hundred[:10], 99, 10}, {hundred[:10], 90, 9}, {hundred[:3], 50, 2}, {hundred[:4], 50, 2},
		{nil, 50, 0},
	} {
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("p%g of %d values is %d, want %d", tt.p, len(tt.values), got, tt.want)
		}
	}
	got := spreadOf([]time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond})
	if got != (spread{2, 3, 3, 3}) {
		t.Errorf("spread %+v", got)
	}
}

func TestRatiosAboveOneAreBetter(t *testing.T) {
	t.Parallel()
	turnOf := func(ops int, each time.Duration) turn {
		return turn{elapsed: time.Second, cpu: time.Duration(ops) * each / 2, tallies: map[string]*tally{
			"x": {took: slices.Repeat([]time.Duration{each}, ops)},
		}}
	}
	named := func(name string) *catalog {
		return &catalog{repositories: []*client{{registry: &registry{child: &child{name: name}}}}}
	}
	c := newDrivenCase("x", []*catalog{named("a"), named("b"), named("c")}, [][]turn{
		{turnOf(300, time.Millisecond), turnOf(200, time.Millisecond), turnOf(100, time.Millisecond)},
		{turnOf(100, 2*time.Millisecond), turnOf(100, 2*time.Millisecond), turnOf(100, 2*time.Millisecond)}, nil,
	})
	if want := []ratios{{To: "b", Throughput: 2, P50: 2, P99: 2, CPU: 2}}; !slices.Equal(c.Ratios, want) {
		t.Errorf("ratios %+v, want %+v", c.Ratios, want)
	}
	if c.Registries[2].Supported || c.Registries[0].PerSecond != 200 {
		t.Errorf("%+v", c.Registries)
	}
}

// TestReadsAreChecked gives wrong answers to whoever reads.
func TestReadsAreChecked(t *testing.T) {
	t.Parallel()
	answer := "right"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	t.Cleanup(server.Close)
	c := (&registry{child: &child{name: "x"}, base: server.URL}).client(smallBuffer)
	what := stored{c, digestBytes([]byte("right")), 5}
	v := &reading{every: 2}
	for _, tt := range []struct {
		answer string
		wrong  string
	}{{"right", ""}, {"right", ""}, {"long answer", "11 bytes"}, {"wrong", "changed"}, {"wrong", ""}, {"wrong", "changed"}} {
		answer = tt.answer
		_, err := v.get(t.Context(), what, "blobs", what.digest)
		if got := fmt.Sprint(err); tt.wrong == "" && err != nil || !strings.Contains(got, tt.wrong) {
			t.Errorf("%q, read %d: %v, want %q", tt.answer, v.count, err, tt.wrong)
		}
	}
	answer = "longer than it was"
	if err := v.head(t.Context(), what, "blobs", what.digest); err == nil {
		t.Error("a HEAD with another length is right")
	}
}

// TestRateCountsFromWhenItIsDue: an operation that waits behind a slow one is as slow as its caller sees it.
func TestRateCountsFromWhenItIsDue(t *testing.T) {
	t.Parallel()
	d := &driving{rate: 1000, clients: 1}
	began := time.Now().Add(-time.Second) // a second behind from the start
	n := 0
	got := d.client(t.Context(), func(context.Context) (string, int64, error) {
		if n++; n > 3 {
			return "x", 0, errors.New("enough")
		}
		return "x", 1, nil
	}, began, time.Until(began)+time.Second+time.Millisecond, 0)["x"]
	if len(got.took) == 0 || percentile(got.took, 0) < 900*time.Millisecond {
		t.Errorf("%d operations took %v, want about a second each", len(got.took), got.took)
	}
}

func TestAuthorizerDoesWhatIsAsked(t *testing.T) {
	t.Parallel()
	var challenge, seen string
	var server *httptest.Server
	tokens := 0
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := r.BasicAuth(); {
		case r.URL.Path == "/token" && user+password == "asecret" && r.FormValue("scope") == "repository:x/y:pull,push" && r.FormValue("service") == "s":
			tokens++
			_, _ = io.WriteString(w, `{"access_token":"t","expires_in":300}`)
		case r.URL.Path == "/v2/" && challenge != "":
			w.Header().Set("WWW-Authenticate", strings.ReplaceAll(challenge, "REALM", server.URL+"/token"))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			seen = r.Header.Get("Authorization")
		}
	}))
	t.Cleanup(server.Close)
	for _, tt := range []struct{ challenge, user, want string }{
		{"", "", ""}, {`Basic realm="x"`, "a", "Basic "}, {`Bearer realm="REALM",service="s"`, "a", "Bearer t"},
	} {
		challenge = tt.challenge
		a, err := newAuthorizer(t.Context(), server.URL, tt.user, "secret")
		if err != nil {
			t.Fatal(err)
		}
		c := (&registry{child: &child{name: "x"}, base: server.URL, auth: a}).client(smallBuffer).in("x/y")
		for range 2 {
			if _, err := c.list(t.Context(), "tags/list"); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasPrefix(seen, tt.want) || tt.want == "" && seen != "" {
			t.Errorf("%q is answered with %q", tt.challenge, seen)
		}
		elsewhere, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://elsewhere.example/", nil)
		if err := a.sign(elsewhere, "x/y"); err != nil || elsewhere.Header.Get("Authorization") != "" {
			t.Error("another host gets the credential")
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens were fetched for one repository", tokens)
	}
	challenge = `Basic realm="x"`
	if _, err := newAuthorizer(t.Context(), server.URL, "", ""); err == nil {
		t.Error("nobody logs in to a registry that wants somebody")
	}
}

// TestDriveARunningRegistry runs the whole program against a server, every case once or more.
func TestDriveARunningRegistry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "berth")
	if err := children.Build(t.Context(), "github.com/berthregistry/berth/cmd/api", program); err != nil {
		t.Fatal(err)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	server, err := children.Launch(program, "BERTH_ADDR="+address, "BERTH_METRICS_ADDR=", "BERTH_RATELIMIT_ENABLED=false",
		"BERTH_ADMIN_PASSWORD=a long password for tests", "BERTH_ADMIN_TOKEN=a-token-for-the-benchmark-to-use",
		"BERTH_DATABASE_URL=sqlite:"+filepath.Join(dir, "berth.db"), "BERTH_STORAGE_URL=file:"+filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	results, chart := filepath.Join(dir, "results.json"), filepath.Join(dir, "chart.svg")
	base := "http://" + address
	code := start(t.Context(), []string{
		"drive", "-user", "bench", "-password", "a-token-for-the-benchmark-to-use", "-names", "one,<two>", "-pids", fmt.Sprintf("%d,0", os.Getpid()),
		"-scale", "0.0001", "-images", "5", "-blobs", "20", "-size", "10kB", "-verify", "1", "-clients", "2",
		"-warm-up", "0s", "-duration", "40ms", "-rounds", "1", "-json", results, "-chart", chart, base, base,
	}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("it ended with %d: %s%s", code, stderr.String(), stdout.String())
	}
	var got driven
	text, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Cases) != len(kases(1)) {
		t.Fatalf("%d cases, want %d", len(got.Cases), len(kases(1)))
	}
	for _, c := range got.Cases {
		if len(c.Ratios) != 1 || c.Ratios[0].Throughput <= 0 {
			t.Errorf("%s: ratios %+v", c.Name, c.Ratios)
		}
		for _, r := range c.Registries {
			if !r.Supported || r.PerSecond <= 0 || len(r.Operations) == 0 {
				t.Errorf("%s: %+v", c.Name, r)
			}
		}
		if !strings.Contains(stdout.String(), "\n"+c.Name) {
			t.Errorf("the table lacks %s:\n%s", c.Name, &stdout)
		}
	}
	if got.Cases[0].Registries[0].MemoryMiB <= 0 || got.Cases[0].Registries[1].MemoryMiB != 0 {
		t.Errorf("memory %+v", got.Cases[0].Registries)
	}
	drawing, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(drawing, &struct{}{}); err != nil || !bytes.Contains(drawing, []byte("&lt;two&gt;")) {
		t.Errorf("the chart is no XML (%v), or lacks a name:\n%s", err, drawing)
	}
	if code := start(t.Context(), []string{"drive", "-run", "tags", "-images", "1", "-blobs", "4", "-scale", "0.0001", "-user", "x", "-password", "wrong", base},
		&stdout, &stderr); code != 1 {
		t.Errorf("a wrong password ends with %d", code)
	}
}
