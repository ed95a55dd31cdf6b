//go:build apiserver

package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// fields is an object as an API server speaks of it.
type fields = map[string]any

// cluster is an API server, and a helm that asks it.
type cluster struct {
	chart
	url, token string
	http       *http.Client
	// plurals is how each kind is called in an address.
	plurals map[string]string
}

// theCluster is the one that .ci/kube-apiserver has started: KUBECONFIG is a file
// in JSON with one cluster and one token.
func theCluster(t *testing.T) *cluster {
	t.Helper()
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server    string `json:"server"`
				Authority []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Token string `json:"token"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := json.Unmarshal([]byte(read(t, program(t, "KUBECONFIG"))), &config); err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(config.Clusters[0].Cluster.Authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}}
	t.Cleanup(transport.CloseIdleConnections)
	return &cluster{
		chart:   theChart(t),
		url:     config.Clusters[0].Cluster.Server,
		token:   config.Users[0].User.Token,
		http:    &http.Client{Transport: transport},
		plurals: map[string]string{},
	}
}

// call returns the answer of the API server. A status of 300 or above is an
// error, and so is a warning: of a field that it does not know, of a value that
// will not be, of a pod that is not as restricted as its namespace wants.
func (c *cluster) call(ctx context.Context, method, path string, body any) (fields, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var answer fields
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("%s %s: %s: %w", method, path, response.Status, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, &refusal{response.StatusCode, fmt.Sprintf("%s %s: %v", method, path, answer["message"])}
	}
	if warnings := response.Header.Values("Warning"); len(warnings) > 0 {
		return nil, fmt.Errorf("%s %s: warnings: %s", method, path, strings.Join(warnings, "; "))
	}
	return answer, nil
}

// refusal is an answer of the API server that is no success.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func absent(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusNotFound
}

// collection is the address of the objects of this kind in its namespace.
func (c *cluster) collection(ctx context.Context, o fields) (string, error) {
	version, _ := o["apiVersion"].(string)
	kind, _ := o["kind"].(string)
	base := "/apis/" + version
	if !strings.Contains(version, "/") {
		base = "/api/" + version
	}
	if c.plurals[version+" "+kind] == "" {
		list, err := c.call(ctx, http.MethodGet, base, nil)
		if err != nil {
			return "", err
		}
		for _, r := range list["resources"].([]any) {
			r := r.(fields)
			if name := r["name"].(string); !strings.Contains(name, "/") {
				c.plurals[version+" "+r["kind"].(string)] = name
			}
		}
	}
	plural := c.plurals[version+" "+kind]
	if plural == "" {
		return "", fmt.Errorf("the API server does not have %s %s", version, kind)
	}
	if in, ok := metadata(o)["namespace"]; ok {
		base = fmt.Sprintf("%s/namespaces/%s", base, in)
	}
	return base + "/" + plural, nil
}

// create asks the API server to make the object; one field that it does not know
// or that is there twice is an error.
func (c *cluster) create(ctx context.Context, o fields, dry bool) error {
	path, err := c.collection(ctx, o)
	if err != nil {
		return err
	}
	path += "?fieldValidation=Strict"
	if dry {
		path += "&dryRun=All"
	}
	_, err = c.call(ctx, http.MethodPost, path, o)
	return err
}

// stored returns the object as the API server has it.
func (c *cluster) stored(ctx context.Context, o fields) (fields, error) {
	path, err := c.collection(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, http.MethodGet, path+"/"+name(o), nil)
}

// remove deletes the object at once: no controller is there to take its
// finalizers away.
func (c *cluster) remove(ctx context.Context, o fields) error {
	path, err := c.collection(ctx, o)
	if err != nil {
		return err
	}
	path += "/" + name(o)
	if _, err := c.call(ctx, http.MethodPatch, path, fields{"metadata": fields{"finalizers": nil}}); err != nil {
		return err
	}
	_, err = c.call(ctx, http.MethodDelete, path, nil)
	return err
}

// run returns what the helm command prints. What it says beside that is an error: it
// passes on the API server's warnings and goes on.
func (c *cluster) run(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.helm, append(args, "--namespace", namespace)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if text := strings.TrimSpace(stderr.String()); text != "" {
		err = errors.New(text)
	}
	if err != nil {
		return "", fmt.Errorf("helm %s: %w", strings.Join(args, " "), err)
	}
	return stdout.String(), nil
}

// unstructured decodes manifests, and gives a namespace to what has none.
func unstructured(t *testing.T, manifests string) []fields {
	t.Helper()
	var all []fields
	for _, text := range strings.Split("\n"+manifests, "\n---\n") {
		var o fields
		// The line break belongs to a text that ends the document.
		if err := yaml.Unmarshal([]byte(text+"\n"), &o); err != nil {
			t.Fatal(err)
		}
		if len(o) == 0 {
			continue
		}
		if metadata(o)["namespace"] == nil {
			metadata(o)["namespace"] = namespace
		}
		all = append(all, o)
	}
	return all
}

func metadata(o fields) fields { m, _ := o["metadata"].(fields); return m }
func name(o fields) string     { return metadata(o)["name"].(string) }
func title(o fields) string    { return fmt.Sprintf("%s %s", o["kind"], name(o)) }

// kept tells whether the object outlives its release.
func kept(o fields) bool {
	annotations, _ := metadata(o)["annotations"].(fields)
	return annotations["helm.sh/resource-policy"] == "keep"
}

// lost lists what was sent and is not stored. Empty values may be left out, and a
// quantity may be written in another way.
func lost(path string, sent, stored any) []string {
	switch sent := sent.(type) {
	case nil:
		return nil
	case fields:
		stored, ok := stored.(fields)
		if !ok && len(sent) > 0 {
			return []string{path}
		}
		var all []string
		for key, value := range sent {
			all = append(all, lost(path+"."+key, value, stored[key])...)
		}
		return all
	case []any:
		// What the server adds comes last: the tolerations of a pod.
		stored, _ := stored.([]any)
		if len(stored) < len(sent) {
			return []string{path}
		}
		var all []string
		for i, value := range sent {
			all = append(all, lost(fmt.Sprintf("%s[%d]", path, i), value, stored[i])...)
		}
		return all
	}
	if sent == stored || stored == nil && (sent == "" || sent == false || sent == 0.0) {
		return nil
	}
	a, err := resource.ParseQuantity(fmt.Sprint(sent))
	b, err2 := resource.ParseQuantity(fmt.Sprint(stored))
	if err == nil && err2 == nil && a.Cmp(b) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: sent %v, stored %v", path, sent, stored)}
}

// compare fails for everything that was rendered and is not stored as it was
// rendered. It returns the version of each object.
func (c *cluster) compare(t *testing.T, all []fields) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, o := range all {
		stored, err := c.stored(t.Context(), o)
		if err != nil {
			t.Error(err)
			continue
		}
		sent := o
		if texts, ok := o["stringData"].(fields); ok {
			data := fields{}
			for key, text := range texts {
				data[key] = base64.StdEncoding.EncodeToString([]byte(text.(string)))
			}
			sent = fields{"metadata": o["metadata"], "type": o["type"], "data": data}
		}
		for _, field := range lost("", sent, stored) {
			t.Errorf("%s is not what was rendered: %s", title(o), field)
		}
		versions[title(o)] = metadata(stored)["resourceVersion"].(string)
	}
	return versions
}

// installed returns what helm says that the release consists of.
func (c *cluster) installed(t *testing.T) []fields {
	t.Helper()
	manifests, err := c.run(t.Context(), "get", "manifest", release)
	if err != nil {
		t.Fatal(err)
	}
	return unstructured(t, manifests)
}

// podOf is what the Deployment's controllers would create.
func podOf(deployment fields) fields {
	template := deployment["spec"].(fields)["template"].(fields)
	labels := fields{}
	for key, value := range template["metadata"].(fields) {
		labels[key] = value
	}
	labels["name"], labels["namespace"] = name(deployment)+"-0", metadata(deployment)["namespace"]
	return fields{"apiVersion": "v1", "kind": "Pod", "metadata": labels, "spec": template["spec"]}
}

// fixtures are the names of ci/*-values.yaml.
func fixtures(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	return paths
}

// TestInstalled: a real API server takes every fixture as it is, without a
// warning and without losing a field; the same values once more change nothing;
// nothing but a kept claim is left behind, which a new release takes up again.
func TestInstalled(t *testing.T) {
	c := theCluster(t)
	for _, values := range fixtures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(values), "-values.yaml"), func(t *testing.T) { testInstalled(t, c, values) })
	}
}

func testInstalled(t *testing.T, c *cluster, values string) {
	ctx := t.Context()
	rendered, err := c.run(ctx, "template", release, c.dir, "--values", values, "--kube-version", "1.34.0")
	if err != nil {
		t.Fatal(err)
	}
	all := unstructured(t, rendered)
	for _, o := range all {
		// The pods need a service account first.
		if o["kind"] != "Pod" {
			if err := c.create(ctx, o, true); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := c.run(ctx, "install", release, c.dir, "--values", values, "--dry-run=server"); err != nil {
		t.Error(err)
	}
	if _, err := c.run(ctx, "install", release, c.dir, "--values", values); err != nil {
		t.Fatal(err)
	}
	objects := c.installed(t)
	before := c.compare(t, objects)
	pods := 0
	for _, o := range all {
		switch o["kind"] {
		case "Deployment":
			o = podOf(o)
			fallthrough
		case "Pod":
			pods++
			if err := c.create(ctx, o, false); err != nil {
				t.Error(err)
				continue
			}
			c.compare(t, []fields{o})
			if err := c.remove(ctx, o); err != nil {
				t.Error(err)
			}
		}
	}
	if pods != 2 {
		t.Errorf("%d pods were tried, want the exporter's and the test's", pods)
	}
	if _, err := c.run(ctx, "upgrade", release, c.dir, "--values", values); err != nil {
		t.Error(err)
	}
	for object, version := range c.compare(t, c.installed(t)) {
		if version != before[object] {
			t.Errorf("%s is changed by the same values", object)
		}
	}
	claims := c.uninstall(t, objects)
	if len(claims) == 0 {
		return
	}
	if _, err := c.run(ctx, "install", release, c.dir, "--values", values); err != nil {
		t.Errorf("the claim that was left is not taken up again: %v", err)
	}
	c.compare(t, objects)
	c.uninstall(t, objects)
	for _, o := range claims {
		if err := c.remove(ctx, o); err != nil {
			t.Error(err)
		}
	}
}

// uninstall takes the release away and returns what is left by intent.
func (c *cluster) uninstall(t *testing.T, objects []fields) []fields {
	t.Helper()
	out, err := c.run(t.Context(), "uninstall", release)
	if err != nil {
		t.Error(err)
	}
	var left []fields
	for _, o := range objects {
		if !kept(o) {
			c.gone(t, o)
			continue
		}
		left = append(left, o)
		if stored, err := c.stored(t.Context(), o); err != nil || metadata(stored)["deletionTimestamp"] != nil {
			t.Errorf("%s was to be kept: %v", title(o), err)
		}
		if !strings.Contains(out, name(o)) {
			t.Errorf("%s is kept, of which helm says nothing: %s", title(o), out)
		}
	}
	return left
}

// TestDropped: a field that a resource definition does not have is lost, and helm
// says no more than a warning. This is why the chart refuses the one that it knows
// of, and why the tests above take warnings for errors.
func TestDropped(t *testing.T) {
	c := theCluster(t)
	values := filepath.Join(chartDir, "ci", "azure-managed-values.yaml")
	_, err := c.run(t.Context(), "install", release, c.dir, "--values", values, "--set", "podMonitor.extraSpec.scrapeNativeHistograms=true")
	if err == nil || !strings.Contains(err.Error(), "unknown field") || !strings.Contains(err.Error(), "spec.scrapeNativeHistograms") {
		t.Errorf("got %v, want a warning of the unknown field", err)
	}
	objects := c.installed(t)
	for _, o := range objects {
		stored, err := c.stored(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := lost("", o, stored), o["kind"] == "PodMonitor"; (len(got) > 0) != want {
			t.Errorf("%s: lost %v", title(o), got)
		}
	}
	for _, o := range c.uninstall(t, objects) {
		if err := c.remove(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
}

var (
	upgradeSteps = flag.Int("upgrade.steps", 60, "upgrades of TestUpgraded; 0: from every fixture to every other one")
	upgradeSeed  = flag.Uint64("upgrade.seed", 1, "which upgrades, and in which order")
)

// way is a walk over the fixtures, by indices, that takes no step twice unless it
// has come to where no new one begins.
func way(fixtures int) []int {
	random := rand.New(rand.NewPCG(*upgradeSeed, 0))
	open := make([][]int, fixtures)
	left := 0
	for from := range open {
		for _, to := range random.Perm(fixtures) {
			if to != from {
				open[from] = append(open[from], to)
				left++
			}
		}
	}
	at := random.IntN(fixtures)
	walk := []int{at}
	for left > 0 && (*upgradeSteps == 0 || len(walk) <= *upgradeSteps) {
		if next := open[at]; len(next) > 0 {
			at, open[at] = next[0], next[1:]
			left--
		} else {
			at = slices.IndexFunc(open, func(next []int) bool { return len(next) > 0 })
		}
		walk = append(walk, at)
	}
	return walk
}

// TestUpgraded: from one fixture to another an upgrade is accepted, what is stored
// then is what was rendered, and nothing of before is left but claims.
func TestUpgraded(t *testing.T) {
	c := theCluster(t)
	paths := fixtures(t)
	walk := way(len(paths))
	if _, err := c.run(t.Context(), "install", release, c.dir, "--values", paths[walk[0]]); err != nil {
		t.Fatal(err)
	}
	objects := c.installed(t)
	claims := map[string]fields{}
	for step, to := range walk[1:] {
		t.Run(filepath.Base(paths[walk[step]])+" "+filepath.Base(paths[to]), func(t *testing.T) {
			if _, err := c.run(t.Context(), "upgrade", release, c.dir, "--values", paths[to]); err != nil {
				t.Error(err)
			}
			before := objects
			objects = c.installed(t)
			c.compare(t, objects)
			for _, o := range before {
				switch {
				case slices.ContainsFunc(objects, func(p fields) bool { return same(o, p) }):
				case kept(o):
					claims[title(o)] = o
				default:
					c.gone(t, o)
				}
			}
		})
	}
	for _, o := range c.uninstall(t, objects) {
		claims[title(o)] = o
	}
	for _, o := range claims {
		if err := c.remove(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
}

func same(a, b fields) bool {
	return title(a) == title(b) && a["apiVersion"] == b["apiVersion"] && metadata(a)["namespace"] == metadata(b)["namespace"]
}

// gone fails if the object is there and is not being deleted.
func (c *cluster) gone(t *testing.T, o fields) {
	t.Helper()
	stored, err := c.stored(t.Context(), o)
	switch {
	case absent(err):
	case err != nil:
		t.Error(err)
	case metadata(stored)["deletionTimestamp"] == nil:
		t.Errorf("%s is left", title(o))
	default:
		// Only a controller would see the claim go.
		if err := c.remove(t.Context(), o); err != nil && !absent(err) {
			t.Error(err)
		}
	}
}
