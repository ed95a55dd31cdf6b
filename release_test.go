package main

import (
	"os"
	"reflect"
	"slices"
	"testing"

	"go.yaml.in/yaml/v4"
)

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestPackagesAgree: goreleaser makes the deb and the rpm that `make packages`
// makes.
func TestPackagesAgree(t *testing.T) {
	var ours map[string]any
	readYAML(t, "packaging/linux/nfpm.yaml", &ours)
	var goreleaser struct{ NFPMs []map[string]any }
	readYAML(t, ".goreleaser.yaml", &goreleaser)
	if len(goreleaser.NFPMs) != 1 {
		t.Fatalf("%d kinds of packages", len(goreleaser.NFPMs))
	}
	theirs := goreleaser.NFPMs[0]
	if got, want := theirs["package_name"], ours["name"]; got != want {
		t.Errorf("name: got %v, want %v", got, want)
	}
	contents, ok := ours["contents"].([]any)
	if !ok || len(contents) < 2 {
		t.Fatal("no contents")
	}
	// goreleaser adds the binary itself, to where this is.
	binary, ok := contents[0].(map[string]any)
	if !ok || binary["dst"] != "/usr/bin/m365_defender_exporter" {
		t.Errorf("got %v first, want the binary", contents[0])
	}
	ours["contents"] = contents[1:]
	for _, own := range []string{"name", "arch", "platform", "version"} {
		delete(ours, own)
	}
	for _, own := range []string{"package_name", "file_name_template", "formats", "mtime"} {
		delete(theirs, own)
	}
	for key := range theirs {
		if _, ok := ours[key]; !ok {
			t.Errorf("%s: goreleaser alone has it", key)
		}
	}
	for key, want := range ours {
		if !reflect.DeepEqual(theirs[key], want) {
			t.Errorf("%s: got %v\nwant %v", key, theirs[key], want)
		}
	}
	for _, name := range []string{"after-install.sh", "before-remove.sh", "after-remove.sh"} {
		if scripts, ok := ours["scripts"].(map[string]any); !ok || !slices.ContainsFunc([]string{"postinstall", "preremove", "postremove"}, func(when string) bool {
			return scripts[when] == "packaging/linux/"+name
		}) {
			t.Errorf("%s is used by none", name)
		}
	}
}
