package dashboards

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestNativeHistogramsInQuickstart: the two configurations for Prometheus differ
// in the setting that an older one refuses, and in nothing else; Compose, whose
// Prometheus is new, has the setting and not the flag, which does nothing there.
func TestNativeHistogramsInQuickstart(t *testing.T) {
	settings := func(name string) (lines []string) {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	const setting = "    scrape_native_histograms: true\n"
	old, newer := settings("docs/quickstart/prometheus.yml"), settings("docs/quickstart/prometheus-3.yml")
	if !slices.Contains(newer, setting) {
		t.Error("prometheus-3.yml has no native histograms")
	}
	if got := slices.DeleteFunc(newer, func(line string) bool { return line == setting }); !slices.Equal(got, old) {
		t.Errorf("without the setting got\n%s\nwant\n%s", strings.Join(got, ""), strings.Join(old, ""))
	}
	for file, config := range map[string]string{
		"compose.yaml":          "docs/quickstart/compose/prometheus.yml",
		"compose.replicas.yaml": "docs/quickstart/replicas/prometheus.yml",
	} {
		if !slices.Contains(settings(config), setting) {
			t.Errorf("%s has no native histograms", config)
		}
		if strings.Contains(strings.Join(settings(file), ""), "native-histograms") {
			t.Errorf("%s has a flag that does nothing", file)
		}
	}
}
