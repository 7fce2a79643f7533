package journal

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
)

// position remembers the last record that Kafka acknowledged. Two slots are written in turn, so that one is always whole. It may fall behind when the
// machine dies; records are then shipped again and deduplicated by their id.
type position struct {
	mu       sync.Mutex
	file     *os.File
	sequence uint64
	slot     int64
}

const slotBytes = 12

func openPosition(dir string) (*position, error) {
	f, err := os.OpenFile(filepath.Join(dir, "shipped"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p := &position{file: f}
	var data [2 * slotBytes]byte
	n, _ := f.ReadAt(data[:], 0)
	if n < len(data) {
		// The space is taken now, so that a full disk does not forget what is shipped.
		if _, err := f.WriteAt(data[n:], int64(n)); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	for slot := int64(0); int(slot+1)*slotBytes <= n; slot++ {
		raw := data[slot*slotBytes:][:slotBytes]
		if crc32.Checksum(raw[:8], castagnoli) != binary.LittleEndian.Uint32(raw[8:]) {
			continue
		}
		if sequence := binary.LittleEndian.Uint64(raw); sequence >= p.sequence {
			p.sequence, p.slot = sequence, 1-slot
		}
	}
	return p, nil
}

func (p *position) get() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sequence
}

func (p *position) set(sequence uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	raw := binary.LittleEndian.AppendUint64(make([]byte, 0, slotBytes), sequence)
	raw = binary.LittleEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
	if _, err := p.file.WriteAt(raw, p.slot*slotBytes); err != nil {
		return err
	}
	p.sequence, p.slot = sequence, 1-p.slot
	return nil
}

func (p *position) close() { _ = p.file.Close() }
