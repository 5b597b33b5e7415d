package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../helm/berth"

// chartFiles stands for .Files of a template.
type chartFiles struct{}

// Get reads a file of the chart; one that is missing is empty, as in Helm.
func (chartFiles) Get(name string) string {
	content, err := os.ReadFile(filepath.Join(chartFolder, name))
	if err != nil {
		return ""
	}
	return string(content)
}

// renderer does what `helm template` does with a chart like ours: no sub-charts, no hooks, and look-ups that find what a test says. Helm's own engine
// would bring the whole client of Kubernetes. testdata holds what Helm itself makes of the same values; both must agree.
type renderer struct {
	templates *template.Template
	base      map[string]any            // values.yaml
	chart     map[string]any            // Chart.yaml, with the names that templates know
	cluster   map[string]map[string]any // what a look-up finds, by kind and name
}

func newRenderer(t *testing.T) *renderer {
	t.Helper()
	r := &renderer{base: readYAML(t, filepath.Join(chartFolder, "values.yaml")), templates: template.New("chart").Option("missingkey=zero")}
	var chart struct {
		Name, Version, AppVersion string
	}
	parse(t, read(t, filepath.Join(chartFolder, "Chart.yaml")), &chart)
	r.chart = map[string]any{"Name": chart.Name, "Version": chart.Version, "AppVersion": chart.AppVersion}
	functions := sprig.TxtFuncMap()
	for _, unsafe := range []string{"env", "expandenv"} { // which Helm has not
		delete(functions, unsafe)
	}
	functions["include"] = func(name string, data any) (string, error) {
		var out strings.Builder
		err := r.templates.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	functions["toYaml"] = func(value any) (string, error) {
		out, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(out), "\n"), err
	}
	functions["toJson"] = func(value any) (string, error) {
		out, err := json.Marshal(value)
		return string(out), err
	}
	functions["lookup"] = func(_, kind, _, name string) map[string]any { return r.cluster[kind+" "+name] }
	functions["required"] = func(message string, value any) (any, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	r.templates.Funcs(functions)
	for _, file := range r.files(t) {
		if _, err := r.templates.New(r.name(file)).Parse(string(read(t, file))); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *renderer) name(file string) string {
	return "berth/templates/" + filepath.Base(file)
}

func (r *renderer) files(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartFolder, "templates", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("the chart has no templates", err)
	}
	return files
}

// values are those of the chart with some on top.
func (r *renderer) values(over map[string]any) map[string]any { return merge(r.base, over) }

// render gives the documents of all manifests, and the notes.
func (r *renderer) render(t *testing.T, over map[string]any) (documents []string, notes string) {
	t.Helper()
	data := map[string]any{
		"Values": r.values(over), "Chart": r.chart, "Files": chartFiles{},
		"Release":  map[string]any{"Name": "berth", "Namespace": "default", "Service": "Helm"},
		"Template": map[string]any{"BasePath": "berth/templates"},
	}
	for _, file := range r.files(t) {
		if strings.HasSuffix(file, ".tpl") {
			continue
		}
		var out bytes.Buffer
		if err := r.templates.ExecuteTemplate(&out, r.name(file), data); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(out.String(), "<no value>", "")
		if strings.HasSuffix(file, "NOTES.txt") {
			notes = text
			continue
		}
		documents = append(documents, split(text)...)
	}
	return documents, notes
}

// split gives the documents of a YAML stream that are not empty.
func split(stream string) (documents []string) {
	for document := range strings.SplitSeq("\n"+stream, "\n---") {
		var value any
		if err := yaml.Unmarshal([]byte(document), &value); err == nil && value == nil {
			continue
		}
		documents = append(documents, document)
	}
	return documents
}

// merge lays one map over another, folder by folder.
func merge(below, above map[string]any) map[string]any {
	out := maps.Clone(below)
	for name, value := range above {
		inner, isMap := value.(map[string]any)
		under, wasMap := below[name].(map[string]any)
		if isMap && wasMap {
			value = merge(under, inner)
		}
		out[name] = value
	}
	return out
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func readYAML(t *testing.T, file string) map[string]any {
	t.Helper()
	var value map[string]any
	parse(t, read(t, file), &value)
	return value
}

func parse(t *testing.T, content []byte, into any) {
	t.Helper()
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatal(fmt.Errorf("%w in:\n%s", err, content))
	}
}
