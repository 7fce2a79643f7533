package mcp

import (
	"bytes"
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

// AppendFolded appends a name in the one spelling that all names have that bytes.EqualFold takes for the same.
func AppendFolded(to []byte, name string) []byte {
	for _, r := range name {
		to = utf8.AppendRune(to, folded(r))
	}
	return to
}

// folded answers one of the characters that differ only by case, always the same one: in ASCII the small letter, also for the two characters beyond
// it that fold into it, the Kelvin sign and the long s.
func folded(r rune) rune {
	if r >= utf8.RuneSelf {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		r = least
	}
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

// few is how many names of one object are compared without memory of their own.
const few = 16

// names are those of one object, to find two that differ only by case.
type names struct {
	marks uint64 // one bit for most names; a name with one of its own is compared with none
	count int
	some  [few][]byte
	many  map[string]struct{} // folded; there once some is full
}

// twin notes a name, and reports whether there was one that readers may take for the same.
func (n *names) twin(name []byte) bool {
	if n.count < few {
		mark := mark(name)
		if n.marks&mark != 0 {
			for _, other := range n.some[:n.count] {
				if bytes.EqualFold(name, other) {
					return true
				}
			}
		}
		n.marks |= mark
		n.some[n.count] = name
		n.count++
		return false
	}
	if n.many == nil {
		n.many = make(map[string]struct{}, 2*few)
		for _, other := range n.some {
			n.many[string(AppendFolded(nil, string(other)))] = struct{}{}
		}
	}
	var room [64]byte
	key := AppendFolded(room[:0], string(name))
	if _, there := n.many[string(key)]; there {
		return true
	}
	n.many[string(key)] = struct{}{}
	return false
}

// mark is one bit, the same for names that differ only by case. A name beyond ASCII has all bits, so it is compared with every other.
func mark(name []byte) uint64 {
	const (
		highs = 0x8080808080808080
		small = 0x2020202020202020 // makes small letters of large ones; what else it makes alike is compared in vain
		prime = 0x9e3779b97f4a7c15
		all   = 1<<64 - 1
	)
	sum := uint64(len(name))
	for ; len(name) >= 8; name = name[8:] {
		w := binary.LittleEndian.Uint64(name)
		if w&highs != 0 {
			return all
		}
		sum = (sum ^ (w | small)) * prime
	}
	rest := uint64(0)
	for _, c := range name {
		rest = rest<<8 | uint64(c)
	}
	if rest&highs != 0 {
		return all
	}
	return 1 << ((sum ^ (rest | small)) * prime >> 58)
}

// twin steps over one value, and answers a name in it, at any depth, that is there twice in one object but for its case.
func (c *cursor) twin() ([]byte, bool) {
	c.space()
	switch {
	case c.open('{'):
		var seen names
		for name, ok := c.name(); ok; name, ok = c.name() {
			if seen.twin(name) {
				return name, true
			}
			if inner, found := c.twin(); found {
				return inner, true
			}
		}
	case c.open('['):
		for c.element(']') {
			if inner, found := c.twin(); found {
				return inner, true
			}
		}
	default:
		c.value()
	}
	return nil, false
}
