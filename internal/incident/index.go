package incident

import "hash/maphash"

// index finds rows by their ids: a hash table with linear probing. A map would
// take 45 bytes a row, half as much again as the row itself; this takes 8 to 13.
// Which rows collide cannot be foreseen by whoever chooses the ids.
type index struct {
	id      func(slot uint32) int64
	seed    maphash.Seed
	entries []entry
	n       int
}

// entry is a row, and so much of its hash that others need not be looked at.
type entry struct {
	hash uint32
	row  uint32 // its slot + 1; zero: none
}

// newIndex returns an index with room for so many rows, whose ids the function
// tells.
func newIndex(rows int, id func(slot uint32) int64) index {
	return index{id: id, seed: maphash.MakeSeed(), entries: make([]entry, roomFor(rows))}
}

// roomFor keeps a fifth of the entries free, so that few are passed on the way to
// one.
func roomFor(rows int) int { return rows + rows/4 + 8 }

func (x *index) hash(id int64) uint32 { return uint32(maphash.Comparable(x.seed, id)) }

// home is where the search for a hash begins.
func (x *index) home(hash uint32) int { return int(uint64(hash) * uint64(len(x.entries)) >> 32) }

func (x *index) after(i int) int {
	if i++; i < len(x.entries) {
		return i
	}
	return 0
}

// place is where the id's entry is, or where it would be.
func (x *index) place(hash uint32, id int64) int {
	i := x.home(hash)
	for e := x.entries[i]; e.row != 0 && (e.hash != hash || x.id(e.row-1) != id); e = x.entries[i] {
		i = x.after(i)
	}
	return i
}

// find returns the row with the id.
func (x *index) find(id int64) (slot uint32, ok bool) {
	row := x.entries[x.place(x.hash(id), id)].row
	return row - 1, row != 0
}

// add adds a row whose id is not there yet.
func (x *index) add(id int64, slot uint32) {
	if x.n++; roomFor(x.n) > len(x.entries) {
		old := x.entries
		x.entries = make([]entry, roomFor(x.n+x.n/4))
		for _, e := range old {
			if e.row != 0 {
				x.put(e)
			}
		}
	}
	x.put(entry{x.hash(id), slot + 1})
}

func (x *index) put(e entry) {
	i := x.home(e.hash)
	for x.entries[i].row != 0 {
		i = x.after(i)
	}
	x.entries[i] = e
}

// remove removes the id, which is there. Those that could now stand nearer to
// their home move up: a search ends at the first free entry.
func (x *index) remove(id int64) {
	x.n--
	free := x.place(x.hash(id), id)
	for i := x.after(free); x.entries[i].row != 0; i = x.after(i) {
		if home := x.home(x.entries[i].hash); x.distance(home, i) >= x.distance(free, i) {
			x.entries[free] = x.entries[i]
			free = i
		}
	}
	x.entries[free] = entry{}
}

// distance is how far it is forwards.
func (x *index) distance(from, to int) int {
	if d := to - from; d >= 0 {
		return d
	}
	return to - from + len(x.entries)
}
