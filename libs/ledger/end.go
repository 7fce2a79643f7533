package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// End says which records stand in an export, signed with the log's key: without it, a record could be taken out and only its head left. It is bound to the log's size
// and the export's filter, and the same whenever the same is exported, so that an export that broke off can get it.
type End struct {
	// Start is how many of the first records stand as hashes, because they are from before the time that an export with heads is of.
	Start int64 `json:"start"`
	// Records is how many records stand whole.
	Records int64 `json:"records"`
	// Indexes is the SHA-256 over the indexes of these records, and of those whose places are shown behind them: 8 bytes each, the highest first.
	Indexes []byte `json:"indexes"`
}

// Tally gathers what an export's end says. The zero value has seen nothing.
type Tally struct {
	records int64
	hash    hash.Hash
}

// Record counts a record that stands whole. They come in the order of their lines.
func (t *Tally) Record(index int64) {
	t.records++
	t.Place(index)
}

// Place takes a record whose place is shown.
func (t *Tally) Place(index int64) {
	t.begin()
	_, _ = t.hash.Write(binary.BigEndian.AppendUint64(nil, uint64(index)))
}

func (t *Tally) begin() {
	if t.hash == nil {
		t.hash = sha256.New()
	}
}

// End is what was seen.
func (t *Tally) End(start int64) End {
	t.begin()
	return End{Start: start, Records: t.records, Indexes: t.hash.Sum(nil)}
}

// endText is what is signed: all of the statement that says which records are wanted, and not who asked and when.
func endText(s Statement, e End) (string, error) {
	data, err := json.Marshal(struct {
		Version   int               `json:"version"`
		Origin    string            `json:"origin"`
		Size      int64             `json:"size"`
		Filter    map[string]string `json:"filter"`
		LeftOut   string            `json:"leftOut"`
		Rendering string            `json:"rendering"`
		End
	}{s.Version, s.Origin, s.Size, s.Filter, s.LeftOut, s.Rendering, e})
	return endTitle + "\n" + string(data) + "\n", err
}

// EndLine is the last line of an export. The key may have been handed over since the first one was written: handovers are those of now.
func EndLine(s Statement, e End, handovers []string, signer note.Signer) ([]byte, error) {
	text, err := endText(s.current(), e)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, err
	}
	return encode(entry{End: &e, Signature: strings.TrimPrefix(string(signed), text), Handovers: handovers})
}
