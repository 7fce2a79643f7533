package ledger

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Frontier is a tree that only grows to the right, as the hashes of its largest full subtrees: enough to know its root at every size. The zero value is
// the empty tree.
type Frontier struct {
	size   int64
	hashes []tlog.Hash // from the left: one for each bit of size that is set
}

// Size is how many leaves there are.
func (f *Frontier) Size() int64 { return f.size }

// NewFrontier is the tree of the first size leaves of a log whose hashes can be read.
func NewFrontier(size int64, read tlog.HashReader) (*Frontier, error) {
	var indexes []int64
	for _, p := range Cover(0, size) {
		indexes = append(indexes, tlog.StoredHashIndex(p.Level, p.Index))
	}
	hashes, err := read.ReadHashes(indexes)
	return &Frontier{size: size, hashes: hashes}, err
}

// Append adds one leaf.
func (f *Frontier) Append(leaf tlog.Hash) { f.join(0, leaf, nil) }

// AppendStored adds one leaf and appends to stored what the log keeps of it, in the order of tlog.StoredHashes.
func (f *Frontier) AppendStored(stored []tlog.Hash, leaf tlog.Hash) []tlog.Hash {
	f.join(0, leaf, func(h tlog.Hash) { stored = append(stored, h) })
	return stored
}

// AppendSubtree adds 2^level leaves of which only the hash of their subtree is known. The tree must end where such a subtree begins.
func (f *Frontier) AppendSubtree(level int, hash tlog.Hash) error {
	if level < 0 || level > 62 || f.size&(1<<level-1) != 0 || f.size > 1<<62-1<<level {
		return fmt.Errorf("no subtree of 2^%d leaves begins at leaf %d", level, f.size)
	}
	f.join(level, hash, nil)
	return nil
}

func (f *Frontier) join(level int, hash tlog.Hash, keep func(tlog.Hash)) {
	if keep == nil {
		keep = func(tlog.Hash) {}
	}
	keep(hash)
	rest := f.size >> level
	for ; rest&1 == 1; rest >>= 1 {
		last := len(f.hashes) - 1
		hash = tlog.NodeHash(f.hashes[last], hash)
		f.hashes = f.hashes[:last]
		keep(hash)
	}
	f.hashes = append(f.hashes, hash)
	f.size += 1 << level
}

// Root is the hash of the whole tree.
func (f *Frontier) Root() tlog.Hash {
	if f.size == 0 {
		return emptyRoot()
	}
	root := f.hashes[len(f.hashes)-1]
	for i := len(f.hashes) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f.hashes[i], root)
	}
	return root
}

// Piece is a full subtree: the leaves from Index<<Level on, 2^Level of them.
type Piece struct {
	Level int
	Index int64
}

// Cover is the fewest full subtrees that hold the leaves from first to before end, from the left.
func Cover(first, end int64) []Piece {
	var out []Piece
	for first < end {
		level := bits.Len64(uint64(end-first)) - 1
		if first > 0 {
			level = min(level, bits.TrailingZeros64(uint64(first)))
		}
		out = append(out, Piece{Level: level, Index: first >> level})
		first += 1 << level
	}
	return out
}
