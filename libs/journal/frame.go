package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A frame is: length of what follows the check (uint32, little endian), CRC-32C of the same (uint32), kind (one byte), body.
// A length of zero ends the file: space that is reserved and not yet written reads as zeros.
const (
	frameHead = 9
	crcHead   = 8

	kindHeader  = 1 // the segment's first frame
	kindCarried = 2 // a started record of a call that was open when the segment began; it is also in an earlier segment
	kindRecord  = 3
)

// castagnoli is hardware's polynomial.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errEnd is where the frames of a segment end in order.
var errEnd = errors.New("end of the segment")

// errPartial is returned when the bytes stop within a frame.
var errPartial = errors.New("the bytes end within a frame")

// seal fills the head of a frame whose body already follows frameHead bytes.
func seal(frame []byte, kind byte) {
	frame[crcHead] = kind
	binary.LittleEndian.PutUint32(frame[0:], uint32(len(frame)-crcHead))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[crcHead:], castagnoli))
}

// nextFrame reads the frame that data begins with. The body is a part of data. size is how many bytes the frame takes.
func nextFrame(data []byte) (kind byte, body []byte, size int, err error) {
	if len(data) < 4 {
		if allZero(data) {
			return 0, nil, 0, errEnd
		}
		return 0, nil, 0, errPartial
	}
	length := binary.LittleEndian.Uint32(data)
	if length == 0 {
		return 0, nil, 0, errEnd
	}
	if length > MaxRecord+1024 {
		return 0, nil, 0, fmt.Errorf("a frame claims %d bytes, more than a record may have", length)
	}
	if len(data) < crcHead+int(length) {
		return 0, nil, 0, errPartial
	}
	size = crcHead + int(length)
	if crc32.Checksum(data[crcHead:size], castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return 0, nil, 0, errors.New("a frame's checksum does not hold")
	}
	kind = data[crcHead]
	if kind < kindHeader || kind > kindRecord {
		return 0, nil, 0, fmt.Errorf("a frame has the unknown kind %d", kind)
	}
	return kind, data[frameHead:size], size, nil
}

func allZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}
