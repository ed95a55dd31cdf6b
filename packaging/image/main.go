// Command image writes an OCI archive that holds the exporter for one or more
// platforms. It needs no container engine, no base image and no network, and
// the same input gives the same bytes.
//
//	image -o image.tar -license LICENSE linux/amd64=BINARY linux/arm64=BINARY
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

	specs "github.com/opencontainers/image-spec/specs-go/v1"
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
	license := flags.String("license", "LICENSE", "licence to carry")
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
	r := release{version: *version, revision: *revision, source: *source, created: time.Unix(*epoch, 0).UTC()}
	var err error
	if r.license, err = os.ReadFile(*license); err != nil {
		return err
	}
	for _, arg := range flags.Args() {
		name, file, ok := strings.Cut(arg, "=")
		goos, arch, slash := strings.Cut(name, "/")
		if !ok || !slash {
			return fmt.Errorf("%q must be PLATFORM=FILE, such as linux/amd64=m365_defender_exporter", arg)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		r.binaries = append(r.binaries, binary{specs.Platform{OS: goos, Architecture: arch}, text})
	}
	archive, err := r.archive()
	if err != nil {
		return err
	}
	return os.WriteFile(*out, archive, 0o644)
}
