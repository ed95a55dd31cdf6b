// Command image makes the image that the Dockerfile describes without a container
// engine, a base image or a network: an OCI archive for one or more platforms. The
// same input gives the same bytes. ko v0.19.1 could not: it puts the binary into
// /ko-app, and makes no volume and no directory that is not root's.
//
//	image -o image.tar -checkout DIRECTORY linux/amd64=BINARY linux/arm64=BINARY
//
// It is a module of its own so that the exporter does not depend on what only
// its packaging needs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "image: error:", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "image.tar", "archive to write")
	checkout := flags.String("checkout", ".", "directory with the Dockerfile and what it copies")
	version := flags.String("version", "dev", "version, also the tag")
	revision := flags.String("revision", "unknown", "revision of the source")
	source := flags.String("source", "", "address of the source, if there is one")
	epoch := flags.Int64("epoch", 0, "seconds since 1970 that everything is dated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("nothing to put in; name a platform and its binary: linux/amd64=FILE")
	}
	r := release{os.DirFS(*checkout), *version, *revision, *source, time.Unix(*epoch, 0).UTC()}
	index := v1.ImageIndex(empty.Index)
	for _, arg := range flags.Args() {
		name, path, ok := strings.Cut(arg, "=")
		platform, err := v1.ParsePlatform(name)
		if !ok || err != nil || platform.Architecture == "" {
			return fmt.Errorf("%q must be PLATFORM=FILE, such as linux/amd64=m365_defender_exporter", arg)
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if index, err = r.add(index, *platform, binary); err != nil {
			return err
		}
	}
	text, err := archive(index, *version, r.created)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, text, 0o644)
}
