package app

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// TestReplicaFlagsRefused: with a sentence.
func TestReplicaFlagsRefused(t *testing.T) {
	withoutEnvironment(t)
	for flag, want := range map[string]string{
		"--replica.patience=2s":     `--replica.patience is "2s"; it must be a duration from 3s to 5m`,
		"--replica.patience=301s":   `--replica.patience is "301s"; it must be a duration from 3s to 5m`,
		"--replica.patience=soon":   `--replica.patience is "soon"; it must be a duration from 3s to 5m`,
		"--replica.name=":           `--replica.name is ""; it must be 1 to 253 letters, digits and -._`,
		"--replica.name=a/b":        `--replica.name is "a/b"; it must be 1 to 253 letters, digits and -._`,
		"--replica.name=pod|1":      `--replica.name is "pod|1"; it must be 1 to 253 letters, digits and -._`,
		"--replica.name=exporter-0": "--replica.name is given together with --state.url=memory:; it must be one of them: that state is this process's alone",
		"--replica.patience=20s":    "--replica.patience is given together with --state.url=memory:; it must be one of them: that state is this process's alone",
	} {
		t.Run(flag, func(t *testing.T) {
			var stderr bytes.Buffer
			if got := Run(t.Context(), []string{"--demo", "--config.check", flag}, io.Discard, &stderr); got != ExitUsage {
				t.Errorf("exit code: got %d, want %d", got, ExitUsage)
			}
			if got := stderr.String(); !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestReplicaName is the host's unless it is given.
func TestReplicaName(t *testing.T) {
	o := &Options{}
	if err := o.validateReplica(true, nil); err != nil || o.replicaName == "" {
		t.Errorf("got %q, %v", o.replicaName, err)
	}
	o = &Options{replicaName: "exporter-0"}
	if err := o.validateReplica(true, []string{"replica.name", "replica.patience"}); err != nil || o.replicaName != "exporter-0" {
		t.Errorf("got %q, %v", o.replicaName, err)
	}
	withoutEnvironment(t)
	o, err := Parse([]string{"--demo"}, io.Discard, io.Discard)
	if err != nil || o.patience != 10*time.Second {
		t.Errorf("got %v, %v", o.patience, err)
	}
}
