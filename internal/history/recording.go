package history

import (
	"slices"
	"strconv"
	"strings"

	"m365_defender_exporter/dashboards"
)

// recordEvery is how far apart the samples of recorded series are, in seconds: no
// rule sees the past, so that it is written with what the dashboards' rules would
// have recorded.
const recordEvery = 15 * 60

// recordings writes what rules record of the tenants.
func (w *writer) recordings(recorders []*recorder) {
	for _, of := range dashboards.Recordings() {
		w.text("# TYPE " + of.Record + " unknown\n")
		for _, r := range recorders {
			w.recording(of, r)
		}
	}
}

// recording writes the sums of one tenant, series by series.
func (w *writer) recording(of dashboards.Recording, r *recorder) {
	sums := make(map[string][]*series)
	var order []string
	for _, f := range r.families {
		for _, s := range f.series {
			if s.name != of.Sample {
				continue
			}
			key := only(s.labels, of.By)
			if sums[key] == nil {
				order = append(order, key)
			}
			sums[key] = append(sums[key], s)
		}
	}
	slices.Sort(order)
	for _, key := range order {
		for sample := range r.samples {
			seconds := w.begin + int64(sample)*w.step
			if seconds%recordEvery != 0 {
				continue
			}
			if sum, ok := sumAt(sums[key], sample); ok {
				w.text(of.Record + "{" + key + "} " + strconv.FormatFloat(sum, 'g', -1, 64) + " " + strconv.FormatInt(seconds, 10) + "\n")
			}
		}
	}
}

// sumAt adds up what series were at a sample; false if none was there.
func sumAt(of []*series, sample int) (sum float64, ok bool) {
	for _, s := range of {
		n, found := slices.BinarySearchFunc(s.runs, sample, func(r run, at int) int { return r.from - at })
		if !found {
			n--
		}
		if n < 0 || s.runs[n].value == "" {
			continue
		}
		v, err := strconv.ParseFloat(s.runs[n].value, 64)
		if err != nil {
			continue // it is the exposition's own text
		}
		sum, ok = sum+v, true
	}
	return sum, ok
}

// only keeps some of the labels, in their order.
func only(labels string, keep []string) string {
	var kept []string
	for labels != "" {
		name, rest, _ := strings.Cut(labels, `="`)
		end := 0
		for ; end < len(rest) && rest[end] != '"'; end++ {
			if rest[end] == '\\' {
				end++
			}
		}
		if slices.Contains(keep, name) {
			kept = append(kept, name+`="`+rest[:end]+`"`)
		}
		labels = strings.TrimPrefix(rest[min(end+1, len(rest)):], ",")
	}
	return strings.Join(kept, ",")
}
