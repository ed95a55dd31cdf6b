package check

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	admission "k8s.io/pod-security-admission/policy"
)

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// incoherences lists what the types allow and a cluster would not forgive:
// selectors that select nothing, ports and volumes that nobody has, names that
// are too long.
func incoherences(all []object) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	deployment, err := find[*apps.Deployment](all, "")
	if err != nil {
		return []string{err.Error()}
	}
	pod := deployment.Spec.Template
	ports := map[string]bool{}
	for _, p := range pod.Spec.Containers[0].Ports {
		ports[p.Name] = true
	}
	selects := func(who string, selector map[string]string) {
		if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
			say("%s selects %v, the pod has %v", who, selector, pod.Labels)
		}
	}
	port := func(who string, name string) {
		if !ports[name] {
			say("%s: no port %q among %v", who, name, slices.Sorted(maps.Keys(ports)))
		}
	}
	selects("Deployment", deployment.Spec.Selector.MatchLabels)
	wrong = append(wrong, podIncoherences(pod.Spec, ports)...)
	for _, wrongField := range restricted(pod.ObjectMeta, pod.Spec) {
		say("Deployment: %s", wrongField)
	}
	seen := map[string]bool{}
	for _, o := range all {
		id := fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
		if seen[id] {
			say("%s: twice", id)
		}
		seen[id] = true
		if !dnsLabel.MatchString(o.GetName()) {
			say("%s: the name is no DNS label", id)
		}
		if o.GetNamespace() == "" {
			say("%s: no namespace", id)
		}
		switch o := o.(type) {
		case *core.Pod:
			if labels.SelectorFromSet(deployment.Spec.Selector.MatchLabels).Matches(labels.Set(o.Labels)) {
				say("Pod %s is taken for one of the Deployment's: it would be sent scrapes", o.Name)
			}
			for _, wrongField := range restricted(o.ObjectMeta, o.Spec) {
				say("Pod %s: %s", o.Name, wrongField)
			}
		case *core.Service:
			selects("Service", o.Spec.Selector)
			port("Service", o.Spec.Ports[0].TargetPort.String())
		case *networking.NetworkPolicy:
			selects("NetworkPolicy", o.Spec.PodSelector.MatchLabels)
			for _, rule := range o.Spec.Ingress {
				for _, p := range rule.Ports {
					if p.Port.Type == intstr.String {
						port("NetworkPolicy", p.Port.StrVal)
					}
				}
			}
		case *monitoring.PodMonitor:
			selects("PodMonitor", o.Spec.Selector.MatchLabels)
			port("PodMonitor", *o.Spec.PodMetricsEndpoints[0].Port)
		case *monitoring.ServiceMonitor:
			// Through two Services every pod would be scraped twice.
			if n := services(all, o.Spec.Selector.MatchLabels); n != 1 {
				say("ServiceMonitor selects %v, which are the labels of %d Services, want 1", o.Spec.Selector.MatchLabels, n)
			}
			port("ServiceMonitor", o.Spec.Endpoints[0].Port)
		case *policy.PodDisruptionBudget:
			selects("PodDisruptionBudget", o.Spec.Selector.MatchLabels)
			if replicas := *deployment.Spec.Replicas; replicas <= o.Spec.MinAvailable.IntVal {
				say("PodDisruptionBudget: %d of %d pods must stay, so that no node can be drained", o.Spec.MinAvailable.IntVal, replicas)
			}
		case *core.PersistentVolumeClaim:
			if deployment.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType {
				say("an update starts a second pod on the claim of the first")
			}
		}
	}
	return wrong
}

// restricted lists why a namespace with the restricted Pod Security Standard
// would not admit the pod.
func restricted(meta meta.ObjectMeta, pod core.PodSpec) []string {
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	evaluator, err := admission.NewEvaluator(admission.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	for _, result := range evaluator.EvaluatePod(level, &meta, &pod) {
		if !result.Allowed {
			wrong = append(wrong, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return wrong
}

// services returns how many Services have the labels.
func services(all []object, selector map[string]string) int {
	n := 0
	for _, o := range all {
		if service, ok := o.(*core.Service); ok && labels.SelectorFromSet(selector).Matches(labels.Set(service.Labels)) {
			n++
		}
	}
	return n
}

// podIncoherences looks at the exporter's container and its pod.
func podIncoherences(pod core.PodSpec, ports map[string]bool) []string {
	var wrong []string
	container := pod.Containers[0]
	for name, probe := range map[string]*core.Probe{
		"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe,
	} {
		if probe == nil || !ports[probe.HTTPGet.Port.String()] {
			wrong = append(wrong, name+" probe: none, or on a port that the container does not have")
		}
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		if volumes[v.Name] {
			wrong = append(wrong, "volume "+v.Name+": twice")
		}
		volumes[v.Name] = true
	}
	for _, m := range container.VolumeMounts {
		if !volumes[m.Name] {
			wrong = append(wrong, "mount of "+m.Name+": no such volume")
		}
	}
	for _, c := range pod.TopologySpreadConstraints {
		if c.LabelSelector == nil || len(c.LabelSelector.MatchLabels) == 0 {
			wrong = append(wrong, "topology spread over "+c.TopologyKey+": of no pods")
		}
	}
	return wrong
}
