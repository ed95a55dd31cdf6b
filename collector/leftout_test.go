package collector

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/internal/incident"
)

// moody is a source whose metric cannot be encoded while it is wrong.
type moody struct {
	*Func
	wrong bool
}

func (m *moody) samples(to *sink) {
	if m.wrong {
		to.metric(m.metric, prometheus.NewInvalidMetric(m.metric.desc, errors.New("out of sorts")))
	} else {
		m.Func.samples(to)
	}
}

// TestLeftOut: a tenant that cannot be encoded is left out as a whole, no other
// else is, and it is back as soon as it can be.
func TestLeftOut(t *testing.T) {
	for _, wanted := range formats {
		t.Run(title(wanted), func(t *testing.T) {
			tenants, _, _ := fleet(func() time.Time { return epoch })
			source := &moody{Func: NewFunc(QuotaLimit, func(emit func(float64, ...string)) { emit(1, "minute") })}
			tenants[2] = NewSeries(tenants[2].tenant, append([]Source{source}, tenants[2].sources...)...)
			others := slices.Concat(tenants[:2], tenants[3:])
			for _, wrong := range []bool{false, true, true, false} {
				source.wrong = wrong
				e, err := Encode(wanted, nil, tenants)
				if err != nil {
					t.Fatal(err)
				}
				var got, want bytes.Buffer
				if n, err := e.WriteTo(&got); err != nil || n != int64(got.Len()) || n == 0 {
					t.Errorf("%d bytes of %d, %v", n, got.Len(), err)
				}
				switch {
				case !wrong:
					write(t, &want, wanted, nil, tenants)
				case len(e.LeftOut) != 1 || !strings.Contains(e.LeftOut[0].Error(), "tenant "+tenants[2].tenant) || !strings.Contains(e.LeftOut[0].Error(), "out of sorts"):
					t.Errorf("left out: %v", e.LeftOut)
				default:
					write(t, &want, wanted, nil, others)
				}
				if !bytes.Equal(got.Bytes(), want.Bytes()) {
					t.Errorf("wrong=%v: got\n%.3000s\nwant\n%.3000s", wrong, got.String(), want.String())
				}
			}
		})
	}
}

// TestLeftOutHistogram: one that does not add up has no place but in text.
func TestLeftOutHistogram(t *testing.T) {
	for _, wanted := range formats {
		tenants, refreshers, _ := fleet(func() time.Time { return epoch })
		refreshers[0].snapshot.Flows.TimeToAssign[1] = incident.Histogram{Count: 5, Sum: 10}
		e, err := Encode(wanted, nil, tenants)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if wanted.Format.FormatType() == expfmt.TypeProtoDelim {
			want = 1
		}
		if got := len(e.LeftOut); got != want {
			t.Errorf("%s: %d left out, want %d: %v", title(wanted), got, want, e.LeftOut)
		}
	}
}

// TestNothingIsWrittenByHalves: a family of the process that cannot be encoded
// is an error before there is anything to write.
func TestNothingIsWrittenByHalves(t *testing.T) {
	tenants, _, _ := fleet(func() time.Time { return epoch })
	for _, name := range []string{"a_first", Namespace + "_between", "z_last"} {
		empty := []*dto.MetricFamily{{Name: &name, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{}}}}
		for _, wanted := range formats[:3] {
			if e, err := Encode(wanted, empty, tenants); err == nil || e != nil {
				t.Errorf("%s, %s: got %v", title(wanted), name, err)
			}
			wanted.Metric = func(other string) bool { return other != name }
			if _, err := Encode(wanted, empty, tenants); err != nil {
				t.Errorf("%s, %s is not wanted: got %v", title(wanted), name, err)
			}
		}
	}
}

// failing takes so many bytes and no more.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	if f.left -= n; n < len(p) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

// TestWriteTo tells how far it came.
func TestWriteTo(t *testing.T) {
	tenants, _, _ := fleet(func() time.Time { return epoch })
	e, err := Encode(formats[0], nil, tenants)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 1000, 10_000} {
		if n, err := e.WriteTo(&failing{size}); n != int64(size) || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %d, %v, want %d", n, err, size)
		}
	}
}
