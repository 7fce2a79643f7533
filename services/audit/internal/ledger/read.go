package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	base "headgate.dev/libs/ledger"
)

// View reads the first Size records of the log, whatever is appended meanwhile. Safe for concurrent use.
type View struct {
	Size  int64
	files *files
}

// View is the log as it is now, or as it was when it had that many records.
func (l *Ledger) View(size int64) (*View, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil || size < 0 || size > l.size.Load() {
		return nil, fmt.Errorf("ledger: it does not have %d records", size)
	}
	return &View{Size: size, files: l.files}, nil
}

// Head is the head of a record.
func (v *View) Head(index int64) (base.Head, error) {
	h, err := v.files.head(index)
	return h, wrap(fmt.Sprintf("read the head of record %d", index), err)
}

// Record is the bytes of a record.
func (v *View) Record(index int64) ([]byte, error) {
	_, data, err := v.files.record(index)
	return data, wrap(fmt.Sprintf("read record %d", index), err)
}

// Find is the index of a writer's number; -1 when the log has none.
func (v *View) Find(writer string, sequence uint64) (int64, error) {
	index, err := v.files.writers.get(writer, sequence, v.Size)
	return index, wrap("look for a number", err)
}

// Prove shows that a record is in the log.
func (v *View) Prove(index int64) (tlog.RecordProof, error) {
	proof, err := tlog.ProveRecord(v.Size, index, v.files)
	return proof, wrap("prove a record", err)
}

// Root is the hash of the tree.
func (v *View) Root() (tlog.Hash, error) {
	root, err := tlog.TreeHash(v.Size, v.files)
	return root, wrap("read the tree", err)
}

// Subtrees are the hashes of the fewest full subtrees that hold the records from first to before end.
func (v *View) Subtrees(first, end int64) ([]tlog.Hash, error) {
	var indexes []int64
	for _, p := range base.Cover(first, end) {
		indexes = append(indexes, tlog.StoredHashIndex(p.Level, p.Index))
	}
	hashes, err := v.files.ReadHashes(indexes)
	return hashes, wrap("read the tree", err)
}

// timesRead is how many blocks' times are read at once: a ledger of ten million records has forty thousand.
const timesRead = 4096

// Since is where the first record may stand that is not from before an instant; the size when there is none. It reads the times of blocks alone, many at once. Those of
// a last block that is not whole change as the log grows, and are not believed: the answer is always the same.
func (v *View) Since(instant time.Time) (int64, error) {
	blocks := (v.Size + BlockSize - 1) / BlockSize
	for first := int64(0); first < blocks; first += timesRead {
		some := make([]byte, min(timesRead, blocks-first)*blockBytes)
		if err := v.files.times.read(some, first*blockBytes); err != nil {
			return 0, wrap("read times", err)
		}
		for i := range int64(len(some)) / blockBytes {
			to := int64(binary.BigEndian.Uint64(some[i*blockBytes+8:]))
			if end := (first + i + 1) * BlockSize; end > v.Size || !latest(to).Before(instant) {
				return end - BlockSize, nil
			}
		}
	}
	return v.Size, nil
}

// Block says from when until when the records are that share a block with this one, and where the next block begins.
func (v *View) Block(index int64) (from, to time.Time, next int64, err error) {
	a, b, err := v.files.blockTimes(index / BlockSize)
	return earliest(a), latest(b), (index/BlockSize + 1) * BlockSize, wrap("read times", err)
}

// Records yields the records from first to before end with their bytes, until yield returns false or the context ends.
func (v *View) Records(ctx context.Context, first, end int64, yield func(index int64, data []byte) error) error {
	for index := first; index < min(end, v.Size); index++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := v.Record(index)
		if err == nil {
			err = yield(index, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
