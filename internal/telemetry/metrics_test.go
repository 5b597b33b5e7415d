package telemetry_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"
)

// busy runs a server that has had one request of every kind that metrics tell apart, and returns what it exports.
func busy(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	i := start(t, settings(t.TempDir()), nil)
	p := pusher{instance: i}
	p.pull(t, "busy/app", p.push(t, "busy/app", []byte("a layer")))
	i.want(t, http.StatusUnauthorized, http.MethodGet, "/v2/", "")
	return i.scrape(t)
}

// exported are the names of the metrics, histograms with their three suffixes.
func exported(families map[string]*dto.MetricFamily) map[string]bool {
	names := make(map[string]bool)
	for name, family := range families {
		if family.GetType() != dto.MetricType_HISTOGRAM {
			names[name] = true
			continue
		}
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			names[name+suffix] = true
		}
	}
	return names
}

// TestEveryMetricIsDocumented holds docs/telemetry.md to the program: the first column of its tables of metrics is what
// /metrics has.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	families := busy(t)
	delete(families, "target_info")
	page, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = true
		family, ok := families[row[1]]
		if !ok {
			t.Errorf("%s is documented, and the server has it not", row[1])
			continue
		}
		if kind := strings.ToLower(family.GetType().String()); kind != row[2] {
			t.Errorf("%s is a %s, documented as a %s", row[1], kind, row[2])
		}
	}
	for name := range families {
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
	}
}

// TestDashboardsAndAlertsNameWhatThereIs holds the files for operators to the program.
func TestDashboardsAndAlertsNameWhatThereIs(t *testing.T) {
	t.Parallel()
	have := exported(busy(t))
	for origin, expressions := range map[string][]string{
		"dashboard": dashboard(t, "../../deploy/grafana/berth.json"), "alerts": alerts(t, "../../deploy/prometheus/alerts.yaml"),
		"runbooks": queries(t, "../../docs/operations/alerts.md"), "capacity": queries(t, "../../docs/operations/capacity.md"),
	} {
		if len(expressions) == 0 {
			t.Errorf("%s: no expressions", origin)
		}
		for _, text := range expressions {
			for _, name := range metricsIn(t, text) {
				if !have[name] {
					t.Errorf("%s: the server has no %s: %s", origin, name, text)
				}
			}
		}
	}
}

// metricsIn parses PromQL and returns the metrics that it reads.
func metricsIn(t *testing.T, text string) []string {
	t.Helper()
	// Grafana fills its variables in before Prometheus sees them.
	expression, err := metricsql.Parse(strings.NewReplacer("$__rate_interval", "5m", "$job", "berth").Replace(text))
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return nil
	}
	var names []string
	metricsql.VisitAll(expression, func(part metricsql.Expr) {
		metric, ok := part.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		for _, filters := range metric.LabelFilterss {
			for _, filter := range filters {
				if filter.Label == "__name__" {
					names = append(names, filter.Value)
				}
			}
		}
	})
	if len(names) == 0 {
		t.Errorf("%s: names no metric", text)
	}
	return names
}

func dashboard(t *testing.T, file string) (expressions []string) {
	t.Helper()
	var board struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, file), &board); err != nil {
		t.Fatal(err)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

// queried finds PromQL, and lone names of metrics, in a page.
var queried = regexp.MustCompile("`((?:sum|rate|increase|histogram_quantile)[ (][^`]+|(?:berth|db|http)_[a-z_]+)`")

func queries(t *testing.T, file string) (expressions []string) {
	t.Helper()
	for _, found := range queried.FindAllStringSubmatch(string(read(t, file)), -1) {
		if found[1] != "sum by (instance)" { // what to put before a query that stands above it
			expressions = append(expressions, found[1])
		}
	}
	return expressions
}

// runbooks is where the annotations of the alerts lead.
const runbooks = "https://github.com/berthregistry/berth/blob/main/docs/operations/alerts.md#"

func alerts(t *testing.T, file string) (expressions []string) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For string
				Labels           map[string]string
				Annotations      map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(read(t, file), &rules); err != nil {
		t.Fatal(err)
	}
	page := string(read(t, "../../docs/operations/alerts.md"))
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			// What wakes somebody up says what to do: a section of that page.
			if runbook := runbooks + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != runbook {
				t.Errorf("%s: its runbook_url is %q, want %q", rule.Alert, rule.Annotations["runbook_url"], runbook)
			}
			_, section, found := strings.Cut(page, "\n## "+rule.Alert+"\n")
			section, _, _ = strings.Cut(section, "\n## ")
			if !found || !strings.Contains(section, rule.Labels["severity"]) || !strings.Contains(section, "\nLook at:") || !strings.Contains(section, "\nDo:") {
				t.Errorf("docs/operations/alerts.md does not say what to look at and to do about %s (%s)", rule.Alert, rule.Labels["severity"])
			}
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s: an alert has a name, a severity, a summary and a description", rule.Expr)
			}
			expressions = append(expressions, rule.Expr)
		}
	}
	return expressions
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestMetricsNameNoTenant drives requests for many projects, repositories, users and things that are none, and counts
// series: their number must not depend on the tenants.
func TestMetricsNameNoTenant(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	cfg.RateLimit.Enabled = false
	i := start(t, cfg, nil)
	p := pusher{instance: i}
	drive := func(from int) {
		t.Helper()
		for n := from; n < from+4; n++ {
			name := fmt.Sprintf("tenant%d/zebra%d", n, n)
			layer := p.push(t, name, fmt.Appendf(nil, "layer %d", n))
			p.pull(t, name, layer)
			strangely(t, i, name, n)
		}
	}
	drive(0)
	before := series(t, i)
	drive(4)
	after := series(t, i)
	for one := range after {
		for _, name := range []string{"tenant", "zebra", "ferret", "BREW", "0123456789", "hushed"} {
			if strings.Contains(one, name) {
				t.Errorf("a label tells of a tenant or client: %s", one)
			}
		}
		// Workers ask the database and the storage when it is time, which may be in between.
		if !before[one] && !strings.HasPrefix(one, "db_client_") && !strings.HasPrefix(one, "berth_storage_") {
			t.Errorf("more tenants made a new series: %s", one)
		}
	}
	// Some 20 operations, the routes of the API that were asked for, and the components, each with its buckets as one.
	if len(after) > 250 {
		t.Errorf("%d series:\n%s", len(after), strings.Join(slices.Sorted(maps.Keys(after)), "\n"))
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(after)), func(one string) bool { return strings.Contains(one, "http_request_method=_OTHER") }) {
		t.Error("no odd method was counted")
	}
}

// strangely asks as nobody should: for absent things, by odd methods, with bad credentials, as many users.
func strangely(t *testing.T, i *instance, name string, n int) {
	t.Helper()
	for _, ask := range []struct{ method, path, authorization string }{
		{"BREW", "/v2/" + name + "/manifests/v1", basic(observedToken)},
		{fmt.Sprintf("FERRET%d", n), fmt.Sprintf("/ferret%d", n), ""},
		{http.MethodGet, fmt.Sprintf("/ferret%d/x", n), ""},
		{http.MethodGet, fmt.Sprintf("/v2/ferret%d/x/manifests/ferret%d", n, n), basic(observedToken)},
		{http.MethodGet, "/v2/" + name + "/manifests/v1", ""},
		{http.MethodGet, "/v2/" + name + "/manifests/v1", basic(fmt.Sprintf("hushed%d", n))},
		{http.MethodGet, "/v2/" + name + "/tags/list", basic(observedToken)},
		{http.MethodGet, fmt.Sprintf("/auth/token?scope=repository:%s:pull&account=ferret%d", name, n), basic(observedToken)},
		{http.MethodGet, fmt.Sprintf("/api/v1/projects/tenant%d", n), "Bearer " + observedToken},
		{http.MethodGet, fmt.Sprintf("/api/v1/projects/ferret%d", n), "Bearer " + observedToken},
		{http.MethodGet, fmt.Sprintf("/api/v1/ferret%d", n), "Bearer " + observedToken},
	} {
		var headers []string
		if ask.authorization != "" {
			headers = []string{"Authorization", ask.authorization}
		}
		i.do(t, ask.method, ask.path, "", headers...)
	}
}

// series are the metrics with their labels, a histogram counting as one. The runtime's own are left out.
func series(t *testing.T, i *instance) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for name, family := range i.scrape(t) {
		if strings.HasPrefix(name, "go_") || name == "target_info" {
			continue
		}
		for _, metric := range family.GetMetric() {
			one := name
			for _, label := range metric.GetLabel() {
				one += " " + label.GetName() + "=" + label.GetValue()
			}
			all[one] = true
		}
	}
	return all
}

// TestWhatMetricsCount looks at values.
func TestWhatMetricsCount(t *testing.T) {
	t.Parallel()
	i := start(t, settings(t.TempDir()), nil)
	p := pusher{instance: i}
	p.push(t, "counted/app", []byte("a layer"))
	for range 3 {
		p.send(t, http.StatusOK, http.MethodGet, "/v2/counted/app/manifests/v1", "")
	}
	p.send(t, http.StatusNotFound, http.MethodGet, "/v2/counted/app/manifests/v2", "")
	i.want(t, http.StatusUnauthorized, http.MethodGet, "/v2/counted/app/manifests/v1", "")
	families := i.scrape(t)
	for _, want := range []struct {
		metric string
		labels string
		value  float64
	}{
		{"berth_oci_operation_duration_seconds", "oci.manifest.get ok admin active-private", 3},
		{"berth_oci_operation_duration_seconds", "oci.manifest.get refused admin active-private", 1},
		{"berth_oci_operation_duration_seconds", "oci.manifest.get refused anonymous none", 1},
		{"berth_oci_operation_duration_seconds", "oci.blob.upload.start ok admin active-private", 1},
		{"berth_oci_operation_duration_seconds", "oci.blob.upload.monolithic ok admin active-private", 1},
		{"berth_oci_operation_duration_seconds", "oci.blob.mount ok admin active-private", 1},
		{"berth_authorization_decisions_total", "pull allowed admin active-private", 4},
		{"berth_authorization_decisions_total", "pull challenged anonymous absent", 1},
		{"berth_ratelimit_decisions_total", "allowed read", 4},
		{"berth_http_io_bytes_total", "receive admin active-private", 0},
		{"berth_storage_io_bytes_total", "fs write", 9},
		{"db_client_connection_max", "sqlite", 0},
	} {
		found := false
		for _, metric := range families[want.metric].GetMetric() {
			if !carries(metric, strings.Fields(want.labels)) {
				continue
			}
			found = true
			value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			if value != want.value && want.value != 0 || value == 0 {
				t.Errorf("%s of %s: %v, want %v", want.metric, want.labels, value, want.value)
			}
		}
		if !found {
			t.Errorf("%s has no %s: %v", want.metric, want.labels, families[want.metric])
		}
	}
}

func carries(metric *dto.Metric, values []string) bool {
	for _, value := range values {
		if !slices.ContainsFunc(metric.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == value }) {
			return false
		}
	}
	return true
}
