package main

import (
	"path"
	"strconv"
	"time"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	program = "/bin/m365_defender_exporter"
	state   = "/var/lib/m365_defender_exporter"
	port    = "10058/tcp"
	// nonRoot is the user and group that images without a shell agree on.
	nonRoot = 65532
)

// release is what goes into the images of one version.
type release struct {
	version, revision, source string
	created                   time.Time
	license                   []byte
	binaries                  []binary
}

// binary is the exporter for one platform.
type binary struct {
	platform specs.Platform
	text     []byte
}

// labels are both the labels of a configuration and the annotations of a
// manifest. The Dockerfile sets the same.
func (r *release) labels() map[string]string {
	labels := map[string]string{
		specs.AnnotationTitle:       path.Base(program),
		specs.AnnotationDescription: "Prometheus exporter for Microsoft 365 Defender incidents",
		specs.AnnotationLicenses:    "Apache-2.0",
		specs.AnnotationVersion:     r.version,
		specs.AnnotationRevision:    r.revision,
		specs.AnnotationCreated:     r.created.Format(time.RFC3339),
	}
	if r.source != "" {
		labels[specs.AnnotationSource] = r.source
	}
	return labels
}

// base is the file system around the binary, the same on every platform.
func (r *release) base() []file {
	id := strconv.Itoa(nonRoot)
	return []file{
		{name: "/LICENSE", mode: 0o444, text: r.license},
		{name: "/bin", dir: true, mode: 0o755},
		{name: "/etc", dir: true, mode: 0o755},
		{name: "/etc/group", mode: 0o444, text: []byte("root:x:0:\nnonroot:x:" + id + ":\n")},
		{name: "/etc/passwd", mode: 0o444, text: []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:" + id + ":" + id + ":nonroot:" + state + ":/sbin/nologin\n")},
		{name: "/var", dir: true, mode: 0o755},
		{name: "/var/lib", dir: true, mode: 0o755},
		{name: state, dir: true, mode: 0o700, owner: nonRoot},
	}
}

// image adds one platform's image to the archive.
func (r *release) image(a *archive, b binary) (specs.Descriptor, error) {
	id := strconv.Itoa(nonRoot)
	config := specs.Image{
		Created:  &r.created,
		Platform: b.platform,
		Config: specs.ImageConfig{
			User:         id + ":" + id,
			ExposedPorts: map[string]struct{}{port: {}},
			Entrypoint:   []string{program},
			Volumes:      map[string]struct{}{state: {}},
			WorkingDir:   state,
			Labels:       r.labels(),
		},
		RootFS: specs.RootFS{Type: "layers"},
	}
	manifest := specs.Manifest{MediaType: specs.MediaTypeImageManifest, Annotations: r.labels()}
	manifest.SchemaVersion = 2
	for _, layer := range []struct {
		what  string
		files []file
	}{
		{"licence, user, state directory", r.base()},
		{"m365_defender_exporter " + r.version, []file{{name: program, mode: 0o555, text: b.text}}},
	} {
		descriptor, diff, err := a.layer(layer.files, r.created)
		if err != nil {
			return specs.Descriptor{}, err
		}
		manifest.Layers = append(manifest.Layers, descriptor)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diff)
		config.History = append(config.History, specs.History{Created: &r.created, CreatedBy: layer.what})
	}
	var err error
	if manifest.Config, err = a.json(specs.MediaTypeImageConfig, config); err != nil {
		return specs.Descriptor{}, err
	}
	descriptor, err := a.json(specs.MediaTypeImageManifest, manifest)
	descriptor.Platform = &b.platform
	return descriptor, err
}

// archive is an OCI layout with one index over the platforms, tagged with the
// version.
func (r *release) archive() ([]byte, error) {
	a := newArchive(r.created)
	index := specs.Index{MediaType: specs.MediaTypeImageIndex, Annotations: r.labels()}
	index.SchemaVersion = 2
	for _, b := range r.binaries {
		descriptor, err := r.image(a, b)
		if err != nil {
			return nil, err
		}
		index.Manifests = append(index.Manifests, descriptor)
	}
	descriptor, err := a.json(specs.MediaTypeImageIndex, index)
	if err != nil {
		return nil, err
	}
	descriptor.Annotations = map[string]string{specs.AnnotationRefName: r.version}
	top := specs.Index{MediaType: specs.MediaTypeImageIndex, Manifests: []specs.Descriptor{descriptor}}
	top.SchemaVersion = 2
	return a.close(top)
}
