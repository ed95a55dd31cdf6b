package history

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// recorder keeps what a tenant's series were at each sample. Most do not change
// from one to the next, so that what is kept is small.
type recorder struct {
	process  []*dto.MetricFamily // is recorded, too
	text     bytes.Buffer
	samples  int // taken so far
	families map[string]*family
	series   map[string]*series // by name and labels
	last     []line             // of the last sample
}

// family is a metric with its head, and its series in the order of their first
// appearance.
type family struct {
	name, head string
	series     []*series
}

// series has its values, each from some sample on.
type series struct {
	name, labels string
	metric       string // the labels without that of a bucket: what belongs together
	runs         []run
	seen         int // one more than the sample that had it last
}

// run is a value from a sample on; empty: the series was not there.
type run struct {
	from  int
	value string
}

// line is one of an exposition.
type line struct {
	text   []byte
	series *series
}

func newRecorder() *recorder {
	return &recorder{families: make(map[string]*family), series: make(map[string]*series)}
}

// record takes the exposition of one sample.
func (r *recorder) record(exposition []byte) {
	at := r.samples
	r.samples++
	var lines []line
	var of *family
	for text := range bytes.Lines(exposition) {
		if text[0] == '#' {
			of = r.head(of, string(text))
			continue
		}
		var s *series
		if n := len(lines); n < len(r.last) && bytes.Equal(text, r.last[n].text) {
			s = r.last[n].series // unchanged
		} else if s = r.value(of, at, string(bytes.TrimRight(text, "\n"))); s == nil {
			continue
		}
		s.seen = r.samples
		lines = append(lines, line{text, s})
	}
	for _, l := range r.last {
		if l.series.seen == at {
			l.series.runs = append(l.series.runs, run{at, ""})
		}
	}
	for i := range lines {
		// The text is the buffer's, which is used again.
		if i < len(r.last) && bytes.Equal(lines[i].text, r.last[i].text) {
			lines[i].text = r.last[i].text
		} else {
			lines[i].text = bytes.Clone(lines[i].text)
		}
	}
	r.last = lines
}

// head takes a line of the head of a family, which it returns.
func (r *recorder) head(before *family, text string) *family {
	words := strings.SplitN(text, " ", 4) // # HELP name …
	if len(words) < 4 {
		return before // the end
	}
	f := r.families[words[2]]
	if f == nil {
		f = &family{name: words[2]}
		r.families[f.name] = f
	}
	if len(f.series) == 0 {
		f.head += text
	}
	return f
}

// value takes a line that has changed. It returns no series if the line is not
// one of a value but of when it began.
func (r *recorder) value(of *family, at int, text string) *series {
	space := strings.LastIndexByte(text, ' ')
	key, value := text[:space], text[space+1:]
	s := r.series[key]
	if s == nil {
		s = newSeries(key)
		if strings.HasSuffix(s.name, "_created") {
			return nil
		}
		r.series[key] = s
		of.series = append(of.series, s)
	}
	if n := len(s.runs); n == 0 || s.runs[n-1].value != value {
		s.runs = append(s.runs, run{at, value})
	}
	return s
}

func newSeries(key string) *series {
	s := &series{}
	s.name, s.labels, _ = strings.Cut(strings.TrimSuffix(key, "}"), "{")
	s.metric = s.labels
	if bucket := strings.Index(s.labels, `le="`); strings.HasSuffix(s.name, "_bucket") && bucket >= 0 {
		end := bucket + len(`le="`) + strings.IndexByte(s.labels[bucket+len(`le="`):], '"') + 1
		s.metric = strings.Trim(s.labels[:bucket]+strings.TrimPrefix(s.labels[end:], ","), ",")
	}
	return s
}

// longestGap is how far apart two samples of a series may be, in seconds:
// Prometheus takes one for gone after five minutes. What has not changed is not
// written more often, which saves most of the file.
const longestGap = 240

// writer writes samples at every step from an instant on, in seconds. An error is
// kept by what is below it.
type writer struct {
	io.Writer
	labels      string
	begin, step int64
	line        []byte
}

func (w *writer) text(s string) { _, _ = io.WriteString(w.Writer, s) }

// scraped writes what Prometheus adds to each scrape.
func (w *writer) scraped(samples int) {
	w.text("# HELP up Whether the exporter was scraped.\n# TYPE up gauge\n")
	up := &series{name: "up", runs: []run{{0, "1"}}, seen: samples}
	w.metric([]*series{up}, samples)
}

// families writes those of all tenants by name.
func (w *writer) families(recorders []*recorder) {
	all := make(map[string]string)
	for _, r := range recorders {
		for _, f := range r.families {
			all[f.name] = cmp.Or(all[f.name], f.head)
		}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w.text(all[name])
		for _, r := range recorders {
			if f := r.families[name]; f != nil {
				w.family(f, r.samples)
			}
		}
	}
}

// family writes one metric after the other: a histogram's buckets, sum and count
// of an instant belong together.
func (w *writer) family(f *family, samples int) {
	metrics := make(map[string][]*series)
	var order []string
	for _, s := range f.series {
		if metrics[s.metric] == nil {
			order = append(order, s.metric)
		}
		metrics[s.metric] = append(metrics[s.metric], s)
	}
	for _, metric := range order {
		w.metric(metrics[metric], samples)
	}
}

// metric writes series that belong together, instant by instant.
func (w *writer) metric(of []*series, samples int) {
	heads, at := make([]string, len(of)), make([]int, len(of))
	every := max(1, int(longestGap/w.step))
	for i, s := range of {
		labels := w.labels
		if s.labels != "" {
			labels += "," + s.labels
		}
		heads[i] = s.name + "{" + labels + "} "
	}
	for sample := range samples {
		wanted := sample%every == 0 || sample == samples-1
		for i, s := range of {
			for at[i] < len(s.runs) && s.runs[at[i]].from <= sample {
				at[i]++
				wanted = true
			}
		}
		if !wanted {
			continue
		}
		seconds := w.begin + int64(sample)*w.step
		for i, s := range of {
			if at[i] == 0 || s.runs[at[i]-1].value == "" {
				continue
			}
			w.line = append(append(w.line[:0], heads[i]...), s.runs[at[i]-1].value...)
			w.line = strconv.AppendInt(append(w.line, ' '), seconds, 10)
			_, _ = w.Write(append(w.line, '\n'))
		}
	}
}
