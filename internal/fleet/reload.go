package fleet

import (
	"log/slog"
	"sync"
	"time"

	"m365_defender_exporter/internal/config"
)

// Reloader makes the fleet what the configuration says, whenever it is told to.
// It is safe for concurrent use.
type Reloader struct {
	fleet  *Fleet
	read   func() ([]config.Tenant, error)
	logger *slog.Logger

	mu   sync.Mutex // one at a time
	last struct {
		sync.Mutex
		err error
		at  time.Time // of the last success
	}
}

// NewReloader starts the tenants that are given. From then on it asks read, whose
// error is one line for the operator. Its own errors are those of Replace.
func NewReloader(f *Fleet, tenants []config.Tenant, read func() ([]config.Tenant, error), logger *slog.Logger) (*Reloader, error) {
	r := &Reloader{fleet: f, read: read, logger: logger}
	if _, err := f.Replace(tenants); err != nil {
		return nil, err
	}
	r.ended(nil)
	return r, nil
}

// Reload reads the configuration again. If anything is wrong with it the old one
// goes on as it is, and the error, which is that of reading or of Replace, says
// what. The outcome is logged here, and only here. It waits for a reload that is
// at work, and not for tenants that stop.
func (r *Reloader) Reload() error {
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

func (r *Reloader) apply() (Changes, error) {
	tenants, err := r.read()
	if err != nil {
		return Changes{}, err
	}
	return r.fleet.Replace(tenants)
}

func (r *Reloader) ended(err error) {
	r.last.Lock()
	defer r.last.Unlock()
	if r.last.err = err; err == nil {
		r.last.at = time.Now()
	}
}

// LastReload is when the configuration was last applied, and what was wrong with
// it when that was tried again since; nil if nothing was. It does not wait.
func (r *Reloader) LastReload() (at time.Time, err error) {
	r.last.Lock()
	defer r.last.Unlock()
	return r.last.at, r.last.err
}
