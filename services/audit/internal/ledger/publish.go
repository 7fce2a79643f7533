package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	base "headgate.dev/libs/ledger"

	"headgate.dev/libs/wholefile"
)

const (
	// publicDir, below the ledger's own directory, can be served as it is: C2SP tlog-tiles. It holds no record, only their heads.
	publicDir = "log"
)

// place is a directory that the log is published to.
type place struct {
	dir   string
	known bool
	size  int64
	note  string // the checkpoint that it has: a handover signs the same size again
}

// publish brings the last checkpoint and its tiles to every place, whichever of them fail. Records are appended meanwhile: what a checkpoint signs stays as it is.
func (l *Ledger) publish() error {
	l.publishing.Lock()
	defer l.publishing.Unlock()
	l.mu.Lock()
	if l.files == nil || len(l.history) == 0 {
		l.mu.Unlock()
		return nil
	}
	log := published{files: l.files, last: l.history[len(l.history)-1], origin: l.keys.signer.Name(), public: l.keys.public, handovers: l.keys.handovers, size: l.frontier.Size()}
	l.mu.Unlock()
	var errs []error
	for _, p := range l.places {
		if err := log.bring(p); err != nil {
			errs = append(errs, fmt.Errorf("ledger: publish to %s: %w", p.dir, err))
		}
	}
	return errors.Join(errs...)
}

// published is a log as it was when it was signed last.
type published struct {
	files          *files
	last           Signed
	origin, public string
	handovers      []string
	size           int64 // how many records there are, signed or not
}

// bring writes the tiles first and the checkpoint last, so that a reader of the checkpoint finds them.
func (log published) bring(p *place) error {
	if !p.known {
		if err := log.look(p); err != nil {
			return err
		}
	}
	if p.known && p.note == log.last.Note {
		return nil
	}
	for _, t := range tlog.NewTiles(base.TileHeight, p.size, log.last.Size) {
		data, err := tlog.ReadTileData(t, log.files)
		if err == nil {
			err = writeTile(p.dir, t, data)
		}
		if err == nil && t.L == 0 {
			err = log.bringEntries(p.dir, t)
		}
		if err != nil {
			return err
		}
	}
	for i, word := range log.handovers {
		if err := wholefile.Replace(filepath.Join(p.dir, fmt.Sprintf(base.HandoverFile, i+1)), []byte(word), 0o644); err != nil {
			return err
		}
	}
	if err := wholefile.Replace(filepath.Join(p.dir, base.PublicKeyFile), []byte(log.public+"\n"), 0o644); err != nil {
		return err
	}
	if err := wholefile.Replace(filepath.Join(p.dir, base.CheckpointFile), []byte(log.last.Note), 0o644); err != nil {
		return err
	}
	p.known, p.size, p.note = true, log.last.Size, log.last.Note
	return nil
}

// look reads what a place has. Another log, or one that is ahead, is not written over: it may be the evidence.
func (log published) look(p *place) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(p.dir, base.CheckpointFile))
	if errors.Is(err, os.ErrNotExist) {
		p.size = 0
		return nil
	}
	if err != nil {
		return err
	}
	c, err := base.UncheckedCheckpoint(string(data))
	if err != nil || c.Origin != log.origin {
		return errors.New("another log is published there; name another directory")
	}
	if c.Size > log.size {
		return fmt.Errorf("it has a checkpoint of %d records and this ledger has %d: the ledger lost records; restore it from a copy that is whole", c.Size, log.size)
	}
	if root, err := tlog.TreeHash(c.Size, log.files); err != nil || root != c.Root {
		return errors.Join(fmt.Errorf("its checkpoint of %d records is not of this ledger's records: one of the two was changed; keep both for an investigation", c.Size), err)
	}
	p.size = c.Size
	return nil
}

// bringEntries writes the entry bundle of the same leaves as a tile of level 0: the leaves with their lengths before them, as the ledger's own file has them.
func (log published) bringEntries(dir string, t tlog.Tile) error {
	bundle, err := log.files.leavesOf(t.N<<base.TileHeight, int64(t.W))
	if err != nil {
		return err
	}
	t.L = -1
	return writeTile(dir, t, bundle)
}

func writeTile(dir string, t tlog.Tile, data []byte) error {
	path := filepath.Join(dir, filepath.FromSlash(base.TilePath(t)))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := wholefile.Replace(path, data, 0o644); err != nil {
		return err
	}
	if t.W < 1<<base.TileHeight {
		return nil
	}
	return os.RemoveAll(path + ".p") // the parts that came before the whole
}
