package ledger

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// openAlone is open for a note that has one signature and nothing else: what stands in an export or a proof. Words of others, which nobody signed, could be added otherwise.
func (k *Keyring) openAlone(signed string) (string, error) {
	text, err := k.open(signed)
	if err != nil {
		return "", err
	}
	if _, rest, _ := strings.Cut(strings.TrimPrefix(signed, text), "\n"); strings.Count(rest, "\n") != 1 {
		return "", errors.New("something was added to its signature")
	}
	return text, nil
}

// checkpointAlone is Checkpoint for one that stands in an export or a proof.
func (k *Keyring) checkpointAlone(signed string) (Checkpoint, error) {
	if _, err := k.openAlone(signed); err != nil {
		return Checkpoint{}, err
	}
	return k.Checkpoint(signed)
}

// handover is what the log's key says of its successor: who signed it, by the hash of the key, and the public key that it names. The signature is not checked.
type handover struct {
	by     uint32
	public string
}

// readHandover reads a handover of this log that has its form and nothing else.
func (k *Keyring) readHandover(signed string) (handover, error) {
	text, signature, _ := strings.Cut(signed, "\n\n")
	refused := errors.New("it is not one, or something was added to it")
	lines := strings.Split(text, "\n")
	blob, named := strings.CutPrefix(signature, "— "+k.origin+" ")
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(blob, "\n"))
	if len(lines) != 3 || lines[0] != handoverTitle || lines[1] != k.origin || !named || strings.Count(blob, "\n") != 1 || err != nil || len(raw) != 4+64 {
		return handover{}, refused
	}
	v, err := note.NewVerifier(lines[2])
	if err != nil || v.Name() != k.origin {
		return handover{}, refused
	}
	return handover{by: binary.BigEndian.Uint32(raw), public: lines[2]}, nil
}

// followExactly is FollowAll for the handovers in an export or a proof, among which nothing else may stand. Those from before the trusted key must lead to it: each is
// signed by a key that one before it names, or by that of the first, whose signature nobody can check who does not trust its key.
func (k *Keyring) followExactly(handovers []string) error {
	older := &Keyring{origin: k.origin}
	first, named, known := handover{}, []string{}, true
	for i, signed := range handovers {
		h, err := k.readHandover(signed)
		switch {
		case err != nil:
		case slices.Contains(named, h.public):
			err = errors.New("it is there twice")
		case known && k.Follow(signed) == nil:
			older = nil
		case older == nil:
			err = errors.New("no trusted key has signed it")
		case i > 0 && h.by != first.by:
			_, err = older.open(signed)
		}
		if err != nil {
			return fmt.Errorf("handover %d of the log's key: %w", i+1, err)
		}
		if i == 0 {
			first = h
		}
		if older != nil {
			known = k.Trusts(h.public)
			older.trust(h.public)
		}
		named = append(named, h.public)
	}
	if !known {
		return errors.New("the handovers of the log's key do not lead to the trusted one")
	}
	return nil
}

// trust adds a public key that was read before.
func (k *Keyring) trust(public string) {
	if v, err := note.NewVerifier(public); err == nil {
		k.verifiers, k.public = append(k.verifiers, v), append(k.public, public)
	}
}
