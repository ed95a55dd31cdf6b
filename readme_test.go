package main

import (
	"bytes"
	"m365_defender_exporter/internal/app"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var (
	helpFlag      = regexp.MustCompile(`(?m)^ {2,6}(?:-\w, )?--(?:\[no-\])?([a-z][a-z.-]*)(?:="?([^\s"]*)"?)?`)
	tableFlag     = regexp.MustCompile("`--([a-z][a-z.-]*)`")
	azureVariable = regexp.MustCompile(`\bAZURE_[A-Z_]+`)
)

// TestReadmeFlags: the table names every flag that there is, no other, with its
// default and the variables of the environment.
func TestReadmeFlags(t *testing.T) {
	var help, stderr bytes.Buffer
	if code := app.Run(t.Context(), []string{"--help"}, &help, &stderr); code != app.ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Flags\n")
	table, _, _ = strings.Cut(table, "\n## ")
	defaults := map[string]string{} // by flag
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|") // the first and the last are empty
		if len(cells) != 6 {
			continue
		}
		flags := tableFlag.FindAllStringSubmatch(cells[1], -1)
		values := strings.Split(cells[3], ", ")
		for i, flag := range flags {
			defaults[flag[1]] = ""
			if len(values) == len(flags) {
				defaults[flag[1]] = strings.Trim(values[i], "` ")
			}
		}
	}
	for _, flag := range helpFlag.FindAllStringSubmatch(help.String(), -1) {
		name, value := flag[1], flag[2]
		got, ok := defaults[name]
		if !ok {
			t.Errorf("--%s is not in the table", name)
		}
		placeholder := value == strings.ToUpper(value) && value != ":10058"
		if !placeholder && got != value {
			t.Errorf("--%s: the table says %q, the default is %q", name, got, value)
		}
		delete(defaults, name)
	}
	if runtime.GOOS != "linux" {
		delete(defaults, "web.systemd-socket")
	}
	for name := range defaults {
		t.Errorf("--%s is in the table and does not exist", name)
	}
	sorted := func(s string) []string {
		return slices.Compact(slices.Sorted(slices.Values(azureVariable.FindAllString(s, -1))))
	}
	if got, want := sorted(table), sorted(help.String()); !slices.Equal(got, want) {
		t.Errorf("environment: the table has %v, the help %v", got, want)
	}
}
