package collector

import (
	"bytes"
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

// maxIdle is how many scrapes in other formats a form outlives: a browser has
// looked once.
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

// Exposition is what a scrape is answered with. It is complete before its first
// byte is written: what cannot be encoded is known in time to say so.
type Exposition struct {
	// LeftOut says why tenants are not in it, with one error for each. All other
	// tenants are.
	LeftOut []error

	parts   []part
	tenants [][][]byte // by tenant and metric
}

// part is one family.
type part struct {
	head   []byte
	metric *Metric // of the tenants; nil: the head is everything
}

// Wanted is what a scrape asks for.
type Wanted struct {
	// Format is one for which [Encodes] holds.
	Format expfmt.Format
	// CreatedLines adds the start times to OpenMetrics, as lines _created.
	CreatedLines bool
	// Metric tells which metrics are wanted; nil: all.
	Metric func(name string) bool
}

func (w *Wanted) has(name string) bool { return w.Metric == nil || w.Metric(name) }

// Encode makes an exposition of what is wanted of the families of the process,
// sorted by name, and of the series of the tenants. An error says that a family
// of the process cannot be encoded, or what is said of a metric: then there is
// none.
func Encode(wanted Wanted, process []*dto.MetricFamily, tenants []*Series) (*Exposition, error) {
	e, kind := &Exposition{}, encoderOf(wanted.Format, wanted.CreatedLines)
	e.encodeTenants(kind, tenants)
	var buffer bytes.Buffer
	library := expfmt.NewEncoder(&buffer, wanted.Format, createdLines(wanted.CreatedLines)...)
	take := func(err error) error {
		if err == nil && buffer.Len() > 0 {
			e.parts = append(e.parts, part{head: bytes.Clone(buffer.Bytes())})
			buffer.Reset()
		}
		return err
	}
	families := func(before string) error {
		for ; len(process) > 0 && (before == "" || process[0].GetName() < before); process = process[1:] {
			if wanted.has(process[0].GetName()) {
				if err := take(library.Encode(process[0])); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, m := range byName() {
		if err := families(m.Name); err != nil {
			return nil, err
		}
		if wanted.has(m.Name) {
			if err := e.add(kind, m); err != nil {
				return nil, err
			}
		}
	}
	if err := families(""); err != nil {
		return nil, err
	}
	if closer, ok := library.(expfmt.Closer); ok {
		if err := take(closer.Close()); err != nil { // the end mark of OpenMetrics
			return nil, err
		}
	}
	return e, nil
}

// encodeTenants brings all tenants' series up to date, on every processor: after
// a pause everything has changed, and a scrape waits.
func (e *Exposition) encodeTenants(kind int, tenants []*Series) {
	all, errs := make([][][]byte, len(tenants)), make([]error, len(tenants))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(tenants)) {
		group.Go(func() {
			scratch := make([][]byte, len(table))
			for i := int(next.Add(1)) - 1; i < len(tenants); i = int(next.Add(1)) - 1 {
				all[i], errs[i] = tenants[i].encoded(kind, scratch)
			}
		})
	}
	group.Wait()
	for i, err := range errs {
		switch {
		case err != nil:
			e.LeftOut = append(e.LeftOut, err)
		case len(all[i]) > 0:
			e.tenants = append(e.tenants, all[i])
		}
	}
}

// add adds a metric of the tenants, if any of them has it.
func (e *Exposition) add(kind int, m *Metric) error {
	length := 0
	for _, chunks := range e.tenants {
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
	e.parts = append(e.parts, part{head, m})
	return nil
}

// WriteTo implements io.WriterTo. Only w can fail.
func (e *Exposition) WriteTo(w io.Writer) (n int64, err error) {
	write := func(b []byte) {
		if err == nil && len(b) > 0 {
			var k int
			k, err = w.Write(b)
			n += int64(k)
		}
	}
	for _, p := range e.parts {
		write(p.head)
		if p.metric == nil {
			continue
		}
		for _, chunks := range e.tenants {
			write(chunks[p.metric.index])
		}
	}
	return n, err
}

func byName() []*Metric {
	return slices.SortedFunc(slices.Values(table), func(a, b *Metric) int { return strings.Compare(a.Name, b.Name) })
}
