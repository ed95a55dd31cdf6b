package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// blocks are those of a page in one language.
func blocks(text, language string) (all []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestRecipes: what is copied from a page is what its shell can read, with flags
// that exist, and nothing of another page is needed for it.
func TestRecipes(t *testing.T) {
	flags := regexp.MustCompile(`--[a-z]+\.[a-z-]+`).FindAllString(read(t, "../../README.md")+read(t, "../../docs/replicas.md"), -1)
	for _, page := range []string{"windows", "linux", "aks", "key-vault", "container-apps"} {
		t.Run(page, func(t *testing.T) {
			text := read(t, "../../docs/"+page+".md")
			shell := strings.Join(blocks(text, "sh"), "")
			if wrong := balanced(strings.Join(blocks(text, "powershell"), ""), "#", [2]string{"<#", "#>"}, '`'); wrong != "" {
				t.Error(wrong)
			}
			if runtime.GOOS != "windows" {
				cmd := exec.CommandContext(t.Context(), "bash", "-n")
				cmd.Stdin = strings.NewReader(shell)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
			code := regexp.MustCompile("(?s)```.*?```|`[^`]+`").FindAllString(text, -1)
			for _, flag := range regexp.MustCompile(`--[a-z]+\.[a-z-]+`).FindAllString(strings.Join(code, "\n"), -1) {
				if !slices.Contains(flags, flag) {
					t.Errorf("%s is no flag", flag)
				}
			}
			// A variable that no command before has set is another page's.
			seen := map[string]bool{"dir": true, "flags": true}
			for line := range strings.Lines(shell) {
				for _, m := range regexp.MustCompile(`\$\{?([A-Z_]+)`).FindAllStringSubmatch(line, -1) {
					if !seen[m[1]] {
						t.Errorf("%s is used before it is set: %s", m[1], line)
					}
				}
				for _, m := range regexp.MustCompile(`(?:^| )([A-Z_]+)=`).FindAllStringSubmatch(line, -1) {
					seen[m[1]] = true
				}
			}
			for _, m := range regexp.MustCompile(`\]\(([^)#:]+)`).FindAllStringSubmatch(text, -1) {
				if m[1] == "https" {
					continue
				}
				if _, err := os.Stat(filepath.Join("../../docs", m[1])); err != nil {
					t.Errorf("a link leads nowhere: %v", err)
				}
			}
		})
	}
}

// containerApp is what matters of the file that the page writes.
type containerApp struct {
	Properties struct {
		EnvironmentID string `yaml:"environmentId"`
		Configuration struct {
			Ingress struct {
				AllowInsecure bool `yaml:"allowInsecure"`
			}
			Secrets []struct {
				Name        string
				KeyVaultURL string `yaml:"keyVaultUrl"`
			}
		}
		Template struct {
			Scale struct {
				MinReplicas int `yaml:"minReplicas"`
				MaxReplicas int `yaml:"maxReplicas"`
			}
			Volumes    []struct{ Name string }
			Containers []struct {
				Image        string
				Args         []string
				VolumeMounts []struct {
					VolumeName string `yaml:"volumeName"`
					MountPath  string `yaml:"mountPath"`
				} `yaml:"volumeMounts"`
			}
		}
	}
}

// TestContainerApps follows the page, with an az that answers anything with one
// word: exactly one replica without a store, and a Redis in its place.
func TestContainerApps(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is for bash")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\necho \"$@\" >>asked\necho answer\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "deploy"), 0o700); err != nil {
		t.Fatal(err)
	}
	all := blocks(read(t, "../../docs/container-apps.md"), "sh")
	const values, image, identity, alone, redis = 0, 1, 2, 3, 4
	if len(all) != 7 {
		t.Fatalf("%d blocks", len(all))
	}
	if err := os.WriteFile(filepath.Join(dir, "make"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	skopeo := "#!/bin/sh\ncase $1 in login) cat >login ;; copy) echo \"$@\" >copied ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "skopeo"), []byte(skopeo), 0o700); err != nil {
		t.Fatal(err)
	}
	all[identity] = regexp.MustCompile(`(?m)^deploy/.*$`).ReplaceAllString(all[identity], "")
	follow := func(steps ...string) (app containerApp) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", strings.Join(steps, ""))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, "app.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &app); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return app
	}
	one := follow(all[values], all[image], all[identity], all[alone]).Properties
	if len(one.Template.Containers) != 1 || !slices.Contains(one.Template.Containers[0].Args, "--state.url=memory:") {
		t.Errorf("got %+v", one)
	}
	if scale := one.Template.Scale; scale.MinReplicas != 1 || scale.MaxReplicas != 1 {
		t.Errorf("%+v: without a store it must be exactly one replica", scale)
	}
	if one.EnvironmentID == "" || !one.Configuration.Ingress.AllowInsecure {
		t.Errorf("got %+v, want an environment, and port 80 without a redirect", one)
	}
	// What was pushed is what is started.
	want := "oci-archive:dist/m365_defender_exporter-image.tar:0.1.0 docker://" + one.Template.Containers[0].Image + "\n"
	if copied := read(t, filepath.Join(dir, "copied")); !strings.HasSuffix(copied, want) || !strings.HasSuffix(want, "/m365_defender_exporter:0.1.0\n") {
		t.Errorf("copied %q, want %q", copied, want)
	}
	if asked := read(t, filepath.Join(dir, "asked")); !strings.Contains(asked, "acr login --name REGISTRY --expose-token ") {
		t.Errorf("asked of az: %s", asked)
	}
	if login := read(t, filepath.Join(dir, "login")); login != "answer\n" {
		t.Errorf("logged in with %q", login)
	}
	app := follow(all[values], all[image], all[identity], all[alone], all[redis])
	with := app.Properties.Template
	if len(with.Containers) != 1 || len(with.Volumes) != 1 || len(with.Containers[0].VolumeMounts) != 1 || len(app.Properties.Configuration.Secrets) != 1 {
		t.Fatalf("got %+v", app)
	}
	args := with.Containers[0].Args
	if slices.Contains(args, "--state.url=memory:") || !slices.Contains(args, "--state.password-file=/secrets/state-password") ||
		!slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--state.url=rediss://") }) {
		t.Errorf("got %q", args)
	}
	if mount := with.Containers[0].VolumeMounts[0]; mount.VolumeName != with.Volumes[0].Name || mount.MountPath != "/secrets" {
		t.Errorf("got %+v", mount)
	}
}

// TestReplicasContainerApp: az refuses a file without an environment.
func TestReplicasContainerApp(t *testing.T) {
	var found int
	for _, block := range blocks(read(t, "../../docs/replicas.md"), "yaml") {
		if !strings.HasPrefix(block, "# az containerapp create --yaml") {
			continue
		}
		found++
		var app containerApp
		if err := yaml.Unmarshal([]byte(block), &app); err != nil {
			t.Fatal(err)
		}
		scale := app.Properties.Template.Scale
		if app.Properties.EnvironmentID == "" || scale.MinReplicas < 2 || scale.MinReplicas != scale.MaxReplicas {
			t.Errorf("got %+v", app)
		}
	}
	if found != 1 {
		t.Errorf("%d files for Container Apps", found)
	}
}

// TestDownloaded: by default Windows runs no script that was downloaded, so what
// leads to one says how it is let.
func TestDownloaded(t *testing.T) {
	text := strings.Join(blocks(read(t, "../../docs/windows.md"), "powershell"), "")
	before, _, ok := strings.Cut(text, `= .\setup.ps1 `)
	if !ok || !strings.Contains(before, "Set-ExecutionPolicy -Scope Process ") || !strings.Contains(before, `Unblock-File .\setup.ps1`) {
		t.Errorf("docs/windows.md runs setup.ps1 without leave: %s", text)
	}
}

// TestRebuilt: the image has the address of the source as a label, so whoever
// compares a build of their own with a release must name it.
func TestRebuilt(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var found int
	for _, page := range pages {
		for line := range strings.Lines(read(t, filepath.ToSlash(page))) {
			if !strings.Contains(line, "PUBLISHED/SHA256SUMS") {
				continue
			}
			found++
			if !strings.Contains(line, " SOURCE=") {
				t.Errorf("%s: without SOURCE it is another image: %s", page, line)
			}
		}
	}
	if found == 0 {
		t.Error("no page says how a release is compared")
	}
}
