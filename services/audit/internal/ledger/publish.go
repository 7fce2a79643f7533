package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	base "headgate.dev/libs/ledger"

	"headgate.dev/libs/wholefile"
)

const (
	// publicDir, below the ledger's own directory, can be served as it is: C2SP tlog-tiles. It holds no record, only their heads.
	publicDir = "log"
	// writersAtOnce is how many tiles are written at once.
	writersAtOnce = 8
)

// place is where files of the log lie, by names with slashes.
type place interface {
	String() string
	// read answers fs.ErrNotExist when there is no such file.
	read(ctx context.Context, name string) ([]byte, error)
	write(ctx context.Context, name string, data []byte) error
	// dropParts forgets the parts of a tile that is whole by now, where a place forgets at all.
	dropParts(name string) error
}

// folder is a place on a disk.
type folder string

func (f folder) String() string { return string(f) }

func (f folder) read(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(f.path(name))
}

func (f folder) write(_ context.Context, name string, data []byte) error {
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return wholefile.Replace(path, data, 0o644)
}

func (f folder) dropParts(name string) error { return os.RemoveAll(f.path(name) + ".p") }

func (f folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// publish brings the last checkpoint and its tiles to these folders, and tells which of them failed. Records are appended meanwhile: what a checkpoint signs stays as it is.
func (l *Ledger) publish(to []folder) map[folder]error {
	l.publishing.Lock()
	defer l.publishing.Unlock()
	log, is := l.published()
	if !is {
		return nil
	}
	failed := map[folder]error{}
	for _, f := range to {
		if err := log.bring(context.Background(), f); err != nil {
			failed[f] = fmt.Errorf("ledger: publish to %s: %w", f, err)
		}
	}
	return failed
}

// published is a log as it was when it was signed last.
type published struct {
	files          *files
	last           Signed
	origin, public string
	handovers      []string
	size           int64 // how many records there are, signed or not
}

// published is the log as it was signed last; false while it was not.
func (l *Ledger) published() (published, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil || len(l.history) == 0 {
		return published{}, false
	}
	return published{
		files: l.files, last: l.history[len(l.history)-1], origin: l.keys.signer.Name(), public: l.keys.public, handovers: l.keys.handovers, size: l.frontier.Size(),
	}, true
}

// bring writes what the place does not have: tiles first and the checkpoint last, so that a reader of the checkpoint finds them.
func (log published) bring(ctx context.Context, p place) error {
	there, err := log.look(ctx, p)
	if err != nil || there.Note == log.last.Note {
		return err
	}
	if err := log.bringTiles(ctx, p, there.Size); err != nil {
		return err
	}
	for i, word := range log.handovers {
		if err := writeChanged(ctx, p, fmt.Sprintf(base.HandoverFile, i+1), []byte(word)); err != nil {
			return err
		}
	}
	if err := writeChanged(ctx, p, base.PublicKeyFile, []byte(log.public+"\n")); err != nil {
		return err
	}
	return p.write(ctx, base.CheckpointFile, []byte(log.last.Note))
}

// look reads what a place has. Another log, or one that is ahead, is not written over: it may be the evidence.
func (log published) look(ctx context.Context, p place) (Signed, error) {
	data, err := p.read(ctx, base.CheckpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Signed{}, nil
	}
	if err != nil {
		return Signed{}, err
	}
	c, err := base.UncheckedCheckpoint(string(data))
	if err != nil || c.Origin != log.origin {
		return Signed{}, fmt.Errorf("%w: another log is published there; name another place", errOtherLog)
	}
	if c.Size > log.size {
		return Signed{}, fmt.Errorf("%w: it has a checkpoint of %d records and this ledger has %d: the ledger lost records; restore it from a copy that is whole", errOtherLog, c.Size, log.size)
	}
	root, err := tlog.TreeHash(c.Size, log.files)
	if err != nil {
		return Signed{}, fmt.Errorf("this ledger's tree of %d records cannot be read to compare: %w", c.Size, err)
	}
	if root != c.Root {
		return Signed{}, fmt.Errorf("%w: its checkpoint of %d records is not of this ledger's records: one of the two was changed; keep both for an investigation", errOtherLog, c.Size)
	}
	return Signed{Checkpoint: c, Note: string(data)}, nil
}

// bringTiles writes the tiles and entry bundles that the log has more than it had with the first records.
func (log published) bringTiles(ctx context.Context, p place, from int64) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(writersAtOnce)
	for _, t := range tlog.NewTiles(base.TileHeight, from, log.last.Size) {
		all.Go(func() error { return log.bringTile(ctx, p, t) })
	}
	return all.Wait()
}

func (log published) bringTile(ctx context.Context, p place, t tlog.Tile) error {
	data, err := tlog.ReadTileData(t, log.files)
	if err == nil {
		err = writeTile(ctx, p, t, data)
	}
	if err != nil || t.L > 0 {
		return err
	}
	bundle, err := log.files.leavesOf(t.N<<base.TileHeight, int64(t.W)) // of the same leaves, with their lengths before them, as the ledger's own file has them
	if err != nil {
		return err
	}
	t.L = -1
	return writeTile(ctx, p, t, bundle)
}

// writeTile writes a tile. A whole one may be there from a try that broke off: an object store keeps every version of what is written, so it is not written again.
func writeTile(ctx context.Context, p place, t tlog.Tile, data []byte) error {
	name := base.TilePath(t)
	if t.W < 1<<base.TileHeight {
		return p.write(ctx, name, data)
	}
	there, err := p.read(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = p.write(ctx, name, data)
	case err == nil && !bytes.Equal(there, data):
		err = fmt.Errorf("%w: its %s is another; keep both for an investigation", errOtherLog, name)
	}
	if err != nil {
		return err
	}
	return p.dropParts(name)
}

// writeChanged writes what is not there as it should be.
func writeChanged(ctx context.Context, p place, name string, data []byte) error {
	there, err := p.read(ctx, name)
	if err == nil && bytes.Equal(there, data) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.write(ctx, name, data)
}
