package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bolt trusts its pages: a damaged one makes it panic, sometimes in a goroutine
// of its own, follow pages in a circle until the stack is full, or hand out the
// same page twice. None of that can be caught. So every page is looked at here
// before bolt gets to see the file. What the values say is not checked: they
// carry checksums.

var errDamaged = errors.New("it is damaged")

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// The layout of bolt's pages, version 2.
const (
	// pageSize is ours and not the machine's, so that a file can be moved.
	pageSize    = 4096
	pageHeader  = 16
	elementSize = 16
	metaSize    = 64

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	manyIDs = 0xFFFF // the count of a freelist page is elsewhere
)

// native is the order of bytes that bolt writes: the machine's.
var native = binary.NativeEndian

type verifier struct {
	r     io.ReaderAt
	size  int64
	pages uint64 // the first page that was never used
	used  []bool // pages that were met
}

// verify is nil if every page of the file is as it should be.
func verify(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	v := &verifier{r: file, size: info.Size()}
	root, freelist, err := v.meta()
	if err != nil {
		return err
	}
	if err := v.tree(root, 0); err != nil {
		return err
	}
	return v.freelist(freelist)
}

// meta reads the younger of the two meta pages that are whole, as bolt does.
func (v *verifier) meta() (root, freelist uint64, err error) {
	var younger uint64
	found := false
	for i := range int64(2) {
		buf := make([]byte, pageHeader+metaSize)
		if _, err := v.r.ReadAt(buf, i*pageSize); err != nil {
			continue
		}
		m := buf[pageHeader:]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:metaSize-8]) // a hash cannot fail
		if native.Uint32(m) != boltMagic || native.Uint32(m[4:]) != boltVersion || native.Uint64(m[56:]) != sum.Sum64() {
			continue
		}
		if size := native.Uint32(m[8:]); size != pageSize {
			return 0, 0, damagedf("its pages have %d bytes", size)
		}
		if txid := native.Uint64(m[48:]); !found || txid > younger {
			found, younger = true, txid
			root, freelist, v.pages = native.Uint64(m[16:]), native.Uint64(m[32:]), native.Uint64(m[40:])
		}
	}
	if !found {
		return 0, 0, damagedf("no meta page is whole")
	}
	if v.pages > uint64(v.size)/pageSize {
		return 0, 0, damagedf("%d pages in %d bytes: it was cut off", v.pages, v.size)
	}
	v.used = make([]bool, v.pages)
	return root, freelist, nil
}

// page reads a page with all that overflows from it, and notes that it is used.
func (v *verifier) page(id uint64, buf []byte) ([]byte, error) {
	if id < 2 || id >= v.pages {
		return nil, damagedf("page %d of %d", id, v.pages)
	}
	buf = grow(buf, pageSize)
	if _, err := v.r.ReadAt(buf, int64(id*pageSize)); err != nil {
		return nil, err
	}
	more := uint64(native.Uint32(buf[12:]))
	if got := native.Uint64(buf); got != id || id+more >= v.pages {
		return nil, damagedf("page %d says that it is %d, and %d more", id, got, more)
	}
	for i := id; i <= id+more; i++ {
		if v.used[i] {
			return nil, damagedf("page %d is used twice", i)
		}
		v.used[i] = true
	}
	if more > 0 {
		buf = grow(buf, int((more+1)*pageSize))
		if _, err := v.r.ReadAt(buf, int64(id*pageSize)); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

func grow(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}

// tree checks the pages of one bucket.
func (v *verifier) tree(root uint64, depth int) error {
	todo := []uint64{root}
	var buf []byte
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		var err error
		if buf, err = v.page(id, buf); err != nil {
			return err
		}
		children, err := v.node(id, buf, depth)
		if err != nil {
			return err
		}
		todo = append(todo, children...)
	}
	return nil
}

// node checks a branch or a leaf, and the buckets that lie in it.
func (v *verifier) node(id uint64, buf []byte, depth int) (children []uint64, err error) {
	flags, count := native.Uint16(buf[8:]), int(native.Uint16(buf[10:]))
	if flags != branchPage && flags != leafPage || flags == branchPage && count == 0 {
		return nil, damagedf("page %d is of kind %#x with %d entries", id, flags, count)
	}
	if pageHeader+count*elementSize > len(buf) {
		return nil, damagedf("page %d has %d entries", id, count)
	}
	var last []byte
	for i := range count {
		at := pageHeader + i*elementSize
		e := buf[at : at+elementSize]
		key, value, ok := element(buf, at, flags)
		if !ok || i > 0 && bytes.Compare(last, key) >= 0 {
			return nil, damagedf("page %d: entry %d", id, i)
		}
		last = key
		switch {
		case flags == branchPage:
			children = append(children, native.Uint64(e[8:]))
		case native.Uint32(e)&bucketFlag != 0:
			if err := v.bucket(id, value, depth+1); err != nil {
				return nil, err
			}
		}
	}
	return children, nil
}

// element finds key and value of an entry, if they lie within the page.
func element(buf []byte, at int, flags uint16) (key, value []byte, ok bool) {
	e := buf[at:]
	pos, ksize, vsize := uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])), uint64(0)
	if flags == leafPage {
		pos, ksize, vsize = uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
	}
	from := uint64(at) + pos
	if pos < elementSize || from+ksize+vsize > uint64(len(buf)) {
		return nil, nil, false
	}
	return buf[from : from+ksize], buf[from+ksize : from+ksize+vsize], true
}

// bucket checks a bucket: pages of its own, or one page within the value.
func (v *verifier) bucket(id uint64, value []byte, depth int) error {
	const header = 16
	if len(value) < header || depth > 2 {
		return damagedf("page %d: a bucket", id)
	}
	if root := native.Uint64(value); root != 0 {
		return v.tree(root, depth)
	}
	inline := value[header:]
	if len(inline) < pageHeader || native.Uint16(inline[8:]) != leafPage {
		return damagedf("page %d: a bucket within", id)
	}
	_, err := v.node(id, inline, depth)
	return err
}

// freelist checks that what is free is not used.
func (v *verifier) freelist(id uint64) error {
	buf, err := v.page(id, nil)
	if err != nil {
		return err
	}
	count, ids := uint64(native.Uint16(buf[10:])), buf[pageHeader:]
	if count == manyIDs {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if native.Uint16(buf[8:]) != freelistPage || count > uint64(len(ids)/8) {
		return damagedf("page %d is no list of %d free pages", id, count)
	}
	for i := range count {
		free := native.Uint64(ids[i*8:])
		if free < 2 || free >= v.pages || v.used[free] {
			return damagedf("page %d is free and used", free)
		}
		v.used[free] = true
	}
	return nil
}
