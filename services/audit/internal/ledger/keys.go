package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/wholefile"
)

const (
	keyFile       = "key"      // the private key, for the owner alone
	nextKeyFile   = "key.next" // its successor, before it is handed over to
	handoverFirst = 1
)

// keys are what the log signs with.
type keys struct {
	signer    note.Signer
	public    string
	handovers []string
	due       bool // for a successor: it is old, or a crash cut the handover short
}

// openKeys reads the key, makes it at the first start, and finds out whether it is to be handed over.
func openKeys(cfg Config, now clock.Now) (keys, error) {
	path := filepath.Join(cfg.Dir, keyFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(cfg.Dir, historyFile)); err == nil {
			return keys{}, broken("The key of the ledger in %s is missing, and the log is signed already. Restore %s from a copy: another key would be another log.", cfg.Dir, path)
		}
		origin := cfg.Origin
		if origin == "" {
			origin = "headgate-ledger/" + ids.New()
		}
		if _, err := makeKey(cfg.Dir, origin, keyFile); err != nil {
			return keys{}, err
		}
	}
	k, err := readKeys(cfg.Dir)
	if err != nil {
		return keys{}, err
	}
	if cfg.Origin != "" && cfg.Origin != k.signer.Name() {
		return keys{}, fault.Invalid("ledger.origin: the ledger in %s is %q and stays so, not %q", cfg.Dir, k.signer.Name(), cfg.Origin)
	}
	info, err := os.Stat(path)
	if err != nil {
		return keys{}, unusable(cfg.Dir, err)
	}
	_, pending := os.Stat(filepath.Join(cfg.Dir, nextKeyFile))
	k.due = pending == nil || (cfg.RotateAfter > 0 && now().Sub(info.ModTime()) >= cfg.RotateAfter)
	if err := k.show(cfg.Dir); err != nil {
		return keys{}, unusable(cfg.Dir, err)
	}
	return k, nil
}

// show keeps the public key in its file. One that is there stays: a full disk does not keep a ledger from being opened.
func (k keys) show(dir string) error {
	path, text := filepath.Join(dir, base.PublicKeyFile), []byte(k.public+"\n")
	if shown, err := os.ReadFile(path); err == nil && bytes.Equal(shown, text) {
		return nil
	}
	return wholefile.Replace(path, text, 0o644)
}

// vouch finds a checkpoint of the history that was not signed with this key and should be: somebody who can write the ledger's files but does not have the key put it
// there, and what is signed next would make it good. A key has no say in the checkpoints before its first, which its predecessors signed: those hold by the handovers,
// for who trusts an older key. The last is always this key's, because a handover signs it again; while one is under way, it may be that of the successor it names.
func (k keys) vouch(history []Signed) error {
	ring, err := base.NewKeyring(k.public)
	if err != nil {
		return err
	}
	if n := len(k.handovers); k.due && n > 0 {
		_ = ring.Follow(k.handovers[n-1]) // fails for the word that made this key, which trusts nobody more
	}
	begun := len(k.handovers) == 0
	for i, s := range history {
		_, err := ring.Checkpoint(s.Note)
		if err != nil && (begun || i == len(history)-1) {
			return fmt.Errorf("the ledger's key has not signed the checkpoint of %d records that %s has: %w", s.Size, historyFile, err)
		}
		begun = begun || err == nil
	}
	return nil
}

// makeKey makes a key file that holds the private and the public part, a line each.
func makeKey(dir, origin, name string) (public string, err error) {
	private, public, err := base.NewKey(origin)
	if err != nil {
		return "", err
	}
	if err := wholefile.Replace(filepath.Join(dir, name), []byte(private+"\n"+public+"\n"), 0o600); err != nil {
		return "", unusable(dir, err)
	}
	return public, nil
}

func readKey(path string) (note.Signer, string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", unusable(filepath.Dir(path), err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, "", fault.Invalid("The ledger's key %s can be read by others (%o). Make it 0600; if somebody may have read it, hand over to a new one.", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", unusable(filepath.Dir(path), err)
	}
	lines := strings.Fields(string(data))
	if len(lines) != 2 {
		return nil, "", broken("The ledger's key %s is not one. Restore it from a copy.", path)
	}
	signer, err := note.NewSigner(lines[0])
	if err != nil {
		return nil, "", broken("The ledger's key %s is not one. Restore it from a copy.", path) // the error would show the key
	}
	return signer, lines[1], nil
}

func readKeys(dir string) (keys, error) {
	var k keys
	var err error
	if k.signer, k.public, err = readKey(filepath.Join(dir, keyFile)); err != nil {
		return keys{}, err
	}
	for n := handoverFirst; ; n++ {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf(base.HandoverFile, n)))
		if errors.Is(err, os.ErrNotExist) {
			return k, nil
		}
		if err != nil {
			return keys{}, unusable(dir, err)
		}
		k.handovers = append(k.handovers, string(data))
	}
}

// rotate hands over to a new key, which signs what was signed last before it takes the old one's place. A crash in between is finished at the next start: the new key
// stands beside the old one until then. One that the old key has not given its word for was put there by a crash or by somebody else, and is made anew.
func (k keys) rotate(dir string, sign func(next note.Signer, public string) error) (keys, error) {
	next := filepath.Join(dir, nextKeyFile)
	signer, public, err := k.named(next)
	if err != nil {
		return keys{}, err
	}
	if signer == nil {
		if _, err := makeKey(dir, k.signer.Name(), nextKeyFile); err != nil {
			return keys{}, err
		}
		if signer, public, err = readKey(next); err != nil {
			return keys{}, err
		}
		word, err := base.SignHandover(k.signer.Name(), public, k.signer)
		if err != nil {
			return keys{}, err
		}
		if err := wholefile.Replace(filepath.Join(dir, fmt.Sprintf(base.HandoverFile, len(k.handovers)+handoverFirst)), []byte(word), 0o600); err != nil {
			return keys{}, unusable(dir, err)
		}
		k.handovers = append(slices.Clone(k.handovers), word)
	}
	if err := sign(signer, public); err != nil {
		return keys{}, unusable(dir, err)
	}
	if err := os.Rename(next, filepath.Join(dir, keyFile)); err != nil {
		return keys{}, unusable(dir, err)
	}
	after := keys{signer: signer, public: public, handovers: k.handovers} // holds from here on, whatever fails
	if err := errors.Join(wholefile.SyncDir(dir), after.show(dir)); err != nil {
		return after, unusable(dir, err)
	}
	return after, nil
}

// named is the successor that this key has given its word for; none when there is no such key.
func (k keys) named(path string) (note.Signer, string, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || len(k.handovers) == 0 {
		return nil, "", nil
	}
	ring, err := base.NewKeyring(k.public)
	if err != nil {
		return nil, "", err
	}
	word := k.handovers[len(k.handovers)-1]
	signer, public, err := readKey(path)
	if err != nil || !strings.Contains(word, public) || ring.Follow(word) != nil {
		return nil, "", err
	}
	return signer, public, nil
}

// Rotate hands over to a new key at once. Who trusts an old one can follow.
func (l *Ledger) Rotate() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rotate()
}

func (l *Ledger) rotate() error {
	k, err := l.keys.rotate(l.cfg.Dir, l.signAgain)
	if k.signer != nil {
		l.keys = k
		return err
	}
	if k, again := readKeys(l.cfg.Dir); again == nil { // the old key's word may be written
		l.keys.handovers = k.handovers
	}
	l.keys.due = true // the successor may have signed
	return err
}

// signAgain signs with the next key what was signed last, so that the last checkpoint is always of the key that stands in its file.
func (l *Ledger) signAgain(next note.Signer, public string) error {
	if len(l.history) == 0 {
		return nil
	}
	last := l.history[len(l.history)-1]
	ring, err := base.NewKeyring(public)
	if err != nil {
		return err
	}
	if _, err := ring.Checkpoint(last.Note); err == nil {
		return nil // a crash came after it
	}
	return l.sign(last.Checkpoint, next)
}

// PublicKey is the key that the log is signed with now, for verifiers.
func (l *Ledger) PublicKey() (public string, handovers []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys.public, l.keys.handovers
}
