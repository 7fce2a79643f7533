package ledger_test

import (
	"bytes"
	"testing"

	"headgate.dev/libs/ledger"
)

// A head has one form in bytes: what is read as a leaf is what would be written.
func FuzzParseLeaf(f *testing.F) {
	l := newLog(&testing.T{}).fill(4)
	for _, e := range l.entries {
		f.Add(e.head.Leaf())
	}
	f.Add([]byte{1, 0, 1, 'w'})
	f.Fuzz(func(t *testing.T, leaf []byte) {
		h, err := ledger.ParseLeaf(leaf)
		if err == nil && !bytes.Equal(h.Leaf(), leaf) {
			t.Fatalf("%x is read as %v, which is %x", leaf, h, h.Leaf())
		}
	})
}

func TestALeafIsReadAsItWasWritten(t *testing.T) {
	for _, e := range newLog(t).fill(6).entries {
		h, err := ledger.ParseLeaf(e.head.Leaf())
		if err != nil || h.LeafHash() != e.head.LeafHash() || h.Writer != e.head.Writer || h.Sequence != e.head.Sequence {
			t.Errorf("%v is read as %v, %v", e.head, h, err)
		}
	}
}
