package check

import (
	"errors"
	"fmt"
	"strings"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decode is as strict as an API server that validates fields: one that the type
// does not have, spelled in another case, or given twice is an error.
func decode(text []byte, to any) error {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(asJSON, to)
	return errors.Join(append(strict, err)...)
}

// object is anything with a name.
type object interface {
	GetName() string
	GetNamespace() string
	GetLabels() map[string]string
}

// azure is Azure Monitor's copy of the monitors of the Prometheus operator, which
// differs in nothing but its group.
const azure = "azmonitoring.coreos.com/v1"

// newObject returns an empty object of the kind, nil if no chart of ours may
// render one.
func newObject(kind meta.TypeMeta) object {
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 Deployment":
		return new(apps.Deployment)
	case "v1 ConfigMap":
		return new(core.ConfigMap)
	case "v1 Pod":
		return new(core.Pod)
	case "v1 PersistentVolumeClaim":
		return new(core.PersistentVolumeClaim)
	case "v1 Secret":
		return new(core.Secret)
	case "v1 Service":
		return new(core.Service)
	case "v1 ServiceAccount":
		return new(core.ServiceAccount)
	case "policy/v1 PodDisruptionBudget":
		return new(policy.PodDisruptionBudget)
	case "networking.k8s.io/v1 NetworkPolicy":
		return new(networking.NetworkPolicy)
	case "monitoring.coreos.com/v1 ServiceMonitor", azure + " ServiceMonitor":
		return new(monitoring.ServiceMonitor)
	case "monitoring.coreos.com/v1 PodMonitor", azure + " PodMonitor":
		return new(monitoring.PodMonitor)
	case "monitoring.coreos.com/v1 PrometheusRule":
		return new(monitoring.PrometheusRule)
	default:
		return nil
	}
}

// objects decodes manifests as helm prints them.
func objects(manifests string) ([]object, error) {
	var all []object
	for _, text := range strings.Split("\n"+manifests, "\n---\n") {
		var kind meta.TypeMeta
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			return nil, err
		}
		if kind == (meta.TypeMeta{}) {
			continue
		}
		o := newObject(kind)
		if o == nil {
			return nil, fmt.Errorf("unknown kind %s %s", kind.APIVersion, kind.Kind)
		}
		if err := decode([]byte(text), o); err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		all = append(all, o)
	}
	return all, nil
}

// find returns the object of type T with the name; with no name, the only one.
func find[T object](all []object, name string) (T, error) {
	var found []T
	for _, o := range all {
		if t, ok := o.(T); ok && (name == "" || o.GetName() == name) {
			found = append(found, t)
		}
	}
	var none T
	if len(found) != 1 {
		return none, fmt.Errorf("%d objects of type %T named %q", len(found), none, name)
	}
	return found[0], nil
}
