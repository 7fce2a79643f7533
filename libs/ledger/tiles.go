package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Where a log is published: C2SP tlog-tiles, and beside it the key with what handed the log over to it.
const (
	TileHeight     = 8
	CheckpointFile = "checkpoint"
	PublicKeyFile  = "key.pub"
	HandoverFile   = "handover-%04d" // from 1 on
	WitnessedDir   = "witnessed"
	tilesDir       = "tile"
	tileWidth      = 1 << TileHeight
)

// TilePath is where C2SP tlog-tiles has a tile: without the height, and with "entries" for the leaves (level -1).
func TilePath(t tlog.Tile) string {
	return tilesDir + "/" + strings.Replace(strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", TileHeight)), "data/", "entries/", 1)
}

// VerifyTiles reads a log as it is published, with its checkpoint, and says whether it holds, by keys that are trusted. It has no records, only their heads: whether
// the records are still those is for an export or the ledger itself. Checkpoints are of the same log from elsewhere. The error is that of reading alone.
func VerifyTiles(place fs.FS, keys *Keyring, checkpoints ...string) (*Report, error) {
	v := &tiles{place: place, keys: keys.Clone(), report: &Report{}, chains: chains{}}
	err := v.read(checkpoints)
	switch {
	case errors.Is(err, errStop):
		err = nil
	case IsOdd(err):
		v.report.Problem("%v; the rest was not read", err)
		err = nil
	}
	return v.report, err
}

// tiles verifies them from the left, at constant memory but for the writers' gaps.
type tiles struct {
	place    fs.FS
	keys     *Keyring
	report   *Report
	known    []Checkpoint
	frontier Frontier
	chains   chains
	grown    [][]byte // of each level, what follows of its last tile from the leaves so far
}

func (v *tiles) read(checkpoints []string) error {
	if err := v.trust(checkpoints); err != nil {
		return err
	}
	size := v.report.Checkpoint.Size
	v.compare()
	for first := int64(0); first < size; first += tileWidth {
		if err := v.leaves(first, min(size-first, tileWidth)); err != nil {
			return err
		}
	}
	for level, data := range v.grown {
		if len(data) > 0 {
			if err := v.tile(level, data); err != nil {
				return err
			}
		}
	}
	v.finish()
	return v.strangers()
}

// file reads one file; nil when it is not there.
func (v *tiles) file(name string, most int64) ([]byte, error) {
	data, err := ReadFile(v.place, name, most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// trust follows the handovers and reads the checkpoint, and those that the place and others have of before.
func (v *tiles) trust(checkpoints []string) error {
	if err := v.keys.FollowFiles(v.place); err != nil {
		v.report.Problem("%v", err)
		return errStop
	}
	public, err := v.file(PublicKeyFile, MaxNote)
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(public)); public != nil && !v.keys.Trusts(text) {
		v.report.Problem("%s is not the key that is trusted, and no handover leads from that to it", PublicKeyFile)
	}
	signed, err := v.file(CheckpointFile, MaxNote)
	switch {
	case err != nil:
		return err
	case signed == nil:
		v.report.Problem("%s is missing: nothing is published here, or it was dropped", CheckpointFile)
		return errStop
	}
	c, err := v.keys.Checkpoint(string(signed))
	if err != nil {
		v.report.Problem("%s does not hold: %v", CheckpointFile, err)
		return errStop
	}
	v.report.Checkpoint = c
	v.known = v.keys.Elsewhere(v.report, c, CheckpointFile, checkpoints)
	return v.witnessed()
}

// witnessed reads what witnesses signed.
func (v *tiles) witnessed() error {
	names, err := fs.Glob(v.place, WitnessedDir+"/*")
	if err != nil {
		return err
	}
	c := v.report.Checkpoint
	for _, name := range names {
		text, err := v.file(name, MaxNote)
		if err != nil {
			return err
		}
		other, err := v.keys.Checkpoint(string(text))
		switch {
		case err != nil:
			v.report.Problem("%s does not hold: %v", name, err)
		case other.Size > c.Size:
			v.report.Problem("%s is of %d records and %s of %d: the log's tail was cut, or an older checkpoint was put back", name, other.Size, CheckpointFile, c.Size)
		default:
			v.known = append(v.known, other)
		}
	}
	slices.SortStableFunc(v.known, func(a, b Checkpoint) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	return nil
}

// bundle reads a tile of that many entries: itself, or the beginning of the whole one that took its place.
func (v *tiles) bundle(t tlog.Tile) (data []byte, name string, err error) {
	name = TilePath(t)
	if data, err = v.file(name, maxTile); err != nil || data != nil || t.W == tileWidth {
		return data, name, err
	}
	t.W = tileWidth
	data, err = v.file(TilePath(t), maxTile)
	if data != nil {
		name = TilePath(t)
	}
	return data, name, err
}

// leaves reads one bundle of heads. Where it cannot be read, the rest of the log has no meaning.
func (v *tiles) leaves(first, count int64) error {
	t := tlog.Tile{H: TileHeight, L: -1, N: first >> TileHeight, W: int(count)}
	data, name, err := v.bundle(t)
	if err != nil {
		return err
	}
	if data == nil {
		v.report.Problem("%s is missing: the heads of the records %d to %d were dropped", name, first, first+count-1)
		return errStop
	}
	whole, all := strings.HasSuffix(path.Dir(name), ".p") || count == tileWidth, data
	ends := make([]int, count)
	for i := range count {
		head, rest, err := nextLeaf(data)
		if err != nil {
			v.report.Problem("%s: the head of record %d was changed or cut: %v", name, first+i, err)
			return errStop
		}
		data, ends[i] = rest, len(all)-len(rest)
		if err := v.grow(head, first+i); err != nil {
			return err
		}
	}
	if whole && len(data) > 0 {
		v.report.Problem("%s has %d bytes more than the heads of %d records: something was added", name, len(data), count)
	}
	return v.parts(t, all, func(width int) int { return ends[width-1] })
}

// parts looks at what is left of a tile from when it was shorter. Nobody needs it any more, and who was shown it must have been shown the same.
func (v *tiles) parts(t tlog.Tile, data []byte, end func(width int) int) error {
	part := t
	part.W = tileWidth
	dir := TilePath(part) + ".p"
	entries, err := fs.ReadDir(v.place, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if part.W, err = strconv.Atoi(e.Name()); err != nil || part.W < 1 || part.W >= t.W || TilePath(part) != dir+"/"+e.Name() {
			continue // the tile itself, or a stranger
		}
		shorter, err := v.file(TilePath(part), maxTile)
		if err != nil {
			return err
		}
		if shorter != nil && !bytes.Equal(shorter, data[:end(part.W)]) {
			v.report.Problem("%s, from when the log was shorter, is not the beginning of what %s has now: it was changed", TilePath(part), TilePath(t))
		}
	}
	return nil
}

func nextLeaf(data []byte) (Head, []byte, error) {
	if len(data) < 2 {
		return Head{}, nil, errors.New("the file ends before it")
	}
	length := int(binary.BigEndian.Uint16(data))
	if len(data) < 2+length {
		return Head{}, nil, errors.New("the file ends in it")
	}
	head, err := ParseLeaf(data[2 : 2+length])
	return head, data[2+length:], err
}

// grow takes a head and checks each tile of hashes that is full with it.
func (v *tiles) grow(head Head, index int64) error {
	for _, wrong := range v.chains.add(head, index, fmt.Sprintf("record %d", index)) {
		v.report.Problem("%s", wrong)
	}
	for level, hash := range v.frontier.AppendStored(nil, head.LeafHash()) {
		if level%TileHeight != 0 {
			continue
		}
		level /= TileHeight
		for len(v.grown) <= level {
			v.grown = append(v.grown, nil)
		}
		v.grown[level] = append(v.grown[level], hash[:]...)
		if len(v.grown[level]) == tileWidth*tlog.HashSize {
			if err := v.tile(level, v.grown[level]); err != nil {
				return err
			}
			v.grown[level] = v.grown[level][:0]
		}
	}
	v.report.LeftOut++
	v.compare()
	return nil
}

// tile holds a tile of hashes against what follows from the heads.
func (v *tiles) tile(level int, want []byte) error {
	count := len(want) / tlog.HashSize
	t := tlog.Tile{H: TileHeight, L: level, W: count, N: (v.frontier.Size()>>(TileHeight*level) - 1) >> TileHeight}
	data, name, err := v.bundle(t)
	switch {
	case err != nil:
		return err
	case data == nil:
		v.report.Problem("%s is missing: the hashes of the records up to %d were dropped", name, v.frontier.Size()-1)
		return nil
	case name != TilePath(t) && len(data) == tileWidth*tlog.HashSize:
		data = data[:len(want)]
	}
	if len(data) != len(want) {
		v.report.Problem("%s has %d bytes, %d hashes take %d: it was cut, or something was added", name, len(data), count, len(want))
		return nil
	}
	for i := range count {
		if from, end := i*tlog.HashSize, (i+1)*tlog.HashSize; !bytes.Equal(data[from:end], want[from:end]) {
			first := (t.N<<TileHeight + int64(i)) << (TileHeight * level)
			v.report.Problem("%s: hash %d is not that of %s: it or a head in %s/entries was changed", name, i, span(first, 1<<(TileHeight*level)), tilesDir)
			return nil // the next ones may be of the same change
		}
	}
	return v.parts(t, want, func(width int) int { return width * tlog.HashSize })
}

func span(first, count int64) string {
	if count == 1 {
		return fmt.Sprintf("record %d", first)
	}
	return fmt.Sprintf("the records %d to %d", first, first+count-1)
}

func (v *tiles) compare() {
	for len(v.known) > 0 && v.known[0].Size == v.frontier.Size() {
		if known := v.known[0]; known.Root != v.frontier.Root() {
			v.report.Problem("the log's first %d records are not those of a checkpoint from elsewhere (%s and %s): the log was forked", known.Size, Short(v.frontier.Root()), Short(known.Root))
		}
		v.known = v.known[1:]
	}
}

// finish holds the tree against the checkpoint. When a number was missed cannot be known from heads alone: they have no time.
func (v *tiles) finish() {
	c := v.report.Checkpoint
	if v.frontier.Root() != c.Root {
		v.report.Problem("the heads make the tree %s, %s signs %s: records were changed, added or dropped", Short(v.frontier.Root()), CheckpointFile, Short(c.Root))
	}
	v.report.Writers = len(v.chains)
	for _, g := range v.chains.gaps(true) {
		v.report.Notes = append(v.report.Notes, g.String()+"; heads have no time, so it may have been on its way: the ledger, an export or a later checkpoint show it")
	}
}

// strangers looks for tiles that a log of this size has not: the checkpoint may be an older one that was put back. Where a service publishes just now, the checkpoint follows.
func (v *tiles) strangers() error {
	size := v.report.Checkpoint.Size
	var added []string
	var beyond string
	var err error
	Await(func() bool {
		size = v.signedBy(size)
		added, beyond, err = v.beyond(size)
		return len(added) == 0 && beyond == "" && err == nil
	})
	for _, name := range added {
		v.report.Problem("%s is not a tile: it was added", name)
	}
	if beyond != "" {
		v.report.Problem("%s is beyond the %d records that %s signs: an older checkpoint was put back, or the last one was not published whole; start audit, which publishes it again, and verify once more",
			beyond, size, CheckpointFile)
	}
	return err
}

// Await looks again for about two seconds whether what was found apart is the work of a service that writes just now.
func Await(settled func() bool) {
	for range 40 {
		if settled() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// signedBy is how many records the checkpoint signs by now, if it is a later one.
func (v *tiles) signedBy(size int64) int64 {
	text, err := v.file(CheckpointFile, MaxNote)
	if err != nil {
		return size
	}
	c, err := v.keys.Checkpoint(string(text))
	if err != nil {
		return size
	}
	return max(size, c.Size)
}

// beyond lists files that are not tiles, and finds a tile that a log of that size has not.
func (v *tiles) beyond(size int64) (added []string, beyond string, err error) {
	err = fs.WalkDir(v.place, tilesDir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == tilesDir:
			return fs.SkipAll
		case err != nil:
			return err
		case d.IsDir():
			return nil
		}
		t, ok := tileAt(name)
		has := size>>(TileHeight*max(t.L, 0)) - t.N<<TileHeight // how many of the tile's hashes the log has
		switch {
		case !ok:
			added = append(added, name)
		case has <= 0 || has < int64(t.W) && t.W != tileWidth:
			beyond = cmp.Or(beyond, name)
		}
		return nil
	})
	return added, beyond, err
}

// tileAt reads the path of a tile.
func tileAt(name string) (tlog.Tile, bool) {
	rest := strings.Replace(strings.TrimPrefix(name, tilesDir+"/"), "entries/", "data/", 1)
	t, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s", TileHeight, rest))
	return t, err == nil && TilePath(t) == name
}

// FollowFiles follows the handovers that lie in a directory beside the log.
func (k *Keyring) FollowFiles(dir fs.FS) error {
	var all []string
	for n := 1; ; n++ {
		data, err := ReadFile(dir, fmt.Sprintf(HandoverFile, n), MaxNote)
		if errors.Is(err, fs.ErrNotExist) {
			return k.FollowAll(all)
		}
		if err != nil {
			return err
		}
		all = append(all, string(data))
	}
}

// Trusts reports whether a public key is one of them.
func (k *Keyring) Trusts(public string) bool { return slices.Contains(k.public, public) }
