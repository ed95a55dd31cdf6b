package client

import (
	"errors"
	"hash/fnv"
	"strconv"

	"m365_defender_exporter/internal/incident"
)

var (
	errCircle     = errors.New("the server's links to further pages lead in a circle")
	errNoProgress = errors.New("the server's links lead from one empty page to another")
)

// maxEmpty bounds the empty pages in a row.
const maxEmpty = 20

// along is the cursor of the next page by the server's link or, without one, by
// position. It fails where that leads nowhere: what was seen is compared with
// what was seen at the last power of two of steps, which finds any circle.
func (s *stretch) along(raw *rawPage) (incident.Cursor, error) {
	n := len(raw.rows)
	next := s.c
	next.Seen += n
	next.Link = raw.nextLink
	switch raw.nextLink {
	case "":
		next.Skip += n
	case s.c.Link:
		return next, errCircle
	}
	next.Empty++
	if n > 0 {
		next.Empty = 0
	}
	if next.Empty > maxEmpty {
		return next, errNoProgress
	}
	mark := raw.mark()
	if s.c.Steps > 0 && mark == s.c.Mark {
		return next, errCircle
	}
	next.Steps++
	if next.Steps&(next.Steps-1) == 0 {
		next.Mark = mark
	}
	return next, nil
}

// mark is what a page is known again by: its rows or, without any, its link.
func (p *rawPage) mark() uint64 {
	h := fnv.New64a()
	for i := range p.rows {
		_, _ = h.Write(strconv.AppendInt(nil, p.rows[i].ID, 10))
		_, _ = h.Write([]byte{' '})
	}
	if len(p.rows) == 0 {
		_, _ = h.Write([]byte(p.nextLink))
	}
	return h.Sum64()
}
