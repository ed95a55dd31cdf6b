package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/internal/config"
)

// reloader applies the configuration, at the start and whenever it is told to.
type reloader struct {
	path    string        // empty: flags, in which nothing can change
	flags   config.Tenant // without a path
	tenants *tenants
	logger  *slog.Logger

	mu   sync.Mutex // one at a time
	last struct {
		sync.Mutex
		err error
		at  time.Time // of the last success
	}
}

// newReloader starts the tenants that the options name.
func newReloader(o *options, set *tenants, logger *slog.Logger) (*reloader, error) {
	r := &reloader{path: o.configFile, flags: o.tenant, tenants: set, logger: logger}
	configs := o.tenants
	if r.path == "" {
		configs = []config.Tenant{r.flags}
	}
	if _, err := set.replace(configs); err != nil {
		return nil, err
	}
	r.ended(nil)
	return r, nil
}

// run reads the configuration again. If anything is wrong with it the old one
// goes on as it is. The outcome is logged here, and only here.
func (r *reloader) run() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	did, err := r.apply()
	r.ended(err)
	if err != nil {
		r.logger.Error("The configuration was not reloaded, the old one goes on", "err", err)
		return err
	}
	r.logger.Info("The configuration was reloaded", "added", did.Added, "changed", did.Changed, "removed", did.Removed,
		"unchanged", did.Unchanged, "took", time.Since(began))
	return nil
}

func (r *reloader) apply() (changes, error) {
	configs := []config.Tenant{r.flags}
	if r.path != "" {
		var err error
		if configs, err = readConfig(r.path); err != nil {
			return changes{}, err
		}
	}
	return r.tenants.replace(configs)
}

func (r *reloader) ended(err error) {
	r.last.Lock()
	defer r.last.Unlock()
	if r.last.err = err; err == nil {
		r.last.at = time.Now()
	}
}

// reloadStatus is what the status page says of the configuration.
type reloadStatus struct {
	Successful bool      `json:"successful"`
	Error      string    `json:"error,omitempty"`
	At         time.Time `json:"last_success"`
	AtText     string    `json:"-"`
}

func (r *reloader) status(now time.Time) *reloadStatus {
	r.last.Lock()
	defer r.last.Unlock()
	at, text := instant(now, r.last.at)
	s := &reloadStatus{Successful: r.last.err == nil, At: *at, AtText: text}
	if r.last.err != nil {
		s.Error = r.last.err.Error()
	}
	return s
}

// collectors tell how the last reload went.
func (r *reloader) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		collector.NewFunc(collector.ReloadSuccessful, func(emit func(float64, ...string)) {
			r.last.Lock()
			defer r.last.Unlock()
			if r.last.err == nil {
				emit(1)
			} else {
				emit(0)
			}
		}),
		collector.NewFunc(collector.ReloadTimestamp, func(emit func(float64, ...string)) {
			r.last.Lock()
			defer r.last.Unlock()
			emit(float64(r.last.at.UnixMilli()) / 1000)
		}),
	}
}

// readConfig reads the configuration file. Its error is one line.
func readConfig(path string) ([]config.Tenant, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config.file: %w", err)
	}
	tenants, err := config.Parse(text, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("--config.file %s: %w", path, err)
	}
	return tenants, nil
}
