package app

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/fleet"
)

// replicaFlags are of one of several exporters that share a state. There are none
// for their number or for how the tenants are divided: that follows from who
// lives.
func replicaFlags(app *kingpin.Application, o *Options) {
	app.Flag("replica.name", "Name of this replica among those that share the state; it stays the same over restarts. Default: the host name.").
		SetValue(&value{name: "replica.name", set: func(text string) error {
			o.replicaName = text
			return checkReplicaName(text)
		}})
	o.patience = fleet.DefaultPatience
	app.Flag("replica.patience", "How long a silent replica is waited for before its tenants are taken over, 3s to 5m.").
		Default("10s").SetValue(&value{name: "replica.patience", set: func(text string) error {
		if config.Set(&o.patience, text) != nil || o.patience < fleet.MinPatience || o.patience > fleet.MaxPatience {
			return errPatience
		}
		return nil
	}, text: func() string { return config.Format(&o.patience) }})
}

var (
	errPatience    = errors.New("a duration from 3s to 5m")
	errReplicaName = errors.New("1 to 253 letters, digits and -._")
)

// checkReplicaName takes what a host may be called.
func checkReplicaName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	if name == "" || len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		return errReplicaName
	}
	return nil
}

// validateReplica refuses flags that mean nothing for the state, and gives the
// replica its name.
func (o *Options) validateReplica(shared bool, given []string) error {
	if !shared {
		for _, flag := range given {
			if strings.HasPrefix(flag, "replica.") {
				return fmt.Errorf("--%s is given together with --state.url=%s; it must be one of them: that state is this process's alone", flag, o.stateURL())
			}
		}
		return nil
	}
	if o.replicaName != "" {
		return nil
	}
	name, err := os.Hostname()
	if err == nil {
		err = checkReplicaName(name)
	}
	if err != nil {
		return fmt.Errorf("--replica.name is not given, and the host name %q cannot take its place; it must be %w", name, errReplicaName)
	}
	o.replicaName = name
	return nil
}
