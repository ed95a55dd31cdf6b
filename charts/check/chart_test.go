package check

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files and the table of values anew")

const chartDir = "../m365-defender-exporter"

// program returns the path of a program that .ci/chart has built or found.
func program(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set; run .ci/chart, which builds what is needed", variable)
	}
	return path
}

func theChart(t *testing.T) chart {
	t.Helper()
	return chart{helm: program(t, "HELM"), dir: chartDir}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, path); got != want {
		t.Errorf("not what %s says; look at the difference after: .ci/chart -update", path)
	}
}

// TestFixtures: whatever the chart must accept (ci/*-values.yaml) passes helm's
// lint, looks as it was looked at last, consists of objects that Kubernetes
// knows and that fit together, and gives Prometheus rules and the exporter a
// configuration that they understand.
func TestFixtures(t *testing.T) {
	c := theChart(t)
	paths, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	var known []string
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), "-values.yaml")
		known = append(known, name+".yaml", name+".txt")
		t.Run(name, func(t *testing.T) { testFixture(t, c, name, path) })
	}
	entries, err := os.ReadDir(filepath.Join("testdata", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			t.Errorf("testdata/golden/%s: no such fixture", e.Name())
		}
	}
}

func testFixture(t *testing.T, c chart, name, path string) {
	if err := c.lint(t.Context(), path); err != nil {
		t.Error(err)
	}
	manifests, err := c.render(t.Context(), "--values", path)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := c.notes(t.Context(), t.TempDir(), path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "golden", name+".yaml"), withoutCopies(manifests))
	golden(t, filepath.Join("testdata", "golden", name+".txt"), notes)
	all, err := objects(manifests)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range incoherences(all) {
		t.Error(wrong)
	}
	t.Run("rules", func(t *testing.T) { testRules(t, all) })
	t.Run("config", func(t *testing.T) { testConfig(t, name, all) })
}

// withoutCopies cuts the body of every dashboard and PrometheusRule.
func withoutCopies(manifests string) string {
	var kept []string
	for _, text := range strings.Split(manifests, "\n---\n") {
		for _, kind := range []struct{ source, from string }{{"dashboards.yaml", "\ndata:\n"}, {"prometheusrule.yaml", "\n  groups:\n"}} {
			if strings.Contains(text, "/templates/"+kind.source+"\n") {
				text, _, _ = strings.Cut(text, kind.from)
				text += kind.from + "  # …"
			}
		}
		kept = append(kept, text)
	}
	return strings.Join(kept, "\n---\n")
}

// TestParent: the chart under another one, which gives it a condition and
// global values.
func TestParent(t *testing.T) {
	c := theChart(t)
	parent := t.TempDir()
	if err := os.CopyFS(filepath.Join(parent, "charts", "m365-defender-exporter"), os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: parent\nversion: 0.0.1\ndependencies:\n- name: m365-defender-exporter\n  version: '*'\n  condition: m365-defender-exporter.enabled\n",
		"values.yaml": "global: {imageRegistry: registry.example, other: true}\nm365-defender-exporter: {enabled: true, demo: true}\n",
	} {
		if err := os.WriteFile(filepath.Join(parent, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.dir = parent
	manifests, err := c.render(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := `image: "registry.example/m365_defender_exporter:`; !strings.Contains(manifests, want) {
		t.Errorf("no %s in\n%s", want, manifests)
	}
}

// TestRefused: values that cannot work are refused with the sentence that the
// first line of the file wants; where the schema refuses what a template would
// refuse, too, the second line has the template's.
func TestRefused(t *testing.T) {
	c := theChart(t)
	paths, err := filepath.Glob(filepath.Join("testdata", "refused", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			first, _, _ := strings.Cut(read(t, path), "\n")
			want, ok := strings.CutPrefix(first, "# want: ")
			if !ok {
				t.Fatal("the first line does not say what is wanted")
			}
			_, err := c.render(t.Context(), "--values", path)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := strings.Join(strings.Fields(err.Error()), " "); !strings.Contains(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
			_, rest, _ := strings.Cut(read(t, path), "\n")
			want, ok = strings.CutPrefix(rest, "# without the schema: ")
			if !ok {
				return
			}
			want, _, _ = strings.Cut(want, "\n")
			_, err = c.render(t.Context(), "--values", path, "--skip-schema-validation")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("without the schema: got %v\nwant %s", err, want)
			}
		})
	}
}

// testRules: what Prometheus is given, Prometheus understands.
func testRules(t *testing.T, all []object) {
	for _, o := range all {
		rule, ok := o.(*monitoring.PrometheusRule)
		if !ok {
			continue
		}
		if len(rule.Spec.Groups) == 0 {
			t.Errorf("%s has no rules", rule.Name)
		}
		text, err := yaml.Marshal(rule.Spec)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), program(t, "PROMTOOL"), "check", "rules", file).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// TestRuleSelection: the groups and alerts that the values choose, and the
// recording rules of which alerts are made.
func TestRuleSelection(t *testing.T) {
	manifests, err := theChart(t).render(t.Context(), "--values", filepath.Join(chartDir, "ci", "rules-selected-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(manifests)
	if err != nil {
		t.Fatal(err)
	}
	rule, err := find[*monitoring.PrometheusRule](all, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range rule.Spec.Groups {
		got = append(got, g.Name)
		for _, r := range g.Rules {
			if r.Alert == "DefenderExporterAbsent" {
				t.Error("an alert is left that was disabled")
			}
			if r.Alert != "" && g.Name != "own" && r.Labels["team"] != "soc" {
				t.Errorf("%s has labels %v, want team=soc", r.Alert, r.Labels)
			}
		}
	}
	if want := []string{"m365_defender_exporter", "m365_defender_recording", "m365_defender_panels", "m365_defender_review", "m365_defender_times", "own"}; !slices.Equal(got, want) {
		t.Errorf("got groups %v, want %v", got, want)
	}
}

// TestDashboards: each is a file of its own that fits a ConfigMap.
func TestDashboards(t *testing.T) {
	want, err := filepath.Glob(filepath.Join("..", "..", "dashboards", "*.json"))
	if err != nil || len(want) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	manifests, err := theChart(t).render(t.Context(), "--values", filepath.Join(chartDir, "ci", "monitoring-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(manifests)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, o := range all {
		if config, ok := o.(*core.ConfigMap); ok && config.Labels["grafana_dashboard"] == "1" {
			for _, text := range config.Data {
				got++
				if !slices.ContainsFunc(want, func(path string) bool { return strings.TrimSpace(read(t, path)) == text }) {
					t.Errorf("ConfigMap %s: not one of dashboards/*.json", config.Name)
				}
				if len(text) > 900<<10 {
					t.Errorf("ConfigMap %s: %d bytes, too many for a ConfigMap", config.Name, len(text))
				}
			}
		}
	}
	if got != len(want) {
		t.Errorf("%d dashboards, want %d", got, len(want))
	}
}

// TestReplicas: replicas that share their state are updated without a gap, on
// different hosts, with no volume and a way to the engine.
func TestReplicas(t *testing.T) {
	manifests, err := theChart(t).render(t.Context(), "--values", filepath.Join(chartDir, "ci", "replicas-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(manifests)
	if err != nil {
		t.Fatal(err)
	}
	deployment, err := find[*apps.Deployment](all, "")
	if err != nil {
		t.Fatal(err)
	}
	rolling := deployment.Spec.Strategy.RollingUpdate
	if rolling == nil || rolling.MaxSurge.IntVal != 1 || rolling.MaxUnavailable.IntVal != 0 {
		t.Errorf("got strategy %+v, want a rolling update that adds one pod and takes none away", deployment.Spec.Strategy)
	}
	if spread := deployment.Spec.Template.Spec.TopologySpreadConstraints; len(spread) != 1 || spread[0].TopologyKey != core.LabelHostname {
		t.Errorf("got topology spread %+v, want one over hosts", spread)
	}
	if budget, err := find[*policy.PodDisruptionBudget](all, ""); err != nil || budget.Spec.MinAvailable.IntVal != 1 {
		t.Errorf("got PodDisruptionBudget %+v, %v; want one that keeps a pod", budget, err)
	}
	if claim, err := find[*core.PersistentVolumeClaim](all, ""); err == nil {
		t.Errorf("there is the claim %s", claim.Name)
	}
	headless, err := find[*core.Service](all, release+"-m365-defender-exporter-replicas")
	if err != nil || headless.Spec.ClusterIP != core.ClusterIPNone || !headless.Spec.PublishNotReadyAddresses {
		t.Errorf("got Service %+v, %v; want a headless one of all pods", headless, err)
	}
	network, err := find[*networking.NetworkPolicy](all, "")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(network.Spec.Egress, func(rule networking.NetworkPolicyEgressRule) bool {
		return len(rule.Ports) == 1 && rule.Ports[0].Port.IntVal == 6380 && len(rule.To) == 1
	}) {
		t.Error("the NetworkPolicy has no way to port 6380 of the engine")
	}
}

// TestNativeHistograms: a monitor says that native histograms are scraped when it
// is told to, and otherwise nothing, which an operator without the field refuses.
func TestNativeHistograms(t *testing.T) {
	for _, monitor := range []string{"serviceMonitor", "podMonitor"} {
		for _, value := range []string{"true", "false", "null"} {
			manifests, err := theChart(t).render(t.Context(), "--set", "demo=true",
				"--set", monitor+".enabled=true", "--set", monitor+".scrapeNativeHistograms="+value)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(manifests, "\n  scrapeNativeHistograms: true\n"), value == "true"; got != want {
				t.Errorf("%s, %s: is there: %v", monitor, value, got)
			}
			if value != "true" && strings.Contains(manifests, "NativeHistograms") {
				t.Errorf("%s, %s: something is said", monitor, value)
			}
		}
		if _, err := theChart(t).render(t.Context(), "--set", "demo=true", "--set-string", monitor+".scrapeNativeHistograms=yes"); err == nil {
			t.Errorf("%s: a text is accepted", monitor)
		}
	}
}

// TestRunbook: the on-call is sent to the runbook, not to a placeholder.
func TestRunbook(t *testing.T) {
	manifests, err := theChart(t).render(t.Context(), "--values", filepath.Join(chartDir, "ci", "monitoring-values.yaml"),
		"--set", "runbookUrl=https://wiki.test/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(manifests, "runbooks.example.com") || !strings.Contains(manifests, "https://wiki.test/runbook.md#") {
		t.Error("a link to the placeholder is left, or none to the runbook")
	}
}

// testConfig: the exporter understands the arguments, the environment and the
// files that the pod gives it.
func testConfig(t *testing.T, name string, all []object) {
	out, err := checked(t, all)
	switch {
	case name == "default" && (err == nil || !strings.Contains(out, "tenant")):
		t.Errorf("got %v, want a complaint about the missing tenant", err)
	case name != "default" && err != nil:
		t.Error(err)
	}
}

// TestCertificateInValues: a certificate in the values reaches the exporter. It
// is made here, because a private key has no place in a repository.
func TestCertificateInValues(t *testing.T) {
	c := theChart(t)
	file := filepath.Join(t.TempDir(), "certificate.pem")
	certificate, key := keyPair(t)
	if err := os.WriteFile(file, slices.Concat(certificate, key), 0o600); err != nil {
		t.Fatal(err)
	}
	manifests, err := c.render(t.Context(), "--set", "tenant.tenantId=t,tenant.clientId=c,credentials.type=certificate",
		"--set-file", "credentials.certificate="+file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(manifests)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checked(t, all); err != nil {
		t.Error(err)
	}
}

// TestThousands: tenants that do not fit into one ConfigMap are in several, all of
// which reach the exporter.
func TestThousands(t *testing.T) {
	c := theChart(t)
	var values strings.Builder
	values.WriteString("defaults: {auth: {client_id: c}, quota: {share: 0.5}}\ncredentials: {existingSecret: defender}\ntenants:\n")
	for i := range 2500 {
		fmt.Fprintf(&values, "- {name: customer-%d, tenant_id: 00000000-0000-0000-0000-%012d, refresh: {interval: 1m}}\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	manifests, err := c.render(t.Context(), "--values", file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(manifests)
	if err != nil {
		t.Fatal(err)
	}
	tenants := 0
	for name, want := range map[string]int{"": 1000, "-config-2": 1000, "-config-3": 500} {
		config, err := find[*core.ConfigMap](all, release+"-m365-defender-exporter"+name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, text := range config.Data {
			if got := strings.Count(text, "tenant_id: "); got != want || len(text) > 1<<20 {
				t.Errorf("%s: %d tenants in %d bytes, want %d", config.Name, got, len(text), want)
			}
			tenants += strings.Count(text, "share: 0.5")
		}
	}
	if tenants != 3 {
		t.Errorf("%d files have the defaults, want 3", tenants)
	}
	if _, err := checked(t, all); err != nil {
		t.Error(err)
	}
}

// checked has the exporter check the configuration that the objects give it, in
// the environment that the workload identity webhook leaves behind.
func checked(t *testing.T, all []object) (string, error) {
	t.Helper()
	var env []string
	for _, o := range all {
		if account, ok := o.(*core.ServiceAccount); ok {
			if id := account.Annotations["azure.workload.identity/client-id"]; id != "" {
				env = []string{"AZURE_CLIENT_ID=" + id, "AZURE_TENANT_ID=00000000-0000-0000-0000-000000000000",
					"AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/", "AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/tokens/azure-identity-token"}
			}
		}
	}
	pair := sync.OnceValues(func() ([]byte, []byte) { return keyPair(t) })
	return pod{root: t.TempDir(), objects: all, foreign: func(_, name string) []byte {
		if name != "tls.crt" && name != "ca.crt" && name != "tls.key" && !strings.HasSuffix(name, ".pem") {
			return []byte("secret")
		}
		certificate, key := pair()
		switch name {
		case "tls.crt", "ca.crt":
			return certificate
		case "tls.key":
			return key
		default:
			return slices.Concat(certificate, key)
		}
	}}.checkConfig(t.Context(), program(t, "EXPORTER"), env)
}
