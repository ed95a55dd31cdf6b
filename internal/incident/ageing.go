package incident

import (
	"math"
	"time"
)

// Two things happen to an incident by the clock alone: an open one passes a
// threshold, of its age or of the time since its last update, and a closed one
// leaves the look-back. Each row has at most
// one valid entry in the queue of deadlines; an entry whose instant is not the
// row's due any more is void.

// enqueue makes sure that the row is looked at again no later than at its next
// deadline. A row that is due earlier than necessary is simply queued again
// then, which is cheaper than moving its entry with every update.
func (m *Mirror) enqueue(slot uint32, r *row) {
	next := m.nextDeadline(r)
	if next == noTime || (r.due != noTime && r.due <= next) {
		return
	}
	r.due = next
	m.deadlines.push(deadline{next, slot})
}

func (m *Mirror) nextDeadline(r *row) int64 {
	if r.status.Open() {
		next := int64(noTime)
		if r.created != noTime && int(r.age) < len(m.opts.Thresholds) {
			next = after(r.created, m.opts.Thresholds[r.age])
		}
		if last := r.lastKnown(); last != noTime && int(r.idle) < len(IdleThresholds) {
			if idle := after(last, IdleThresholds[r.idle]); next == noTime || idle < next {
				next = idle
			}
		}
		return next
	}
	if last := r.lastKnown(); m.opts.Lookback > 0 && last != noTime {
		return after(last, m.opts.Lookback)
	}
	return noTime
}

// after is so much later, at most the last instant that there is.
func after(at int64, d time.Duration) int64 { return at + min(int64(d), math.MaxInt64-max(at, 0)) }

// Advance lets time pass up to now: open incidents grow older, closed ones
// leave the look-back. It returns how many left. If now is before the instant that
// it was called with before, a clock was wrong: open incidents grow younger, which
// walks all rows; who has left stays away.
func (m *Mirror) Advance(now time.Time) (left int) {
	at := now.UnixNano()
	if at < m.at {
		m.rejuvenate()
	}
	m.at = at
	for len(m.deadlines) > 0 && m.deadlines[0].at <= at {
		d := m.deadlines.pop()
		r := m.row(d.slot)
		if !r.has(flagUsed) || r.due != d.at {
			continue
		}
		r.due = noTime
		if !r.status.Open() {
			if next := m.nextDeadline(r); next != noTime && next <= at {
				m.remove(d.slot)
				left++
				continue
			}
		} else {
			m.grow(r, at)
		}
		m.enqueue(d.slot, r)
	}
	return left
}

// rejuvenate makes all open rows younger than any threshold, and looks at every row
// again.
func (m *Mirror) rejuvenate() {
	m.deadlines = m.deadlines[:0]
	for c, chunk := range m.chunks {
		for i := range chunk {
			r := &chunk[i]
			if !r.has(flagUsed) {
				continue
			}
			if r.status.Open() {
				m.aged(r, 0, 0)
			}
			if r.due = m.nextDeadline(r); r.due != noTime {
				m.deadlines = append(m.deadlines, deadline{r.due, uint32(c*chunkRows + i)})
			}
		}
	}
	m.deadlines.init()
}

// grow moves an open row past the thresholds that it has reached.
func (m *Mirror) grow(r *row, at int64) {
	age, idle := m.agesAt(r, at)
	m.aged(r, age, idle)
}

// aged counts an open row among those that have passed so many thresholds.
func (m *Mirror) aged(r *row, age, idle uint8) {
	if r.created != noTime {
		older := &m.counts.older[r.severity][r.assigned()]
		older[r.age]--
		older[age]++
	}
	m.counts.idle[r.severity][r.idle]--
	m.counts.idle[r.severity][idle]++
	r.age, r.idle = age, idle
}

// agesAt are how many thresholds a row has passed at an instant.
func (m *Mirror) agesAt(r *row, at int64) (age, idle uint8) {
	age, idle = r.age, r.idle
	for r.created != noTime && int(age) < len(m.opts.Thresholds) && after(r.created, m.opts.Thresholds[age]) <= at {
		age++
	}
	for last := r.lastKnown(); last != noTime && int(idle) < len(IdleThresholds) && after(last, IdleThresholds[idle]) <= at; {
		idle++
	}
	return age, idle
}

// oldestOpen is when the oldest open incident of a severity was created, or
// noTime. Entries of incidents that are no longer open are removed on the way.
func (m *Mirror) oldestOpen(sev Severity) int64 {
	q := &m.oldest[sev]
	if len(*q) > 2*int(m.counts.open[sev])+1024 {
		m.compactOldest(sev)
	}
	for len(*q) > 0 {
		if m.oldestValid(sev, (*q)[0]) {
			return (*q)[0].at
		}
		m.unmarkOldest(sev, q.pop())
	}
	return noTime
}

func (m *Mirror) oldestValid(sev Severity, d deadline) bool {
	r := m.row(d.slot)
	return r.has(flagUsed) && r.severity == sev && r.created == d.at && r.status.Open()
}

func (m *Mirror) unmarkOldest(sev Severity, d deadline) {
	if r := m.row(d.slot); r.created == d.at {
		r.oldest &^= 1 << sev
	}
}

// compactOldest forgets the closed incidents behind a very old open one.
func (m *Mirror) compactOldest(sev Severity) {
	old := m.oldest[sev]
	kept := make(queue, 0, m.counts.open[sev])
	for _, d := range old {
		if m.oldestValid(sev, d) {
			kept = append(kept, d)
		} else {
			m.unmarkOldest(sev, d)
		}
	}
	kept.init()
	m.oldest[sev] = kept
}

// deadline is an instant in Unix nanoseconds and the row it concerns.
type deadline struct {
	at   int64
	slot uint32
}

// queue is a binary min-heap of deadlines. container/heap would allocate for
// every element.
type queue []deadline

func (q *queue) push(d deadline) {
	*q = append(*q, d)
	h := *q
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent].at <= h[i].at {
			return
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
}

func (q *queue) pop() deadline {
	h := *q
	top := h[0]
	h[0] = h[len(h)-1]
	*q = h[:len(h)-1]
	q.sink(0)
	return top
}

func (q *queue) init() {
	for i := len(*q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
}

func (q queue) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(q) {
			return
		}
		if right := child + 1; right < len(q) && q[right].at < q[child].at {
			child = right
		}
		if q[i].at <= q[child].at {
			return
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}
