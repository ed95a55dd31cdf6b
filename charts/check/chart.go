// Package check holds the Helm chart to what it promises: everything it renders
// is what Kubernetes and the exporter themselves understand. It is a module of
// its own, so that the exporter depends on none of it. Run it with .ci/chart.
package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// release and namespace are what the chart is rendered as.
const (
	release   = "m365"
	namespace = "monitoring"
)

// chart is a chart directory and the helm binary that reads it.
type chart struct {
	helm, dir string
}

// render returns the manifests that the values files make of the chart, or
// helm's refusal.
func (c chart) render(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, append([]string{"template", release, c.dir, "--namespace", namespace, "--kube-version", "1.34.0"}, args...)...)
}

// lint returns helm's complaint.
func (c chart) lint(ctx context.Context, values string) error {
	out, err := c.run(ctx, "lint", "--strict", "--quiet", c.dir, "--values", values, "--kube-version", "1.34.0")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// notes returns what is said after an installation. Helm shows it only when
// there is a cluster, so it is rendered as a template of a copy of the chart.
func (c chart) notes(ctx context.Context, scratch, values string) (string, error) {
	copied := chart{c.helm, filepath.Join(scratch, "chart")}
	if err := os.CopyFS(copied.dir, os.DirFS(c.dir)); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(c.dir, "templates", "NOTES.txt"))
	if err != nil {
		return "", err
	}
	template := `{{- define "notes" -}}` + string(text) + `{{- end -}}` + "\n" + `notes: {{ include "notes" . | toJson }}` + "\n"
	if err := os.WriteFile(filepath.Join(copied.dir, "templates", "notes.yaml"), []byte(template), 0o644); err != nil {
		return "", err
	}
	out, err := copied.render(ctx, "--values", values, "--show-only", "templates/notes.yaml")
	if err != nil {
		return "", err
	}
	var said struct {
		Notes string `json:"notes"`
	}
	if err := decode([]byte(out), &said); err != nil {
		return "", err
	}
	return strings.TrimSpace(said.Notes) + "\n", nil
}

func (c chart) run(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.helm, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = errors.New(text)
		}
		return stdout.String(), fmt.Errorf("helm %s: %w", args[0], err)
	}
	return stdout.String(), nil
}
