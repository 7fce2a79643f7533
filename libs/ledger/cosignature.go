package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	// algCosignature is what a witness's key is for (C2SP tlog-cosignature): Ed25519, over the checkpoint and the time.
	algCosignature = 4
	cosignatureV1  = "cosignature/v1\n"
	timestampBytes = 8
)

// Witness is somebody else who saw checkpoints and signs that it saw no other log. It implements note.Verifier. Safe for concurrent use.
type Witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

var _ note.Verifier = (*Witness)(nil)

// ParseWitness reads a witness's public key, name+hash+key.
func ParseWitness(text string) (*Witness, error) {
	refused := errors.New("that is not a witness's key: it must be name+hash+key, as C2SP tlog-cosignature has it")
	name, rest, _ := strings.Cut(strings.TrimSpace(text), "+")
	said, encoded, _ := strings.Cut(rest, "+")
	hash, hashErr := hex.DecodeString(said)
	key, keyErr := base64.StdEncoding.DecodeString(encoded)
	if hashErr != nil || keyErr != nil || len(hash) != 4 || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignature || name == "" || strings.ContainsAny(name, " \t\r\n") {
		return nil, refused
	}
	w := &Witness{name: name, hash: cosignerHash(name, key), key: key[1:]}
	if w.hash != binary.BigEndian.Uint32(hash) {
		return nil, refused
	}
	return w, nil
}

func cosignerHash(name string, key []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(sum[:])
}

// Name implements note.Verifier.
func (w *Witness) Name() string { return w.name }

// KeyHash implements note.Verifier.
func (w *Witness) KeyHash() uint32 { return w.hash }

// Verify implements note.Verifier.
func (w *Witness) Verify(msg, sig []byte) bool {
	if len(sig) != timestampBytes+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(w.key, cosigned(msg, binary.BigEndian.Uint64(sig)), sig[timestampBytes:])
}

func cosigned(msg []byte, at uint64) []byte {
	return append([]byte(cosignatureV1+"time "+strconv.FormatUint(at, 10)+"\n"), msg...)
}

// Cosigned adds the signature lines of an answer to a checkpoint, and says when the witness signed. Only what the witness signed is added.
func (w *Witness) Cosigned(checkpoint, lines string) (string, time.Time, error) {
	open, err := note.Open([]byte(checkpoint+lines), note.VerifierList(w))
	if err != nil || len(open.Sigs) != 1 {
		return "", time.Time{}, fmt.Errorf("the answer is not the signature of the witness %s", w.name)
	}
	sig, err := base64.StdEncoding.DecodeString(open.Sigs[0].Base64)
	if err != nil || len(sig) < 4+timestampBytes {
		return "", time.Time{}, fmt.Errorf("the answer is not the signature of the witness %s", w.name)
	}
	at := binary.BigEndian.Uint64(sig[4:])
	return checkpoint + "— " + w.name + " " + open.Sigs[0].Base64 + "\n", time.Unix(int64(min(at, 1<<60)), 0).UTC(), nil
}
