package check

import (
	"fmt"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kinds are those that the chart may make. Another one needs its type here.
var kinds = map[string]func() meta.Object{
	"v1 ConfigMap":                            func() meta.Object { return &core.ConfigMap{} },
	"v1 Service":                              func() meta.Object { return &core.Service{} },
	"v1 ServiceAccount":                       func() meta.Object { return &core.ServiceAccount{} },
	"apps/v1 Deployment":                      func() meta.Object { return &apps.Deployment{} },
	"apps/v1 StatefulSet":                     func() meta.Object { return &apps.StatefulSet{} },
	"networking.k8s.io/v1 Ingress":            func() meta.Object { return &networking.Ingress{} },
	"networking.k8s.io/v1 NetworkPolicy":      func() meta.Object { return &networking.NetworkPolicy{} },
	"policy/v1 PodDisruptionBudget":           func() meta.Object { return &policy.PodDisruptionBudget{} },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() meta.Object { return &autoscaling.HorizontalPodAutoscaler{} },
	"monitoring.coreos.com/v1 ServiceMonitor": func() meta.Object { return &monitoring.ServiceMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule": func() meta.Object { return &monitoring.PrometheusRule{} },
}

// objects are what a chart makes, by kind and name, such as "Service berth".
type objects map[string]meta.Object

// decode reads documents into the types of the API, which refuses fields that those have not and fields given twice.
func decode(documents []string) (objects, error) {
	out := objects{}
	for _, document := range documents {
		var head meta.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, document)
		}
		newKind, known := kinds[head.APIVersion+" "+head.Kind]
		if !known {
			return nil, fmt.Errorf("the kind %q of %q is not known", head.Kind, head.APIVersion)
		}
		value := newKind()
		if err := yaml.UnmarshalStrict([]byte(document), value); err != nil {
			return nil, fmt.Errorf("%s: %w in:\n%s", head.Kind, err, document)
		}
		key := head.Kind + " " + value.GetName()
		if _, twice := out[key]; twice || value.GetName() == "" {
			return nil, fmt.Errorf("%q is there twice, or has no name", key)
		}
		out[key] = value
	}
	return out, nil
}

func mustDecode(t *testing.T, documents []string) objects {
	t.Helper()
	all, err := decode(documents)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// get gives an object of a kind, and fails the test where there is none.
func get[T meta.Object](t *testing.T, all objects, key string) T {
	t.Helper()
	value, ok := all[key].(T)
	if !ok {
		t.Fatalf("there is no %s", key)
	}
	return value
}
