package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says how long the log is and what its tree's hash is: C2SP tlog-checkpoint.
type Checkpoint struct {
	// Origin names the log; it is also the name of its key.
	Origin string
	Size   int64
	Root   tlog.Hash
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// parseCheckpoint reads the text of a checkpoint. Lines that follow the first three are extensions and have no meaning here.
func parseCheckpoint(text string) (Checkpoint, error) {
	refused := errors.New("the signed text is not a checkpoint")
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" || lines[len(lines)-1] != "" {
		return Checkpoint{}, refused
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || lines[1] != strconv.FormatInt(size, 10) {
		return Checkpoint{}, refused
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, refused
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}

// SignCheckpoint is the checkpoint as a signed note.
func SignCheckpoint(c Checkpoint, signers ...note.Signer) (string, error) {
	signed, err := note.Sign(&note.Note{Text: c.Text()}, signers...)
	return string(signed), err
}

// The first lines of what a log's key signs besides checkpoints. No origin is one of them.
const (
	handoverTitle = "headgate.dev/key-handover/v1"
	exportTitle   = "headgate.dev/export/v1"
	endTitle      = "headgate.dev/export-end/v1"
)

// CheckOrigin says whether a log can have this name.
func CheckOrigin(origin string) error {
	if origin == "" || len(origin) > 200 || slices.Contains([]string{handoverTitle, exportTitle, endTitle}, origin) || strings.ContainsFunc(origin, func(r rune) bool { return r <= ' ' || r == '+' || r > '~' }) {
		return fmt.Errorf("%q cannot name a ledger: it takes 1 to 200 visible ASCII characters without spaces and +, as audit.bank.example/headgate", origin)
	}
	return nil
}

// NewKey makes a key pair for a log, in the form of signed notes: the private part for the key file, the public part for everyone.
func NewKey(origin string) (private, public string, err error) {
	if err := CheckOrigin(origin); err != nil {
		return "", "", err
	}
	return note.GenerateKey(rand.Reader, origin)
}

// SignHandover is the old key's word that public is its successor.
func SignHandover(origin, public string, old note.Signer) (string, error) {
	signed, err := note.Sign(&note.Note{Text: handoverTitle + "\n" + origin + "\n" + public + "\n"}, old)
	return string(signed), err
}

// Keyring is the keys that are trusted, all of one log.
type Keyring struct {
	origin    string
	verifiers []note.Verifier
	public    []string
}

// NewKeyring trusts a public key in the form of signed notes, as "name+hash+key".
func NewKeyring(public string) (*Keyring, error) {
	public = strings.TrimSpace(public)
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, errors.New("the public key is not one: it must be one line, as name+hash+key, as `headgate audit key` prints it")
	}
	return &Keyring{origin: v.Name(), verifiers: []note.Verifier{v}, public: []string{public}}, nil
}

// Origin is the log whose keys these are.
func (k *Keyring) Origin() string { return k.origin }

// open returns the text of a note that one of the keys signed.
func (k *Keyring) open(signed string) (string, error) {
	n, err := note.Open([]byte(signed), note.VerifierList(k.verifiers...))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return "", errors.New("no trusted key has signed it")
	case err != nil:
		return "", errors.New("its signature does not hold")
	}
	for _, sig := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return "", errors.New("its signature does not hold") // bits that mean nothing were changed
		}
	}
	return n.Text, nil
}

// Follow trusts the key that a trusted key names as its successor.
func (k *Keyring) Follow(handover string) error {
	text, err := k.open(handover)
	if err != nil {
		return err
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != handoverTitle || lines[1] != k.origin {
		return errors.New("it does not hand this log over")
	}
	v, err := note.NewVerifier(lines[2])
	if err != nil || v.Name() != k.origin {
		return errors.New("it names no key of this log")
	}
	if k.Trusts(lines[2]) {
		return nil // twice the same verifier would be ambiguous
	}
	k.verifiers, k.public = append(k.verifiers, v), append(k.public, lines[2])
	return nil
}

// Clone is a keyring of its own, which may come to trust more keys.
func (k *Keyring) Clone() *Keyring {
	return &Keyring{origin: k.origin, verifiers: slices.Clone(k.verifiers), public: slices.Clone(k.public)}
}

// FollowAll follows handovers in their order. The first ones may be older than the trusted key, which then has no say in them.
func (k *Keyring) FollowAll(handovers []string) error {
	followed := false
	for i, h := range handovers {
		err := k.Follow(h)
		if err != nil && followed {
			return fmt.Errorf("handover %d of the log's key: %w", i+1, err)
		}
		followed = followed || err == nil
	}
	return nil
}

// Checkpoint reads a signed checkpoint of this log.
func (k *Keyring) Checkpoint(signed string) (Checkpoint, error) {
	text, err := k.open(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseCheckpoint(text)
	switch {
	case err != nil:
		return Checkpoint{}, err
	case c.Origin != k.origin:
		return Checkpoint{}, fmt.Errorf("it is of the log %q, and the key is for %q", c.Origin, k.origin)
	}
	return c, nil
}

func emptyRoot() tlog.Hash { return sha256.Sum256(nil) }

// ReadCheckpoint reads a note from a file of reasonable length.
func ReadCheckpoint(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, 64<<10))
	return string(data), err
}

// UncheckedCheckpoint reads a checkpoint without checking its signatures: for who wrote it.
func UncheckedCheckpoint(signed string) (Checkpoint, error) {
	text, _, found := strings.Cut(signed, "\n\n")
	if !found {
		return Checkpoint{}, errors.New("the text is not a signed note")
	}
	return parseCheckpoint(text + "\n")
}
