package history

import (
	"strconv"
	"time"

	"m365_defender_exporter/dashboards"
)

// recordings writes what the dashboards' rules would have recorded of the tenants,
// for no rule sees the past: the same values, less often, without the labels of the
// exporter.
func (w *writer) recordings(recorders []*recorder) {
	for _, of := range dashboards.Recordings() {
		w.text("# TYPE " + of.Record + " unknown\n")
		for _, r := range recorders {
			for _, s := range r.samplesOf(of.Sample) {
				w.recording(of.Record, s, r.samples)
			}
		}
	}
}

// samplesOf are the series of a name, in the order of their appearance.
func (r *recorder) samplesOf(name string) (all []*series) {
	for _, f := range r.families {
		for _, s := range f.series {
			if s.name == name {
				all = append(all, s)
			}
		}
	}
	return all
}

// recording writes one series.
func (w *writer) recording(name string, s *series, samples int) {
	const every = int64(dashboards.RecordedEvery / time.Second)
	at := 0
	for sample := range samples {
		for at < len(s.runs) && s.runs[at].from <= sample {
			at++
		}
		seconds := w.begin + int64(sample)*w.step
		if seconds%every == 0 && at > 0 && s.runs[at-1].value != "" {
			w.text(name + "{" + s.labels + "} " + s.runs[at-1].value + " " + strconv.FormatInt(seconds, 10) + "\n")
		}
	}
}
