package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

const (
	// MaxNote is the most bytes that a file with a checkpoint, a handover or a key has: a checkpoint with the signatures of hundreds of witnesses.
	MaxNote = 64 << 10
	// maxTile is the most that a tile has: one of heads, each with its length.
	maxTile = tileWidth * (2 + 1 + 2 + maxWriter + 8 + 1 + 2*32)
)

// errOdd is of what stands where a file of evidence should, and is none. To read it may take forever.
var errOdd = errors.New("it is not what belongs there")

// IsOdd reports whether ReadFile refused a file because of what it is.
func IsOdd(err error) bool { return errors.Is(err, errOdd) }

// Regular refuses what is no regular file: a device or a pipe may never end.
func Regular(name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file (%s): %w", name, info.Mode(), errOdd)
	}
	return nil
}

// ReadFile reads a regular file of at most so many bytes.
func ReadFile(place fs.FS, name string, most int64) ([]byte, error) {
	info, err := fs.Stat(place, name)
	if err == nil {
		err = Regular(name, info)
	}
	if err != nil {
		return nil, err
	}
	file, err := place.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes (%d): %w", name, most, info.Size(), errOdd)
	}
	return data, err
}
