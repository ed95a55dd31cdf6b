package dashboards

import (
	"maps"
	"os"
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

// TestCompose checks what can be without a Docker engine: that everything that
// is mounted exists, and that nothing listens beyond loopback.
func TestCompose(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Image, Build string
			Command      []string
			Volumes      []string
			Ports        []string
			DependsOn    dependencies `yaml:"depends_on"`
			Environment  map[string]string
		}
		Volumes map[string]any
	}
	readYAML(t, "compose.yaml", &file)
	mounted := map[string]string{} // inside → outside
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
	home := file.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if mounted[home] == "" {
		t.Errorf("Grafana's first page is %s, which is not mounted", home)
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
