package history

import (
	"slices"
	"strconv"
	"strings"
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
			for _, s := range r.sums(&of) {
				w.recording(&of, s, r.samples)
			}
		}
	}
}

// sum are the series that are added up to one.
type sum struct {
	labels string
	of     []*series
}

// sums are those of a recording, in the order of their appearance.
func (r *recorder) sums(of *dashboards.Recording) (all []*sum) {
	byLabels := make(map[string]*sum)
	for _, f := range r.families {
		for _, s := range f.series {
			if s.name != of.Sample {
				continue
			}
			labels, wanted := kept(s.labels, of)
			if !wanted {
				continue
			}
			if byLabels[labels] == nil {
				byLabels[labels] = &sum{labels: labels}
				all = append(all, byLabels[labels])
			}
			byLabels[labels].of = append(byLabels[labels].of, s)
		}
	}
	return all
}

// kept are the labels that what is recorded has, and whether it is made of a series
// with these at all.
func kept(labels string, of *dashboards.Recording) (left string, wanted bool) {
	var all []string
	wanted = true
	for rest := labels; rest != ""; {
		name, quoted, _ := strings.Cut(rest, "=")
		end := 1
		for ; quoted[end] != '"'; end++ {
			if quoted[end] == '\\' {
				end++
			}
		}
		value := quoted[:end+1]
		rest = strings.TrimPrefix(quoted[end+1:], ",")
		if slices.Contains(of.By, name) {
			all = append(all, name+"="+value)
		}
		for _, m := range of.Only {
			wanted = wanted && (m.Label != name || (value == `"`+m.Value+`"`) != m.Not)
		}
	}
	return strings.Join(all, ","), wanted
}

// recording writes one series, at the first sample of each interval. What is recorded
// more often than it has to be there is written when it changes, like any other: see
// [longestGap].
func (w *writer) recording(of *dashboards.Recording, s *sum, samples int) {
	at, written := make([]int, len(s.of)), ""
	for sample := range samples {
		value := s.value(at, sample)
		seconds := w.begin + int64(sample)*w.step
		begins := func(interval int64) bool { return seconds/interval != (seconds-w.step)/interval }
		every := int64(of.Every / time.Second)
		if value != "" && begins(every) && (value != written || begins(max(longestGap, every))) {
			w.text(of.Record + "{" + s.labels + "} " + value + " " + strconv.FormatInt(seconds, 10) + "\n")
			written = value
		}
	}
}

// value is the sum at a sample; empty: there is none. at is where each series is.
func (s *sum) value(at []int, sample int) (text string) {
	total, n := 0.0, 0
	for i, one := range s.of {
		for at[i] < len(one.runs) && one.runs[at[i]].from <= sample {
			at[i]++
		}
		if at[i] > 0 && one.runs[at[i]-1].value != "" {
			text = one.runs[at[i]-1].value
			number, _ := strconv.ParseFloat(text, 64) // as the exporter wrote it
			total, n = total+number, n+1
		}
	}
	if n > 1 {
		text = strconv.FormatFloat(total, 'g', -1, 64)
	}
	return text
}
