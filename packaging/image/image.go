package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// file is a file or a directory of an image. Its name is absolute.
type file struct {
	name        string
	dir         bool
	mode        int64
	user, group int
	text        []byte
}

// base is what an image without a base lacks: names for the users.
func base() []file {
	return []file{
		{name: "/etc", dir: true, mode: 0o755},
		{name: "/etc/group", mode: 0o444, text: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "/etc/passwd", mode: 0o444, text: []byte("root:x:0:0:root:/root:/sbin/nologin\n" +
			"nonroot:x:65532:65532:nonroot:/var/lib/m365_defender_exporter:/sbin/nologin\n")},
	}
}

// release is what the images of one version have in common.
type release struct {
	checkout                  fs.FS
	version, revision, source string
	created                   time.Time
}

// add appends the image for one platform to the index.
func (r *release) add(index v1.ImageIndex, platform v1.Platform, binary []byte) (v1.ImageIndex, error) {
	dockerfile, err := r.checkout.Open("Dockerfile")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dockerfile.Close() }()
	d, err := describe(dockerfile, inputs{
		checkout: r.checkout,
		built:    map[string][]byte{"/out/m365_defender_exporter": binary, "/out/state": nil},
		args:     map[string]string{"VERSION": r.version, "REVISION": r.revision, "CREATED": r.created.Format(time.RFC3339)},
	})
	if err != nil {
		return nil, err
	}
	if r.source != "" {
		d.config.Labels[specs.AnnotationSource] = r.source
	}
	plain, err := tarOf(append(base(), d.files...), r.created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(plain)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: r.created}
	image, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		OS: platform.OS, Architecture: platform.Architecture, Created: created, Config: d.config, RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: created, CreatedBy: "Dockerfile, without its base"}})
	if err != nil {
		return nil, err
	}
	image = mutate.Annotations(mutate.ConfigMediaType(image, types.OCIConfigJSON), d.config.Labels).(v1.Image)
	index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	return mutate.Annotations(index, d.config.Labels).(v1.ImageIndex), nil
}

// archive is an OCI layout as one tar file. go-containerregistry v0.22.1 writes
// the layout as a directory, and as a file only what one platform's Docker reads.
func archive(index v1.ImageIndex, tag string, at time.Time) ([]byte, error) {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	to, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	if err := to.AppendIndex(index, layout.WithAnnotations(map[string]string{specs.AnnotationRefName: tag})); err != nil {
		return nil, err
	}
	var files []file
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		f := file{name: filepath.ToSlash(strings.TrimPrefix(path, dir)), dir: entry.IsDir(), mode: 0o755}
		if !f.dir {
			f.mode = 0o644
			f.text, err = os.ReadFile(path)
		}
		files = append(files, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tarOf(files, at)
}

// tarOf writes the files in their order, all dated the same.
func tarOf(files []file, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.name, "/"), Mode: f.mode, Uid: f.user, Gid: f.group,
			Size: int64(len(f.text)), ModTime: at,
		}
		if f.dir {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}
