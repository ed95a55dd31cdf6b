package collector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protowire"
)

// Series are all of one tenant, kept encoded from scrape to scrape: what has
// not changed since the last one is not written again. A scrape of many
// tenants would otherwise take seconds, spent on the same bytes as before.
// Series are safe for concurrent use.
type Series struct {
	tenant  string
	sources []Source

	mu    sync.Mutex
	forms [len(encoders)]form
}

// form is a tenant's series in one format.
type form struct {
	versions []any    // of the sources
	chunks   [][]byte // by metric; replaced, never changed
	idle     int      // scrapes in other formats since the last in this one
}

// maxIdle is how many scrapes in other formats a form outlives: somebody has
// looked once with a browser.
const maxIdle = 10

// NewSeries returns the series of a tenant, which the sources collect.
func NewSeries(tenant string, sources ...Source) *Series {
	return &Series{tenant: tenant, sources: sources}
}

// Sources are what collects the series, for a registry.
func (s *Series) Sources() []Source { return s.sources }

// encoded returns the series in a format by metric. The caller must not change
// it; scratch is for the encoder.
func (s *Series) encoded(format int, scratch [][]byte) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.forms {
		if s.forms[other].idle++; s.forms[other].idle > maxIdle {
			s.forms[other] = form{}
		}
	}
	f := &s.forms[format]
	f.idle = 0
	if f.versions == nil {
		f.versions = make([]any, len(s.sources))
	}
	fresh := false
	for i, source := range s.sources {
		// Read before the samples: a change meanwhile is written once more.
		version := source.version()
		if version != nil && version == f.versions[i] {
			continue
		}
		for _, m := range source.metrics() {
			scratch[m.index] = scratch[m.index][:0]
		}
		out := sink{encoder: encoders[format], tenant: s.tenant, out: scratch}
		source.samples(&out)
		if out.err != nil {
			return nil, fmt.Errorf("tenant %s: %w", s.tenant, out.err)
		}
		f.versions[i] = version
		for _, m := range source.metrics() {
			if f.chunks != nil && bytes.Equal(f.chunks[m.index], scratch[m.index]) {
				continue
			}
			if !fresh {
				f.chunks, fresh = append(make([][]byte, 0, len(table)), f.chunks...)[:len(table)], true
			}
			f.chunks[m.index] = bytes.Clone(scratch[m.index])
		}
	}
	return f.chunks, nil
}

// Write writes an exposition: the families of the process, sorted by name, and
// the series of the tenants, in a format for which [Encodes] holds. Only what
// is wanted is written; nil: everything.
func Write(w io.Writer, format expfmt.Format, process []*dto.MetricFamily, tenants []*Series, wanted func(name string) bool) error {
	kind := encoderOf(format)
	all, err := encodeAll(kind, tenants)
	if err != nil {
		return err
	}
	library := expfmt.NewEncoder(w, format)
	for _, m := range byName() {
		for len(process) > 0 && process[0].GetName() < m.Name {
			if wanted == nil || wanted(process[0].GetName()) {
				if err := library.Encode(process[0]); err != nil {
					return err
				}
			}
			process = process[1:]
		}
		if wanted == nil || wanted(m.Name) {
			if err := writeFamily(w, kind, m, all); err != nil {
				return err
			}
		}
	}
	for _, family := range process {
		if wanted == nil || wanted(family.GetName()) {
			if err := library.Encode(family); err != nil {
				return err
			}
		}
	}
	if closer, ok := library.(expfmt.Closer); ok {
		return closer.Close() // the end mark of OpenMetrics
	}
	return nil
}

// encodeAll brings all tenants' series up to date, on every processor: after a
// pause everything has changed, and somebody waits.
func encodeAll(kind int, tenants []*Series) ([][][]byte, error) {
	workers := min(runtime.GOMAXPROCS(0), len(tenants))
	all, errs := make([][][]byte, len(tenants)), make([]error, workers)
	var next atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			scratch := make([][]byte, len(table))
			for i := int(next.Add(1)) - 1; i < len(tenants) && errs[w] == nil; i = int(next.Add(1)) - 1 {
				all[i], errs[w] = tenants[i].encoded(kind, scratch)
			}
		})
	}
	group.Wait()
	return all, errors.Join(errs...)
}

func writeFamily(w io.Writer, kind int, m *Metric, all [][][]byte) error {
	length := 0
	for _, chunks := range all {
		length += len(chunks[m.index])
	}
	if length == 0 {
		return nil
	}
	head, err := encoders[kind].head(m)
	if err != nil {
		return err
	}
	if _, delimited := encoders[kind].(protoEncoder); delimited {
		head = append(protowire.AppendVarint(nil, uint64(len(head)+length)), head...)
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, chunks := range all {
		if len(chunks[m.index]) == 0 {
			continue
		}
		if _, err := w.Write(chunks[m.index]); err != nil {
			return err
		}
	}
	return nil
}

func byName() []*Metric {
	return slices.SortedFunc(slices.Values(table), func(a, b *Metric) int { return strings.Compare(a.Name, b.Name) })
}
