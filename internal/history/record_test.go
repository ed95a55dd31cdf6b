package history

import (
	"strings"
	"testing"
)

// TestRecord: what is written has each value from the sample on that had it, keeps
// the lines of a histogram together, and leaves out the start times.
func TestRecord(t *testing.T) {
	const head = "# HELP a Help.\n# TYPE a gauge\n"
	const histogram = "# HELP h Help.\n# TYPE h histogram\n"
	r := newRecorder()
	for _, exposition := range []string{
		head + "a{x=\"1\"} 5\na{x=\"2\"} 7\n# EOF\n",
		head + "a{x=\"2\"} 7\n" + histogram + "h_bucket{le=\"1.0\",x=\"1\"} 1\nh_bucket{le=\"+Inf\",x=\"1\"} 2\nh_count{x=\"1\"} 2\nh_created{x=\"1\"} 9\n# EOF\n",
		head + "a{x=\"1\"} 6\na{x=\"2\"} 7\n" + histogram + "h_bucket{le=\"1.0\",x=\"1\"} 1\nh_bucket{le=\"+Inf\",x=\"1\"} 3\nh_count{x=\"1\"} 3\nh_created{x=\"1\"} 9\n# EOF\n",
		head + "a{x=\"1\"} 6\na{x=\"2\"} 7\n# EOF\n",
	} {
		r.record([]byte(exposition))
	}
	var got strings.Builder
	w := writer{Writer: &got, labels: `job="j"`, begin: 1000, step: 120}
	w.families([]*recorder{r})
	const want = head +
		"a{job=\"j\",x=\"1\"} 5 1000\n" +
		"a{job=\"j\",x=\"1\"} 6 1240\n" +
		"a{job=\"j\",x=\"1\"} 6 1360\n" +
		"a{job=\"j\",x=\"2\"} 7 1000\n" +
		"a{job=\"j\",x=\"2\"} 7 1240\n" + // has not changed in between
		"a{job=\"j\",x=\"2\"} 7 1360\n" +
		histogram +
		"h_bucket{job=\"j\",le=\"1.0\",x=\"1\"} 1 1120\n" +
		"h_bucket{job=\"j\",le=\"+Inf\",x=\"1\"} 2 1120\n" +
		"h_count{job=\"j\",x=\"1\"} 2 1120\n" +
		"h_bucket{job=\"j\",le=\"1.0\",x=\"1\"} 1 1240\n" +
		"h_bucket{job=\"j\",le=\"+Inf\",x=\"1\"} 3 1240\n" +
		"h_count{job=\"j\",x=\"1\"} 3 1240\n"
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
