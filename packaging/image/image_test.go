package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

func testRelease() *release {
	return &release{
		version:  "1.2.3",
		revision: "abc",
		created:  time.Unix(1_700_000_000, 0).UTC(),
		license:  []byte("as is"),
		binaries: []binary{
			{specs.Platform{OS: "linux", Architecture: "amd64"}, []byte("amd64")},
			{specs.Platform{OS: "linux", Architecture: "arm64"}, []byte("arm64")},
		},
	}
}

func untar(t *testing.T, r io.Reader) map[string]*tar.Header {
	t.Helper()
	headers := map[string]*tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		h.PAXRecords = map[string]string{"text": string(text)}
		headers[h.Name] = h
	}
}

func gunzip(t *testing.T, packed string) []byte {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func decode(t *testing.T, blob string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(blob), v); err != nil {
		t.Fatal(err)
	}
}

func TestArchive(t *testing.T) {
	first, err := testRelease().archive()
	if err != nil {
		t.Fatal(err)
	}
	again, err := testRelease().archive()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("the same input gave other bytes")
	}
	files := untar(t, bytes.NewReader(first))
	// blob follows a descriptor, and holds it to its word.
	blob := func(d specs.Descriptor) string {
		h := files["blobs/sha256/"+d.Digest.Encoded()]
		if h == nil {
			t.Fatalf("no blob %s", d.Digest)
		}
		text := h.PAXRecords["text"]
		if got := digest.FromString(text); got != d.Digest || d.Size != int64(len(text)) {
			t.Fatalf("a blob of %d bytes and digest %s is said to be %d and %s", len(text), got, d.Size, d.Digest)
		}
		return text
	}
	var top, index specs.Index
	decode(t, files["index.json"].PAXRecords["text"], &top)
	if got := top.Manifests[0].Annotations[specs.AnnotationRefName]; got != "1.2.3" {
		t.Errorf("tag: got %q", got)
	}
	decode(t, blob(top.Manifests[0]), &index)
	for i, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			if got := index.Manifests[i].Platform.Architecture; got != arch {
				t.Errorf("platform: got %q", got)
			}
			var manifest specs.Manifest
			decode(t, blob(index.Manifests[i]), &manifest)
			var config specs.Image
			decode(t, blob(manifest.Config), &config)
			if config.Architecture != arch || config.Config.User != "65532:65532" || config.Config.WorkingDir != state {
				t.Errorf("configuration: got %+v", config)
			}
			if config.Config.Labels[specs.AnnotationLicenses] != "Apache-2.0" || manifest.Annotations[specs.AnnotationRevision] != "abc" {
				t.Errorf("labels: got %v and %v", config.Config.Labels, manifest.Annotations)
			}
			root := map[string]*tar.Header{}
			for j, layer := range manifest.Layers {
				plain := gunzip(t, blob(layer))
				if got := digest.FromBytes(plain); got != config.RootFS.DiffIDs[j] {
					t.Errorf("layer %d: its digest is %s, not %s", j, got, config.RootFS.DiffIDs[j])
				}
				for name, h := range untar(t, bytes.NewReader(plain)) {
					root[name] = h
				}
			}
			if h := root[strings.TrimPrefix(program, "/")]; h == nil || h.Mode != 0o555 || h.PAXRecords["text"] != arch {
				t.Errorf("binary: got %+v", h)
			}
			if h := root[strings.TrimPrefix(state, "/")+"/"]; h == nil || h.Uid != nonRoot || h.Gid != nonRoot || h.Mode != 0o700 {
				t.Errorf("state directory: got %+v", h)
			}
			for name, h := range root {
				if writable := h.Mode&0o022 != 0; writable || !h.ModTime.Equal(testRelease().created) {
					t.Errorf("%s: mode %o, time %v", name, h.Mode, h.ModTime)
				}
			}
		})
	}
}

func TestUsage(t *testing.T) {
	license := filepath.Join(t.TempDir(), "LICENSE")
	if err := os.WriteFile(license, []byte("as is"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "nothing to put in"},
		{[]string{"amd64=" + license}, "must be PLATFORM=FILE"},
		{[]string{"linux/amd64"}, "must be PLATFORM=FILE"},
		{[]string{"linux/amd64=" + license + "x"}, "no such file"},
	} {
		err := run(append([]string{"-license", license, "-o", license + ".tar"}, tt.args...), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.args, err, tt.want)
		}
	}
}
