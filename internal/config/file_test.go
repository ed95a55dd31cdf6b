package config

import (
	"bufio"
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected messages in testdata/bad anew")

// TestBadFiles: each file of testdata/bad is refused with exactly the message
// that its first line tells.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	const mark = "# "
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			const path = "/etc/exporter/config.yaml"
			tenants, err := Parse(File{path, text})
			if err == nil {
				t.Fatalf("is accepted: %+v", tenants)
			}
			got, named := strings.CutPrefix(err.Error(), path+": ")
			if !named {
				t.Errorf("the message does not name the file: %s", got)
			}
			if strings.Contains(got, "hush") {
				t.Errorf("the message tells a secret: %s", got)
			}
			want, _ := bufio.NewReader(bytes.NewReader(text)).ReadString('\n')
			if *update {
				text = bytes.TrimPrefix(text, []byte(want))
				if !strings.HasPrefix(want, mark) {
					text = append([]byte(want), text...)
				}
				if err := os.WriteFile(file, append([]byte(mark+got+"\n"), text...), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want = strings.TrimPrefix(strings.TrimSpace(want), mark); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
