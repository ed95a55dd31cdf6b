package quota

import (
	"reflect"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

func TestCancel(t *testing.T) {
	l := perMinute(t, 2)
	grants := []uint64{l.Take(at(0), pass.Delta).Grant, l.Take(at(0), pass.Sweep).Grant}
	l.Cancel(grants[0])
	l.Cancel(grants[0])
	l.Cancel(99)
	run(t, l, []ask{{at: 0}, {at: 0, wait: 60*s + ms, rule: Minute}})
	l.Settle(grants[0], at(s))
	l.Settle(grants[1], at(s))
	l.Cancel(grants[1])
	run(t, l, []ask{{at: s, wait: 60*s + ms, rule: Minute}})

	t.Run("after so long it may have been sent", func(t *testing.T) {
		l := perMinute(t, 1)
		g := l.Take(at(0), pass.Delta).Grant
		l.Usage(at(maxFlight))
		l.Cancel(g)
		run(t, l, []ask{{at: maxFlight, wait: maxFlight + time.Minute + ms, rule: Minute}})
	})
	t.Run("in the next log it is gone", func(t *testing.T) {
		l := perMinute(t, 2)
		spend(t, l, at(0), pass.Delta, 1)
		g := l.Take(at(s), pass.Delta).Grant
		if got := l.Log(at(s)).Grants; len(got) != 2 {
			t.Errorf("got %v, want the grant that is being recorded", got)
		}
		l.Cancel(g)
		if got, want := l.Log(at(s)).Grants, []Entry{{at(0), pass.Delta, false}}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestMerge: what both know of counts once.
func TestMerge(t *testing.T) {
	const m = time.Minute
	hourly := func() *Ledger { return newLedger(t, Options{Windows: []Window{{m, 50}, {time.Hour, 100}}, Share: 1}) }
	from := func(log Log) *Ledger {
		l := hourly()
		l.Restore(log.At, log)
		return l
	}
	used := func(l *Ledger, now time.Time) int { return l.Usage(now)[1].Used }
	merge := func(t *testing.T, l *Ledger, now time.Time, log Log, calls, total int) {
		t.Helper()
		if got := l.Merge(now, log); got != calls || used(l, now) != total {
			t.Errorf("got %d new of %d, want %d of %d", got, used(l, now), calls, total)
		}
	}
	first := hourly()
	spend(t, first, at(0), pass.Delta, 20)
	saved := first.Log(at(s))
	spend(t, first, at(2*s), pass.Delta, 3) // what the store has lost
	first.Take(at(3*s), pass.Sweep)
	handed := first.Log(at(4 * s))

	t.Run("late, twice, and an older one", func(t *testing.T) {
		second := from(saved)
		spend(t, second, at(5*s), pass.Delta, 2)
		merge(t, second, at(6*s), handed, 4, 26)
		merge(t, second, at(6*s), handed, 0, 26)
		merge(t, second, at(6*s), saved, 0, 26)
		if got := second.Log(at(6 * s)).Grants; !got[len(got)-1].InFlight {
			t.Errorf("got %v, want one in flight", got[len(got)-1])
		}
		third := from(second.Log(at(7 * s)))
		merge(t, third, at(8*s), handed, 0, 26)
		merge(t, third, at(8*s), second.Final(at(8*s)), 0, 26)
	})
	t.Run("what the owner knows already", func(t *testing.T) {
		second := from(handed)
		merge(t, second, at(5*s), handed, 0, 24)
		spend(t, first, at(6*s), pass.Delta, 1)
		merge(t, second, at(7*s), first.Log(at(7*s)), 1, 25)
	})
	t.Run("of others before it", func(t *testing.T) {
		second := from(handed)
		spend(t, second, at(5*s), pass.Delta, 1)
		third := from(saved) // has lost what first and second had added
		merge(t, third, at(6*s), second.Log(at(6*s)), 5, 25)
	})
	t.Run("of nobody known", func(t *testing.T) {
		other := hourly()
		spend(t, other, at(0), pass.First, 7)
		second := from(saved)
		merge(t, second, at(6*s), other.Log(at(6*s)), 7, 27)
		merge(t, second, at(6*s), Log{Grants: []Entry{{At: at(0)}}}, 1, 28)
		merge(t, from(second.Log(at(6*s))), at(6*s), second.Log(at(6*s)), 0, 28)
	})
	t.Run("in any order, of who knew of each other", func(t *testing.T) {
		check := from(saved)
		spend(t, check, at(5*s), pass.Delta, 1)
		one := check.Own(check.Log(at(5 * s)))
		spend(t, check, at(6*s), pass.Delta, 1)
		both := check.Own(check.Log(at(6 * s)))
		next := from(saved)
		merge(t, next, at(7*s), both, 2, 22)
		spend(t, next, at(8*s), pass.Delta, 1)
		last := next.Own(next.Log(at(8 * s)))
		if len(last.Grants) != 1 || len(last.Origins) != 1 {
			t.Errorf("got %v from %v, want its own alone", last.Grants, last.Origins)
		}
		owner := from(saved)
		merge(t, owner, at(9*s), last, 1, 21)
		merge(t, owner, at(9*s), both, 2, 23)
		merge(t, owner, at(9*s), one, 0, 23)
	})
	t.Run("a lost ledger", func(t *testing.T) {
		lost := hourly()
		lost.RestoreLost(at(0))
		second := from(lost.Log(at(s)))
		merge(t, second, at(6*s), lost.Log(at(6*s)), 0, 100)
		merge(t, hourly(), at(6*s), lost.Log(at(6*s)), 100, 100)
	})
	t.Run("a canceled grant counts rather twice than never", func(t *testing.T) {
		other := from(saved)
		other.Cancel(other.Take(at(5*s), pass.Delta).Grant)
		spend(t, other, at(6*s), pass.Delta, 1)
		merge(t, from(saved), at(7*s), other.Log(at(7*s)), 2, 22)
	})
	t.Run("from long ago", func(t *testing.T) {
		second := from(saved)
		now := at(3 * time.Hour)
		second.Log(now) // forgets
		merge(t, second, now, handed, 0, 0)
		merge(t, second, now, first.Log(now), 0, 0)
	})
	t.Run("blocks and limits", func(t *testing.T) {
		other, second := newLedger(t, Options{}), newLedger(t, Options{})
		other.Refused(at(0), Refusal{RetryAfter: "60", Message: perMinuteText})
		second.Merge(at(s), other.Log(at(s)))
		if u := second.Usage(at(s))[0]; !second.BlockedUntil().Equal(at(60*s)) || u.Window.Limit != 45 || u.Effective != 18 {
			t.Errorf("got %+v, blocked until %v", u, second.BlockedUntil())
		}
	})
}

// TestLater: a log of another clock, whose age a third one has told.
func TestLater(t *testing.T) {
	log := worn(t).Log(at(70 * s))
	skew := 5*time.Hour + 300*time.Microsecond
	moved := log.Later(skew)
	if got, want := moved.At, at(70*s+5*time.Hour+ms); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if again := moved.Later(-5*time.Hour - ms); !reflect.DeepEqual(again, log) {
		t.Errorf("got %+v\nwant %+v", again, log)
	}
	if got, want := log.Later(-1500*time.Microsecond).At, at(70*s-ms); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := (Log{}).Later(time.Hour); !got.RefusedAt.IsZero() || !got.BlockedUntil.IsZero() {
		t.Errorf("got %+v, want no instants where there were none", got)
	}
	later := newLedger(t, Options{})
	later.Restore(at(5*time.Hour+71*s), moved)
	before := newLedger(t, Options{})
	before.Restore(at(71*s), log)
	if got, want := later.Usage(at(5*time.Hour + 71*s))[1], before.Usage(at(71 * s))[1]; got.Used != want.Used || got.Effective != want.Effective {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
