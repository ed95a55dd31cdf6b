package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	_ "crypto/sha256" // what package digest counts with
	"encoding/json"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// file is a file or a directory of a layer. Its name is absolute.
type file struct {
	name  string
	dir   bool
	mode  int64
	owner int // user and group
	text  []byte
}

// tarball writes the files in their order, all dated the same.
func tarball(files []file, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     strings.TrimPrefix(f.name, "/"),
			Mode:     f.mode,
			Uid:      f.owner,
			Gid:      f.owner,
			Size:     int64(len(f.text)),
			ModTime:  at,
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
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// archive is an OCI image layout in the making.
type archive struct {
	at    time.Time
	blobs map[digest.Digest][]byte
}

func newArchive(at time.Time) *archive {
	return &archive{at: at, blobs: map[digest.Digest][]byte{}}
}

// add keeps a blob. The same blob twice is kept once.
func (a *archive) add(mediaType string, blob []byte) specs.Descriptor {
	d := digest.FromBytes(blob)
	a.blobs[d] = blob
	return specs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(blob))}
}

func (a *archive) json(mediaType string, v any) (specs.Descriptor, error) {
	blob, err := json.Marshal(v)
	if err != nil {
		return specs.Descriptor{}, err
	}
	return a.add(mediaType, blob), nil
}

// layer adds a compressed layer. diff is the digest of what it is uncompressed.
func (a *archive) layer(files []file, at time.Time) (d specs.Descriptor, diff digest.Digest, err error) {
	plain, err := tarball(files, at)
	if err != nil {
		return d, "", err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return d, "", err
	}
	if _, err := w.Write(plain); err != nil {
		return d, "", err
	}
	if err := w.Close(); err != nil {
		return d, "", err
	}
	return a.add(specs.MediaTypeImageLayerGzip, packed.Bytes()), digest.FromBytes(plain), nil
}

// close is the whole layout as a tar archive.
func (a *archive) close(top specs.Index) ([]byte, error) {
	index, err := json.Marshal(top)
	if err != nil {
		return nil, err
	}
	layout, err := json.Marshal(specs.ImageLayout{Version: specs.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	files := []file{
		{name: specs.ImageLayoutFile, mode: 0o644, text: layout},
		{name: specs.ImageIndexFile, mode: 0o644, text: index},
		{name: specs.ImageBlobsDir, dir: true, mode: 0o755},
		{name: path.Join(specs.ImageBlobsDir, "sha256"), dir: true, mode: 0o755},
	}
	fixed := len(files)
	for d, blob := range a.blobs {
		files = append(files, file{name: path.Join(specs.ImageBlobsDir, "sha256", d.Encoded()), mode: 0o644, text: blob})
	}
	slices.SortFunc(files[fixed:], func(x, y file) int { return cmp.Compare(x.name, y.name) })
	return tarball(files, a.at)
}
