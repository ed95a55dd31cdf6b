package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestReleasedChart: the chart of a release runs the image of that release, by its
// digest, whatever is left empty, and says where it comes from.
func TestReleasedChart(t *testing.T) {
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	dir := t.TempDir()
	pack := exec.Command("../../packaging/chart/package", "1.2.3", "https://code.example/exporter", "registry.example/team", digest)
	pack.Env = append(os.Environ(), "HELM="+program(t, "HELM"), "DIST="+dir)
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := chart{helm: program(t, "HELM"), dir: filepath.Join(dir, "m365-defender-exporter-1.2.3.tgz")}
	const image = "registry.example/team/m365_defender_exporter@" + digest
	for name, values := range map[string]string{
		"as it is": "", "an empty image": "image:\n", "no digest": "image: {digest: null}\n", "no registry": "image: {registry: null}\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(path, []byte("demo: true\n"+values), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := c.render(t.Context(), "--values", path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out, image) {
				t.Errorf("the image is another one:\n%s", out)
			}
		})
	}
	// What only Artifact Hub reads has to be YAML inside of YAML.
	out, err := exec.Command(c.helm, "show", "chart", c.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Version, AppVersion string
		Sources             []string
		Annotations         map[string]string
	}
	if err := yaml.Unmarshal(out, &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Version != "1.2.3" || shown.AppVersion != "1.2.3" || len(shown.Sources) != 1 || shown.Annotations["artifacthub.io/prerelease"] != "false" {
		t.Errorf("got %+v", shown)
	}
	for _, list := range []string{"images", "links", "changes"} {
		var entries []map[string]any
		text := shown.Annotations["artifacthub.io/"+list]
		if err := yaml.UnmarshalStrict([]byte(text), &entries); err != nil || len(entries) == 0 {
			t.Errorf("artifacthub.io/%s: %v: %s", list, err, text)
		}
	}
}
