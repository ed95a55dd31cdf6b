package dashboards

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../" + name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// dependencies are the services that one waits for, with or without what for.
type dependencies []string

func (d *dependencies) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		return node.Decode((*[]string)(d))
	}
	var conditions map[string]struct{ Condition string }
	err := node.Decode(&conditions)
	*d = slices.Sorted(maps.Keys(conditions))
	return err
}

type composeFile struct {
	Services map[string]struct {
		Image, Build string
		Hostname     string
		Command      []string
		Volumes      []string
		Ports        []string
		DependsOn    dependencies `yaml:"depends_on"`
		Environment  map[string]string
		Secrets      []string
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

// checkCompose checks what can be without a Docker engine: that everything that
// is mounted exists, and that nothing listens beyond loopback. It returns what is
// mounted, by the place inside.
func checkCompose(t *testing.T, file composeFile) map[string]string {
	t.Helper()
	mounted := map[string]string{}
	for name, s := range file.Services {
		if (s.Image == "") == (s.Build == "") {
			t.Errorf("%s: image %q, build %q; one of them is wanted", name, s.Image, s.Build)
		}
		if s.Image != "" && (!strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest")) {
			t.Errorf("%s: %s has no fixed version", name, s.Image)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s listens on %s", name, port)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, volume := range s.Volumes {
			outside, inside, _ := strings.Cut(strings.TrimSuffix(volume, ":ro"), ":")
			if _, named := file.Volumes[outside]; named {
				continue
			}
			if _, err := os.Stat(filepath.FromSlash("../" + outside)); err != nil {
				t.Errorf("%s mounts what does not exist: %v", name, err)
			}
			mounted[inside] = outside
		}
	}
	return mounted
}

func TestCompose(t *testing.T) {
	var file composeFile
	readYAML(t, "compose.yaml", &file)
	mounted := checkCompose(t, file)
	home := file.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if mounted[home] == "" {
		t.Errorf("Grafana's first page is %s, which is not mounted", home)
	}
}

// TestComposeReplicas: two exporters that differ in nothing but their names and
// ports log in to one Valkey as the user that its file has, and Prometheus
// scrapes both.
func TestComposeReplicas(t *testing.T) {
	var file composeFile
	readYAML(t, "compose.replicas.yaml", &file)
	mounted := checkCompose(t, file)
	var prometheus struct {
		Rules  []string `yaml:"rule_files"`
		Scrape []struct {
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	const config = "docs/quickstart/replicas/prometheus.yml"
	readYAML(t, config, &prometheus)
	if command := file.Services["prometheus"].Command; !slices.Contains(command, "--config.file=/demo/"+config) || mounted["/demo/"+path.Dir(config)] == "" {
		t.Errorf("Prometheus is started with %v, want the mounted %s", command, config)
	}
	var targets []string
	for name, s := range file.Services {
		if s.Build == "" {
			continue
		}
		targets = append(targets, name+":10058")
		if s.Hostname != name {
			t.Errorf("%s is the replica %q", name, s.Hostname)
		}
		if !slices.Equal(s.Command, file.Services["exporter-a"].Command) {
			t.Errorf("%s is started with %v, unlike exporter-a", name, s.Command)
		}
		for _, arg := range s.Command {
			if _, secret, ok := strings.Cut(arg, "=/run/secrets/"); ok && (!slices.Contains(s.Secrets, secret) || file.Secrets[secret].File == "") {
				t.Errorf("%s: %s is no secret of it", name, arg)
			}
		}
	}
	slices.Sort(targets)
	if got := prometheus.Scrape[0].Static[0].Targets; len(targets) != 2 || !slices.Equal(got, targets) {
		t.Errorf("Prometheus scrapes %v, want %v", got, targets)
	}

	password, err := os.ReadFile(filepath.FromSlash("../" + file.Secrets["state-password"].File))
	if err != nil {
		t.Fatal(err)
	}
	acl, err := os.ReadFile(filepath.FromSlash("../" + mounted["/replicas"] + "/users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	_, user, _ := strings.Cut(string(acl), "user defender on ")
	hash, rights, _ := strings.Cut(strings.TrimSpace(user), " ")
	if want := fmt.Sprintf("#%x", sha256.Sum256(password)); hash != want {
		t.Errorf("users.acl has the password %s, state-password.txt is %s", hash, want)
	}
	documented, err := os.ReadFile("../docs/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	if rights == "" || !strings.Contains(string(documented), "user defender on >PASSWORD "+rights+"\n") {
		t.Errorf("docs/replicas.md does not have the rights %q", rights)
	}
}

func TestProvisioning(t *testing.T) {
	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	readYAML(t, "docs/quickstart/compose/datasources.yaml", &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].UID != DatasourceUID || sources.Datasources[0].Type != "prometheus" {
		t.Errorf("got %+v, want one Prometheus with the UID %s", sources.Datasources, DatasourceUID)
	}
	var providers struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	readYAML(t, "docs/quickstart/compose/dashboards.yaml", &providers)
	if len(providers.Providers) != 1 || providers.Providers[0].Options.Path != "/demo/dashboards" {
		t.Errorf("got %+v, want the folder that compose.yaml mounts the dashboards into", providers.Providers)
	}
}
