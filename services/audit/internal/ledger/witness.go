package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
)

const (
	// witnessPatience bounds one request to a witness.
	witnessPatience = 20 * time.Second
	// largestAnswer is the most that is read of an answer.
	largestAnswer = 64 << 10
)

// WitnessConfig is somebody else who is shown every checkpoint and signs that it continues those before (C2SP tlog-witness).
type WitnessConfig struct {
	// URL is the witness's, without add-checkpoint.
	URL string `yaml:"url"`
	// PublicKey is name+hash+key, got from who runs the witness.
	PublicKey string `yaml:"publicKey"`
}

func (c WitnessConfig) check() error {
	if !plainURL(c.URL) {
		return fault.Invalid("ledger.witnesses: url must be http or https with a host, as https://witness.example/headgate, is %q", c.URL)
	}
	if _, err := base.ParseWitness(c.PublicKey); err != nil {
		return fault.Invalid("ledger.witnesses: publicKey of %s: %v", c.URL, err)
	}
	return nil
}

// witness is one of them.
type witness struct {
	log    *Ledger
	url    string
	key    *base.Witness
	client *http.Client
	size   int64 // of the last checkpoint that it signed
}

func newWitness(log *Ledger, cfg WitnessConfig) (*witness, error) {
	key, err := base.ParseWitness(cfg.PublicKey)
	if err != nil {
		return nil, err
	}
	return &witness{log: log, url: strings.TrimRight(cfg.URL, "/"), key: key, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		Timeout:       witnessPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (w *witness) String() string { return "the witness " + w.key.Name() }

func (w *witness) close() { w.client.CloseIdleConnections() }

// show has the witness sign the last checkpoint, if it did not yet.
func (w *witness) show(ctx context.Context) (int64, error) {
	last, is := w.log.Signed()
	if !is || last.Size <= w.size || last.Size == 0 {
		return w.size, nil
	}
	from := w.size
	for range 2 { // the second time with the size that the witness says, which is its word alone until it signs
		answer, size, err := w.submit(ctx, from, last)
		if err != nil {
			return 0, err
		}
		if answer == "" {
			if size > last.Size {
				return 0, fmt.Errorf("%w: it signed %d records, and this log has %d; records were lost, or somebody shows it another log", errOtherLog, size, last.Size)
			}
			from = size
			continue
		}
		text, at, err := w.key.Cosigned(last.Note, answer)
		if err != nil {
			return 0, err
		}
		if err := w.keep(text); err != nil {
			return 0, err
		}
		w.size = last.Size
		w.log.log.Debug("a witness signed the log's checkpoint", "witness", w.key.Name(), "size", last.Size, "at", at)
		return w.size, nil
	}
	return 0, errors.New("it says another size each time")
}

// submit posts a checkpoint with what proves that it continues the first records. It answers the signature, or the size that the witness wants the proof from.
func (w *witness) submit(ctx context.Context, from int64, last Signed) (answer string, size int64, err error) {
	body, err := w.log.submission(from, last)
	if err != nil {
		return "", 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	got, err := w.client.Do(request)
	if err != nil {
		return "", 0, fmt.Errorf("it cannot be reached: %w", err)
	}
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(got.Body, largestAnswer))
	if err != nil {
		return "", 0, fmt.Errorf("its answer breaks off: %w", err)
	}
	switch got.StatusCode {
	case http.StatusOK:
		return string(text), 0, nil
	case http.StatusConflict:
		size, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || size < 0 || size == from {
			return "", 0, fmt.Errorf("%w of %d records", errOtherLog, last.Size)
		}
		return "", size, nil
	case http.StatusUnprocessableEntity:
		return "", 0, fmt.Errorf("%w: the first %d records are not those that it signed", errOtherLog, from)
	case http.StatusNotFound:
		return "", 0, fmt.Errorf("it does not know the log %s: tell who runs it its public key", last.Origin)
	default:
		return "", 0, fmt.Errorf("it answers %s", got.Status)
	}
}

// submission is the size from which on there is a proof, the proof, and the checkpoint.
func (l *Ledger) submission(from int64, last Signed) ([]byte, error) {
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "old %d\n", from)
	if from > 0 && from < last.Size {
		view, err := l.View(last.Size)
		if err != nil {
			return nil, err
		}
		proof, err := tlog.ProveTree(last.Size, from, view.files)
		if err != nil {
			return nil, wrap("prove the tree", err)
		}
		for _, h := range proof {
			_, _ = fmt.Fprintln(&out, base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	_, _ = fmt.Fprintf(&out, "\n%s", last.Note)
	return out.Bytes(), nil
}

// keep stores what the witness signed in the folders where the log is published, a file for each witness.
func (w *witness) keep(text string) error {
	for _, f := range w.log.folders {
		if err := f.write(context.Background(), path.Join(base.WitnessedDir, hexHash(w.key.Name())[:16]), []byte(text)); err != nil {
			return fmt.Errorf("keep its signature: %w", err)
		}
	}
	return nil
}
