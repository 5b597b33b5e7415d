package check

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// sets are the values in the chart's folder ci, which Helm's own tools for charts look for as well.
var sets = []string{"replicated", "full", "embedded"}

func set(t *testing.T, name string) map[string]any {
	t.Helper()
	return readYAML(t, filepath.Join(chartFolder, "ci", name+".yaml"))
}

// TestChartAsHelmRendersIt compares what this package renders with what Helm did. make charts writes that anew.
func TestChartAsHelmRendersIt(t *testing.T) {
	r := newRenderer(t)
	for _, name := range sets {
		values := merge(set(t, name), map[string]any{"metrics": map[string]any{"dashboard": map[string]any{"enabled": false}}}) // it is long
		documents, notes := r.render(t, values)
		got, want := mustDecode(t, documents), mustDecode(t, split(string(read(t, "testdata/"+name+".yaml"))))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: - as Helm rendered it, + now: run make charts\n%s", name, diff)
		}
		if !strings.Contains(notes, "kubectl") || strings.Contains(notes, "{{") {
			t.Errorf("%s: the notes are %s", name, notes)
		}
	}
}

func TestDecodingIsStrict(t *testing.T) {
	for name, document := range map[string]string{
		"an unknown field":        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}",
		"a field of a wrong type": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 80}",
		"a field given twice":     "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nmetadata: {name: b}",
		"an unknown kind":         "apiVersion: apps/v1\nkind: Service\nmetadata: {name: a}",
	} {
		if _, err := decode([]string{document}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestChartHasWhatEachModeNeeds(t *testing.T) {
	r := newRenderer(t)
	for name, want := range map[string][]string{
		"replicated": {
			"ConfigMap berth", "Deployment berth", "NetworkPolicy berth", "PodDisruptionBudget berth", "Service berth",
			"Service berth-metrics", "ServiceAccount berth",
		},
		"full": {
			"ConfigMap berth", "ConfigMap berth-dashboard", "Deployment berth", "HorizontalPodAutoscaler berth", "Ingress berth",
			"NetworkPolicy berth", "PodDisruptionBudget berth", "PrometheusRule berth", "Service berth", "Service berth-metrics",
			"ServiceAccount berth", "ServiceMonitor berth",
		},
		"embedded": {"ConfigMap berth", "Ingress berth", "Service berth", "StatefulSet berth"},
	} {
		documents, _ := r.render(t, set(t, name))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(mustDecode(t, documents)))); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func podOf(t *testing.T, all objects) (core.PodTemplateSpec, map[string]string) {
	t.Helper()
	if set, ok := all["StatefulSet berth"].(*apps.StatefulSet); ok {
		return set.Spec.Template, set.Spec.Selector.MatchLabels
	}
	deployment := get[*apps.Deployment](t, all, "Deployment berth")
	return deployment.Spec.Template, deployment.Spec.Selector.MatchLabels
}

// TestPodsAreLocked holds every pod to the restricted standard of Kubernetes, and to a root that nobody can write to.
func TestPodsAreLocked(t *testing.T) {
	r := newRenderer(t)
	for _, name := range sets {
		documents, _ := r.render(t, set(t, name))
		pod, _ := podOf(t, mustDecode(t, documents))
		spec, container := pod.Spec, pod.Spec.Containers[0]
		outer, inner := spec.SecurityContext, container.SecurityContext
		if !*outer.RunAsNonRoot || *outer.RunAsUser != 65532 || *outer.FSGroup != 65532 || outer.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: the pod's security context is %+v", name, outer)
		}
		if *inner.AllowPrivilegeEscalation || !*inner.ReadOnlyRootFilesystem || len(inner.Capabilities.Add) > 0 ||
			!slices.Equal(inner.Capabilities.Drop, []core.Capability{"ALL"}) {
			t.Errorf("%s: the container's security context is %+v", name, inner)
		}
		if *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks || spec.HostNetwork || spec.HostPID || len(spec.Containers) != 1 {
			t.Errorf("%s: the pod has more than it needs: %+v", name, spec)
		}
		if container.Resources.Requests.Cpu().IsZero() || container.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: resources are %+v", name, container.Resources)
		}
	}
}

// TestPodsFitTogether looks for what the types cannot see: names that refer to each other.
func TestPodsFitTogether(t *testing.T) {
	r := newRenderer(t)
	for _, name := range sets {
		documents, _ := r.render(t, set(t, name))
		all := mustDecode(t, documents)
		pod, selector := podOf(t, all)
		selects := func(what string, labels map[string]string) {
			for key, value := range labels {
				if pod.Labels[key] != value {
					t.Errorf("%s: %s selects %s=%s, the pod has %q", name, what, key, value, pod.Labels[key])
				}
			}
			if len(labels) < 2 {
				t.Errorf("%s: %s selects by %v", name, what, labels)
			}
		}
		selects("the workload", selector)
		selects("the service", get[*core.Service](t, all, "Service berth").Spec.Selector)
		container := pod.Spec.Containers[0]
		ports := map[string]int32{}
		for _, port := range container.Ports {
			ports[port.Name] = port.ContainerPort
		}
		for _, probe := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
			if ports[probe.HTTPGet.Port.StrVal] != 5000 {
				t.Errorf("%s: the probe asks port %s", name, probe.HTTPGet.Port.String())
			}
		}
		if live, ready := container.LivenessProbe.HTTPGet.Path, container.ReadinessProbe.HTTPGet.Path; live != "/healthz" || ready != "/readyz" {
			t.Errorf("%s: probes are %s and %s", name, live, ready)
		}
		volumes := map[string]bool{}
		for _, volume := range pod.Spec.Volumes {
			volumes[volume.Name] = true
		}
		if set, ok := all["StatefulSet berth"].(*apps.StatefulSet); ok {
			volumes[set.Spec.VolumeClaimTemplates[0].Name] = true
		}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] {
				t.Errorf("%s: there is no volume %s", name, mount.Name)
			}
		}
		if from := container.EnvFrom[0].ConfigMapRef; all["ConfigMap "+from.Name] == nil {
			t.Errorf("%s: there is no ConfigMap %s", name, from.Name)
		}
		if ingress, ok := all["Ingress berth"].(*networking.Ingress); ok {
			backend := ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service
			if service := get[*core.Service](t, all, "Service "+backend.Name); service.Spec.Ports[0].Name != backend.Port.Name {
				t.Errorf("%s: the ingress leads to port %s", name, backend.Port.Name)
			}
		}
		if budget, ok := all["PodDisruptionBudget berth"].(*policy.PodDisruptionBudget); ok {
			selects("the budget", budget.Spec.Selector.MatchLabels)
		}
		if scaler, ok := all["HorizontalPodAutoscaler berth"].(*autoscaling.HorizontalPodAutoscaler); ok {
			deployment := get[*apps.Deployment](t, all, "Deployment "+scaler.Spec.ScaleTargetRef.Name)
			if deployment.Spec.Replicas != nil {
				t.Errorf("%s: an upgrade sets replicas against the autoscaler", name)
			}
		}
	}
}

// TestAutoscalingBeginsWhereTheReplicasAre: an upgrade that turns it on, or a rollback to one that had it, leaves as many replicas
// as there are. Without a number Helm takes the former one away, and the API makes 1 of that.
func TestAutoscalingBeginsWhereTheReplicasAre(t *testing.T) {
	r := newRenderer(t)
	for there, want := range map[int32]int32{1: 3, 6: 6} {
		r.cluster = map[string]map[string]any{"Deployment berth": {"spec": map[string]any{"replicas": float64(there)}}}
		documents, _ := r.render(t, set(t, "full"))
		got := get[*apps.Deployment](t, mustDecode(t, documents), "Deployment berth").Spec.Replicas
		if got == nil || *got != want {
			t.Errorf("%d replicas become %v, want %d", there, got, want)
		}
	}
}

// TestSettingsAreAsWritten: numbers are not written as floating-point ones, as Helm reads all of them.
func TestSettingsAreAsWritten(t *testing.T) {
	values := set(t, "replicated")
	values["settings"] = map[string]any{
		"OTEL_A": 1000000., "OTEL_B": 4194304., "OTEL_C": -1., "OTEL_D": 0.25, "OTEL_E": false, "OTEL_F": "1e3", "OTEL_G": "a \"b\"",
		"BERTH_RATELIMIT_REPLICAS": 7.,
	}
	documents, _ := newRenderer(t).render(t, values)
	settings := get[*core.ConfigMap](t, mustDecode(t, documents), "ConfigMap berth").Data
	for name, want := range map[string]string{
		"OTEL_A": "1000000", "OTEL_B": "4194304", "OTEL_C": "-1", "OTEL_D": "0.25", "OTEL_E": "false", "OTEL_F": "1e3", "OTEL_G": "a \"b\"",
		"BERTH_RATELIMIT_REPLICAS": "7",
	} {
		if settings[name] != want {
			t.Errorf("%s is %q, want %q", name, settings[name], want)
		}
	}
}

// TestPodsHaveTimeToDrain: delay, timeout and the 15 s that a replica may take beyond them.
func TestPodsHaveTimeToDrain(t *testing.T) {
	r := newRenderer(t)
	for _, drain := range []map[string]any{nil, {"delaySeconds": 0., "timeoutSeconds": 0.}, {"delaySeconds": 30., "timeoutSeconds": 3600.}} {
		values := set(t, "replicated")
		delay, timeout := int64(10), int64(60)
		if drain != nil {
			values["drain"] = drain
			delay, timeout = int64(drain["delaySeconds"].(float64)), int64(drain["timeoutSeconds"].(float64)) //nolint:errcheck // see above
		}
		documents, _ := r.render(t, values)
		pod, _ := podOf(t, mustDecode(t, documents))
		if got := *pod.Spec.TerminationGracePeriodSeconds; got != delay+timeout+15 {
			t.Errorf("drain %v: the grace period is %d", drain, got)
		}
	}
}

// TestSecretsComeByReference: what the values name as a secret is in no object but as a reference.
func TestSecretsComeByReference(t *testing.T) {
	documents, _ := newRenderer(t).render(t, set(t, "full"))
	all := mustDecode(t, documents)
	pod, _ := podOf(t, all)
	container := pod.Spec.Containers[0]
	var names []string
	for _, from := range container.EnvFrom {
		if from.SecretRef != nil {
			names = append(names, from.SecretRef.Name)
		}
	}
	if diff := cmp.Diff([]string{"berth-admin", "berth-s3", "more"}, names); diff != "" {
		t.Errorf("secrets: -want +got\n%s", diff)
	}
	i := slices.IndexFunc(container.Env, func(v core.EnvVar) bool { return v.Name == "BERTH_DATABASE_URL" })
	if i < 0 || container.Env[i].ValueFrom.SecretKeyRef.Name != "berth-database" || container.Env[i].ValueFrom.SecretKeyRef.Key != "uri" {
		t.Errorf("the URL of the database is not taken from its secret: %+v", container.Env)
	}
	for name := range get[*core.ConfigMap](t, all, "ConfigMap berth").Data {
		if strings.Contains(name, "PASSWORD") || strings.Contains(name, "SECRET") || name == "BERTH_DATABASE_URL" || name == "BERTH_ADMIN_TOKEN" {
			t.Errorf("the ConfigMap has %s", name)
		}
	}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, filepath.Join(chartFolder, "values.schema.json"))))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("values.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("values.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSchemaOfValues(t *testing.T) {
	r, schema := newRenderer(t), schema(t)
	for _, name := range sets {
		if err := schema.Validate(r.values(set(t, name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, refused := range []string{
		`{publicURL: ""}`,
		`{publicURL: "https://registry.example.com/path"}`,
		`{publicURL: registry.example.com}`,
		`{mode: several}`,
		`{mode: embedded}`, // with the database and the bucket of the other mode
		`{replicas: 0}`,
		`{replicas: two}`,
		`{replicaCount: 3}`,
		`{image: {tags: v1}}`,
		`{image: {digest: abc}}`,
		`{database: {existingSecret: ""}}`,
		`{database: {url: "postgres://berth:secret@db/berth"}}`,
		`{storage: {url: "file:/data"}}`,
		`{trustedProxies: [ingress]}`,
		`{settings: {PATH: /bin}}`,
		`{settings: {BERTH_ADMIN_TOKEN: in-a-config-map}}`,
		`{settings: {BERTH_DATABASE_URL: "postgres://berth:secret@db/berth"}}`,
		`{settings: {BERTH_DRAIN_TIMEOUT: 5m}}`, // drain, or the grace period does not fit
		`{settings: {BERTH_LOG_LEVEL: debug}}`,  // log.level
		`{podLabels: {app.kubernetes.io/name: other}}`,
		`{blobCache: {size: 1Mi}}`,
		`{drain: {timeoutSeconds: -1}}`,
		`{metrics: {port: 70000}}`,
	} {
		var over map[string]any
		if err := yaml.Unmarshal([]byte(refused), &over); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(merge(r.values(set(t, "replicated")), over)) == nil {
			t.Errorf("the schema accepts %s", refused)
		}
	}
}

// TestEveryValueIsInTheSchema: what values.yaml has, the schema names, and the other way round.
func TestEveryValueIsInTheSchema(t *testing.T) {
	var document struct {
		Properties map[string]any
	}
	if err := json.Unmarshal(read(t, filepath.Join(chartFolder, "values.schema.json")), &document); err != nil {
		t.Fatal(err)
	}
	for _, usual := range []string{"global", "nameOverride", "fullnameOverride"} {
		delete(document.Properties, usual)
	}
	want := slices.Sorted(maps.Keys(readYAML(t, filepath.Join(chartFolder, "values.yaml"))))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(document.Properties))); diff != "" {
		t.Errorf("- values.yaml, + values.schema.json\n%s", diff)
	}
}

// TestChartHasTheAlertsAndTheDashboard: a chart is packed alone, so it has copies.
func TestChartHasTheAlertsAndTheDashboard(t *testing.T) {
	for copied, original := range map[string]string{
		"files/alerts.yaml": "../prometheus/alerts.yaml", "files/berth.json": "../grafana/berth.json",
	} {
		if !bytes.Equal(read(t, filepath.Join(chartFolder, copied)), read(t, original)) {
			t.Errorf("%s of the chart differs from %s: run make charts", copied, original)
		}
	}
	documents, _ := newRenderer(t).render(t, set(t, "full"))
	all := mustDecode(t, documents)
	var rules monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict(read(t, "../prometheus/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rules, get[*monitoring.PrometheusRule](t, all, "PrometheusRule berth").Spec); diff != "" || len(rules.Groups) == 0 {
		t.Errorf("rules: -want +got\n%s", diff)
	}
	if got := get[*core.ConfigMap](t, all, "ConfigMap berth-dashboard").Data["berth.json"]; strings.TrimSpace(got) != strings.TrimSpace(string(read(t, "../grafana/berth.json"))) {
		t.Error("the dashboard was changed on its way")
	}
}
