package check

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

// pod lays out what a kubelet would: the files of the exporter's container
// below root, its environment, its arguments.
type pod struct {
	root    string
	objects []object
	foreign func(secret, key string) []byte // what a Secret holds that the chart does not render
}

// checkConfig has the exporter check its configuration as the container would
// see it, and returns what it says.
func (p pod) checkConfig(ctx context.Context, exporter string, env []string) (string, error) {
	deployment, err := find[*apps.Deployment](p.objects, "")
	if err != nil {
		return "", err
	}
	spec := deployment.Spec.Template.Spec
	container := spec.Containers[0]
	args := append([]string{"--config.check"}, container.Args...)
	for _, mount := range container.VolumeMounts {
		for _, volume := range spec.Volumes {
			if volume.Name == mount.Name {
				if err := p.mount(volume, filepath.Join(p.root, mount.MountPath)); err != nil {
					return "", err
				}
			}
		}
		for i := range args {
			args[i] = strings.Replace(args[i], mount.MountPath+"/", filepath.Join(p.root, mount.MountPath)+"/", 1)
			if path, ok := strings.CutSuffix(args[i], mount.MountPath); ok {
				args[i] = path + filepath.Join(p.root, mount.MountPath)
			}
		}
	}
	more, err := p.environment(deployment)
	if err != nil {
		return "", err
	}
	for i := range args {
		for _, variable := range more {
			name, text, _ := strings.Cut(variable, "=")
			args[i] = strings.ReplaceAll(args[i], "$("+name+")", text)
		}
	}
	cmd := exec.CommandContext(ctx, exporter, args...)
	cmd.Env, cmd.Dir = slices.Concat(env, more), p.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// mount writes the files of the volume.
func (p pod) mount(volume core.Volume, dir string) error {
	if volume.Projected == nil {
		return os.MkdirAll(dir, 0o755) // a state volume or a stranger's
	}
	for _, source := range volume.Projected.Sources {
		files, err := p.files(source)
		if err != nil {
			return err
		}
		for path, content := range files {
			path = filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// files returns what a source of a projected volume holds, by path.
func (p pod) files(source core.VolumeProjection) (map[string][]byte, error) {
	files := map[string][]byte{}
	switch {
	case source.ServiceAccountToken != nil:
		files[source.ServiceAccountToken.Path] = []byte("token")
	case source.ConfigMap != nil:
		from, err := find[*core.ConfigMap](p.objects, source.ConfigMap.Name)
		if err != nil {
			return nil, err
		}
		for _, item := range source.ConfigMap.Items {
			text, ok := from.Data[item.Key]
			if !ok {
				return nil, fmt.Errorf("ConfigMap %s has no key %s", source.ConfigMap.Name, item.Key)
			}
			files[item.Path] = []byte(text)
		}
	case source.Secret != nil:
		from, err := find[*core.Secret](p.objects, source.Secret.Name)
		for _, item := range source.Secret.Items {
			switch {
			case err != nil:
				files[item.Path] = p.foreign(source.Secret.Name, item.Key)
			case from.Data[item.Key] == nil:
				return nil, fmt.Errorf("secret %s has no key %s", source.Secret.Name, item.Key)
			default:
				files[item.Path] = from.Data[item.Key]
			}
		}
		if source.Secret.Items == nil {
			if err != nil {
				return nil, err
			}
			for key, text := range from.StringData {
				files[key] = []byte(text)
			}
			for key, text := range from.Data {
				files[key] = text
			}
		}
	}
	return files, nil
}

// environment returns what the container's environment says in so many words,
// what it takes from Secrets that are rendered, and the name of the pod.
func (p pod) environment(deployment *apps.Deployment) ([]string, error) {
	container := deployment.Spec.Template.Spec.Containers[0]
	var env []string
	for _, source := range container.EnvFrom {
		if source.SecretRef == nil {
			continue
		}
		from, err := find[*core.Secret](p.objects, source.SecretRef.Name)
		if err != nil {
			return nil, err
		}
		for key, text := range from.StringData {
			env = append(env, key+"="+text)
		}
	}
	for _, e := range container.Env {
		switch {
		case e.ValueFrom == nil:
			env = append(env, e.Name+"="+e.Value)
		case e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "metadata.name":
			env = append(env, e.Name+"="+deployment.Name+"-7c9f6d5b8-x2x4z")
		}
	}
	return env, nil
}
