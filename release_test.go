package main

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
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

// workflow is what matters of a workflow of GitHub.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Needs       any
		Permissions map[string]string
		Steps       []struct{ Uses, Run string }
	}
}

var pinned = regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40}$`)

// byVersion is an action whose digest is not known, and for what it is used: it
// brings files whose checksums are compared next.
const byVersion = "actions/download-artifact@v8"

// TestReleaseWorkflow: others' code is pinned, and has rights in one job alone,
// which begins when two machines have made the same.
func TestReleaseWorkflow(t *testing.T) {
	var release workflow
	readYAML(t, ".github/workflows/release.yml", &release)
	if release.Permissions == nil || len(release.Permissions) > 0 {
		t.Errorf("every job may do %v", release.Permissions)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, job := range release.Jobs {
		for right, how := range job.Permissions {
			if how != "read" && name != "publish" {
				t.Errorf("%s may %s %s", name, how, right)
			}
		}
		for i, step := range job.Steps {
			switch {
			case step.Uses == byVersion:
				if next := job.Steps[i+1].Run; next != "cd dist && sha256sum --check SHA256SUMS" {
					t.Errorf("after %s comes %q", step.Uses, next)
				}
			case step.Uses != "" && !pinned.MatchString(step.Uses):
				t.Errorf("%s is not pinned", step.Uses)
			}
			for _, m := range regexp.MustCompile(`\bmake (\w+)|((?:\.ci|packaging)/[\w/]+)`).FindAllStringSubmatch(step.Run, -1) {
				if m[1] != "" && !bytes.Contains(makefile, []byte("\n"+m[1]+":")) {
					t.Errorf("make has no %s", m[1])
				}
				if m[2] != "" {
					if _, err := os.Stat(m[2]); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	if got := fmt.Sprint(release.Jobs["publish"].Needs); got != "[build reproduce]" {
		t.Errorf("publish needs %s", got)
	}
}
