package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// reachable returns what a heap dump of runtime/debug has of objects that are kept:
// those that lead, by pointers that are alive, from variables and goroutines. What
// the collector has not taken back yet, and the rest of a stack, is not kept.
// The format is that of the wiki page heapdump15-through-heapdump17 of Go.
func reachable(dump []byte) (contents []byte, err error) {
	const magic = "go1.7 heap dump\n"
	if !bytes.HasPrefix(dump, []byte(magic)) {
		return nil, fmt.Errorf("it begins with %.20q", dump)
	}
	defer func() {
		if recover() != nil {
			contents, err = nil, fmt.Errorf("it has another form")
		}
	}()
	h := heap{rest: dump[len(magic):]}
	for h.record() {
	}
	sort.Slice(h.objects, func(i, j int) bool { return h.objects[i].at < h.objects[j].at })
	for len(h.found) > 0 {
		last := len(h.found) - 1
		pointer := h.found[last]
		h.found = h.found[:last]
		i, exact := slices.BinarySearchFunc(h.objects, pointer, func(o object, p uint64) int {
			return int(min(max(int64(o.at)-int64(p), -1), 1))
		})
		if !exact {
			i--
		}
		if i < 0 || h.objects[i].seen || pointer >= h.objects[i].at+uint64(len(h.objects[i].contents)) {
			continue
		}
		o := &h.objects[i]
		o.seen = true
		contents = append(append(contents, o.contents...), '\n')
		h.follow(o.contents, o.pointers)
	}
	return contents, nil
}

type object struct {
	at       uint64
	contents []byte
	pointers []uint64
	seen     bool
}

// heap is what has been read of a dump.
type heap struct {
	rest    []byte
	objects []object
	found   []uint64 // pointers that are to be followed
}

func (h *heap) number() uint64 {
	v, n := binary.Uvarint(h.rest)
	h.rest = h.rest[n:] // fails after the end
	return v
}

func (h *heap) numbers(n int) {
	for range n {
		h.number()
	}
}

func (h *heap) text() []byte {
	n := h.number()
	text := h.rest[:n]
	h.rest = h.rest[n:]
	return text
}

// fields are the places of pointers.
func (h *heap) fields() (at []uint64) {
	for h.number() != 0 {
		at = append(at, h.number())
	}
	return at
}

func (h *heap) follow(contents []byte, pointers []uint64) {
	for _, at := range pointers {
		if at+8 <= uint64(len(contents)) {
			h.found = append(h.found, binary.NativeEndian.Uint64(contents[at:]))
		}
	}
}

// record reads one, and tells whether more come.
func (h *heap) record() bool {
	switch tag := h.number(); tag {
	case 0:
		return false
	case 1: // object
		h.objects = append(h.objects, object{at: h.number(), contents: h.text(), pointers: h.fields()})
	case 2: // another root
		h.text()
		h.found = append(h.found, h.number())
	case 3: // type
		h.numbers(2)
		h.text()
		h.number()
	case 4: // goroutine
		h.numbers(8)
		h.text()
		for range 4 { // its context, thread, deferred call and panic
			h.found = append(h.found, h.number())
		}
	case 5: // stack frame
		h.numbers(3)
		contents := h.text()
		h.numbers(3)
		h.text()
		h.follow(contents, h.fields())
	case 6: // parameters
		h.numbers(4)
		h.text()
		h.text()
		h.number()
	case 7, 11: // finalizer, and one that is to run
		for range 5 {
			h.found = append(h.found, h.number())
		}
	case 8, 17: // method table; sample of an allocation
		h.numbers(2)
	case 9: // thread
		h.numbers(3)
	case 10: // statistics
		h.numbers(18 + 256 + 1)
	case 12, 13: // variables
		h.number()
		contents := h.text()
		h.follow(contents, h.fields())
	case 14: // deferred call
		h.numbers(7)
	case 15: // panic
		h.numbers(6)
	case 16: // profile of allocations
		h.numbers(2)
		for range h.number() {
			h.text()
			h.text()
			h.number()
		}
		h.numbers(2)
	default:
		panic(tag)
	}
	return true
}
