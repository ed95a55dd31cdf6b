package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// build makes the image of the Dockerfile with binaries that are no more than the
// names of their platforms.
func build(t *testing.T) v1.ImageIndex {
	t.Helper()
	r := release{os.DirFS("../.."), "1.2.3", "abc", "https://source.example", time.Unix(1_700_000_000, 0).UTC()}
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		var err error
		if index, err = r.add(index, v1.Platform{OS: "linux", Architecture: arch}, []byte(arch)); err != nil {
			t.Fatal(err)
		}
	}
	return index
}

func TestReproducible(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		var err error
		if archives[i], err = archive(build(t), "1.2.3", time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same input gave other bytes")
	}
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	if _, err := layout.Write(dir, build(t)); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			if got := manifest.Manifests[i].Platform.String(); got != "linux/"+arch {
				t.Errorf("platform: got %s", got)
			}
			image, err := index.Image(manifest.Manifests[i].Digest)
			if err != nil {
				t.Fatal(err)
			}
			checkConfig(t, image, arch)
			checkFiles(t, image, arch)
		})
	}
}

func checkConfig(t *testing.T, image v1.Image, arch string) {
	t.Helper()
	const state = "/var/lib/m365_defender_exporter"
	want := v1.Config{
		User: "65532:65532", WorkingDir: state, Entrypoint: []string{"/bin/m365_defender_exporter"},
		Volumes: map[string]struct{}{state: {}}, ExposedPorts: map[string]struct{}{"10058/tcp": {}},
		Labels: map[string]string{
			specs.AnnotationTitle: "m365_defender_exporter", specs.AnnotationDescription: "Prometheus exporter for Microsoft 365 Defender incidents",
			specs.AnnotationLicenses: "Apache-2.0", specs.AnnotationVersion: "1.2.3", specs.AnnotationRevision: "abc",
			specs.AnnotationSource: "https://source.example", specs.AnnotationCreated: "2023-11-14T22:13:20Z",
		},
	}
	got, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Config, want) || got.Architecture != arch {
		t.Errorf("got %+v, want %+v for %s", got, want, arch)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(manifest.Annotations, want.Labels) {
		t.Errorf("annotations: got %v, want the labels", manifest.Annotations)
	}
}

func checkFiles(t *testing.T, image v1.Image, arch string) {
	t.Helper()
	root := mutate.Extract(image)
	defer func() { _ = root.Close() }()
	var got []string
	for tr := tar.NewReader(root); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 1_700_000_000 || h.Name == "bin/m365_defender_exporter" && string(text) != arch {
			t.Errorf("%s: time %v, %q", h.Name, h.ModTime, text)
		}
		got = append(got, fmt.Sprintf("%s %o %d:%d", h.Name, h.Mode, h.Uid, h.Gid))
	}
	slices.Sort(got)
	want := []string{
		"LICENSE 444 0:0", "bin 755 0:0", "bin/m365_defender_exporter 555 0:0", "etc 755 0:0", "etc/group 444 0:0", "etc/passwd 444 0:0",
		"var 755 0:0", "var/lib 755 0:0", "var/lib/m365_defender_exporter 700 65532:65532",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestUnknown: what Docker would do and this program does not is an error.
func TestUnknown(t *testing.T) {
	for text, want := range map[string]string{
		"RUN true":                      "line 2 of the Dockerfile: RUN is not known here",
		"ENTRYPOINT program":            "line 2 of the Dockerfile: there is no shell",
		"WORKDIR var":                   "line 2 of the Dockerfile: WORKDIR must be a whole path",
		"COPY LICENSE /":                "line 2 of the Dockerfile: COPY must be of one file to a whole path",
		"COPY LICENSE /a":               "line 2 of the Dockerfile: COPY needs --chmod",
		"COPY --chmod=0444 NOTICE /a":   "line 2 of the Dockerfile: open NOTICE",
		"COPY --from=a --chmod=0 /b /a": "line 2 of the Dockerfile: no stage has built /b",
		"COPY --chmod=0444 --chown=nonroot LICENSE /a": "line 2 of the Dockerfile: --chown=nonroot",
		"NONSENSE": "unknown instruction",
	} {
		_, err := describe(strings.NewReader("FROM scratch\n"+text+"\n"), inputs{checkout: fstest.MapFS{"LICENSE": {}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"nothing to put in":     nil,
		"must be PLATFORM=FILE": {"amd64=main.go"},
		`"linux/amd64" must be`: {"linux/amd64"},
		"no such file":          {"linux/amd64=none"},
	} {
		err := run(append([]string{"-checkout", "../..", "-o", filepath.Join(t.TempDir(), "image.tar")}, args...), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}
