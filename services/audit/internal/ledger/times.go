package ledger

import (
	"encoding/binary"
	"math"
	"time"
)

var (
	clocksBegin = time.Unix(0, 0)
	clocksEnd   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// believable reports whether a clock can have shown a time. What is beyond would be beyond the numbers that times are kept as, too.
func believable(at time.Time) bool { return !at.Before(clocksBegin) && at.Before(clocksEnd) }

// earliest and latest are the times of a block of records, by their numbers. The numbers at both ends stand for all that is beyond them: ledgers of before may have that.
func earliest(nanos int64) time.Time {
	if nanos == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

func latest(nanos int64) time.Time {
	if nanos == math.MaxInt64 {
		return time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Unix(0, nanos)
}

// block is the times of the records of the last block, which still grows.
type block struct {
	number   int64
	from, to int64
}

func emptyBlock(number int64) block {
	return block{number: number, from: math.MaxInt64, to: math.MinInt64}
}

// note takes the time of a record.
func (f *files) note(index, nanos int64) error {
	if number := index / BlockSize; number != f.block.number {
		if err := f.writeBlock(); err != nil {
			return err
		}
		f.block = emptyBlock(number)
	}
	f.block.from, f.block.to = min(f.block.from, nanos), max(f.block.to, nanos)
	return nil
}

func (f *files) writeBlock() error {
	b := binary.BigEndian.AppendUint64(nil, uint64(f.block.from))
	b = binary.BigEndian.AppendUint64(b, uint64(f.block.to))
	f.times.size = f.block.number * blockBytes // the last block is written again as it grows
	return f.times.append(b)
}

// readBlock goes on with the block that the record of this index falls into.
func (f *files) readBlock(size int64) error {
	f.block = emptyBlock(size / BlockSize)
	if size%BlockSize == 0 {
		return nil
	}
	from, to, err := f.blockTimes(size / BlockSize)
	f.block.from, f.block.to = from, to
	return err
}

func (f *files) blockTimes(number int64) (from, to int64, err error) {
	var b [blockBytes]byte
	err = f.times.read(b[:], number*blockBytes)
	return int64(binary.BigEndian.Uint64(b[:])), int64(binary.BigEndian.Uint64(b[8:])), err
}
