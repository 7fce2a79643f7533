package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	"headgate.dev/libs/wholefile"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	// witnessPatience bounds one request to a witness.
	witnessPatience = 20 * time.Second
	// longestWait is the longest between two tries at a witness that does not answer.
	longestWait = 5 * time.Minute
	// largestAnswer is the most that is read of an answer.
	largestAnswer = 64 << 10
	// witnessAction is the event.action of what is recorded when a witness says that the log is another.
	witnessAction = "ledger-witness"
)

// WitnessConfig is somebody else who is shown every checkpoint and signs that it continues those before (C2SP tlog-witness).
type WitnessConfig struct {
	// URL is the witness's, without add-checkpoint.
	URL string `yaml:"url"`
	// PublicKey is name+hash+key, got from who runs the witness.
	PublicKey string `yaml:"publicKey"`
}

func (c WitnessConfig) check() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return fault.Invalid("ledger.witnesses: url must be http or https with a host, as https://witness.example/headgate, is %q", c.URL)
	}
	if _, err := base.ParseWitness(c.PublicKey); err != nil {
		return fault.Invalid("ledger.witnesses: publicKey of %s: %v", c.URL, err)
	}
	return nil
}

// errOtherLog is a witness's word that the log is not the one that it saw.
var errOtherLog = errors.New("it saw another log")

// witness is one of them. It is used by one goroutine.
type witness struct {
	url    string
	key    *base.Witness
	client *http.Client
	size   int64 // of the last checkpoint that it signed
	failed error // what it answered last, so that it is said once
}

// ShowWitnesses shows every checkpoint to every witness until ctx ends. One that does not answer is tried again; the log goes on meanwhile.
func (l *Ledger) ShowWitnesses(ctx context.Context, sink record.Sink) error {
	var all sync.WaitGroup
	for _, cfg := range l.cfg.Witnesses {
		key, err := base.ParseWitness(cfg.PublicKey)
		if err != nil {
			return err
		}
		transport := &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
		w := &witness{url: strings.TrimRight(cfg.URL, "/"), key: key, client: &http.Client{
			Transport: transport, Timeout: witnessPatience,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		all.Go(func() {
			defer transport.CloseIdleConnections()
			l.show(ctx, w, sink)
		})
	}
	all.Wait()
	return nil
}

func (l *Ledger) show(ctx context.Context, w *witness, sink record.Sink) {
	wait := l.cfg.CheckpointEvery
	for {
		signed, err := l.witnessed(ctx, w)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(2*wait, longestWait)
			if !alike(w.failed, err) {
				l.log.Error("a witness did not sign the log's checkpoint; it is tried again", "witness", w.key.Name(), "cause", err)
				l.accused(w, err, sink)
			}
			w.failed = err
		default:
			wait = l.cfg.CheckpointEvery
			if signed && w.failed != nil {
				l.log.Info("the witness signs again", "witness", w.key.Name())
				w.failed = nil
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// alike reports whether an error says what the one before said. That it saw another log is one thing to say, whatever the size is by now.
func alike(before, now error) bool {
	if before == nil {
		return false
	}
	return errors.Is(before, errOtherLog) && errors.Is(now, errOtherLog) || before.Error() == now.Error()
}

// accused records a witness's word that this is another log: either this one was changed, or the witness was shown another.
func (l *Ledger) accused(w *witness, why error, sink record.Sink) {
	if !errors.Is(why, errOtherLog) {
		return
	}
	err := sink.Append(&eventsv1.Event{
		Action: witnessAction, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Tenant: ownTenant, Principal: record.Service("audit"), Alert: true,
		Decision: &eventsv1.Decision{Stage: "witness", Sentence: "The witness " + w.key.Name() + " does not sign: " + why.Error() + ". Keep the ledger's folder for an investigation and compare it with what was published."},
	}, journal.Spool)
	if err != nil {
		l.log.Error("a witness's word could not be recorded", "cause", err)
	}
}

// witnessed has the witness sign the last checkpoint, if it did not yet, and reports whether it did.
func (l *Ledger) witnessed(ctx context.Context, w *witness) (bool, error) {
	last, is := l.Signed()
	if !is || last.Size <= w.size || last.Size == 0 {
		return false, nil
	}
	from := w.size
	for range 2 { // the second time with the size that the witness says, which is its word alone until it signs
		answer, size, err := l.submit(ctx, w, from, last)
		if err != nil {
			return false, err
		}
		if answer == "" {
			if size > last.Size {
				return false, fmt.Errorf("%w: it signed %d records, and this log has %d; records were lost, or somebody shows it another log", errOtherLog, size, last.Size)
			}
			from = size
			continue
		}
		text, at, err := w.key.Cosigned(last.Note, answer)
		if err != nil {
			return false, err
		}
		if err := l.keep(w, text); err != nil {
			return false, err
		}
		w.size = last.Size
		l.log.Debug("a witness signed the log's checkpoint", "witness", w.key.Name(), "size", last.Size, "at", at)
		return true, nil
	}
	return false, errors.New("it says another size each time")
}

// submit posts a checkpoint with what proves that it continues the first records. It answers the signature, or the size that the witness wants the proof from.
func (l *Ledger) submit(ctx context.Context, w *witness, from int64, last Signed) (answer string, size int64, err error) {
	body, err := l.submission(from, last)
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

// keep stores what the witness signed where the log is published, a file for each witness.
func (l *Ledger) keep(w *witness, text string) error {
	for _, dir := range l.publicDirs() {
		path := filepath.Join(dir, base.WitnessedDir, hexHash(w.key.Name())[:16])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("keep its signature: %w", err)
		}
		if err := wholefile.Replace(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("keep its signature: %w", err)
		}
	}
	return nil
}

func (l *Ledger) publicDirs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, p := range l.places {
		out = append(out, p.dir)
	}
	return out
}
