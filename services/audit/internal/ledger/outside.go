package ledger

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	// longestWait is the longest between two tries at one that does not take the checkpoint.
	longestWait = 5 * time.Minute
	// lastPatience is how long the end of the service waits for all outside.
	lastPatience = 5 * time.Second
)

// errOtherLog says that somebody outside knows another log than this one.
var errOtherLog = errors.New("it knows another log")

// outsider is a witness or a bucket: it gets every checkpoint, out of reach of who runs the ledger. One goroutine uses it.
type outsider interface {
	String() string
	// show gives it the last checkpoint unless it has it, and answers of how many records the one is that it has.
	show(ctx context.Context) (int64, error)
	close()
}

// plainURL reports whether an address is http or https with a host and a path, and no more: no name, password or query.
func plainURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == ""
}

// outsiders are all of them, as they are configured. None is asked yet.
func (l *Ledger) outsiders() ([]outsider, error) {
	var out []outsider
	for _, cfg := range l.cfg.Witnesses {
		w, err := newWitness(l, cfg)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	if l.cfg.Bucket.used() {
		b, err := newBucket(l, l.cfg.Bucket)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// Show shows every checkpoint to all outside until ctx ends. One that does not take it is tried again; the log goes on meanwhile.
func (l *Ledger) Show(ctx context.Context, sink record.Sink) {
	l.each(func(o outsider) { l.showAgain(ctx, o, l.shown.WithLabelValues(o.String()), sink) })
}

// ShowLast shows all outside the checkpoint that was signed last, once, when the service ends: until the next start nobody would.
func (l *Ledger) ShowLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastPatience)
	defer cancel()
	l.each(func(o outsider) {
		if _, err := o.show(ctx); err != nil {
			l.log.Warn("the log's last checkpoint was not taken outside; it is shown again at the next start", "by", o.String(), "cause", err)
		}
	})
}

// each does something with all outside at once, and returns when it is done with them.
func (l *Ledger) each(do func(o outsider)) {
	var running sync.WaitGroup
	for _, o := range l.outside {
		running.Go(func() {
			defer o.close()
			do(o)
		})
	}
	running.Wait()
}

// newShown counts what everybody outside has.
func newShown() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "headgate_audit_checkpoint_outside_records", Help: "Records below the last checkpoint that a witness or bucket took."}, []string{"by"})
}

// Register counts on to: how many records are signed, and of how many everybody outside has the checkpoint.
func (l *Ledger) Register(to prometheus.Registerer) error {
	signed := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headgate_audit_checkpoint_records", Help: "Records below the ledger's last checkpoint."}, func() float64 {
		last, _ := l.Signed()
		return float64(last.Size)
	})
	return errors.Join(to.Register(signed), to.Register(l.shown))
}

func (l *Ledger) showAgain(ctx context.Context, o outsider, shown prometheus.Gauge, sink record.Sink) {
	wait := l.cfg.CheckpointEvery
	var failed error // what it answered last, so that it is said once
	for {
		size, err := o.show(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(2*wait, longestWait)
			if !alike(failed, err) {
				l.log.Error("the log's checkpoint was not taken outside; it is tried again", "by", o.String(), "cause", err)
				l.accused(ctx, o.String(), err, sink)
			}
			failed = err
		default:
			wait = l.cfg.CheckpointEvery
			shown.Set(float64(size))
			if failed != nil {
				l.log.Info("the log's checkpoint is taken again", "by", o.String())
				failed = nil
			}
		}
		if !clock.Sleep(ctx, wait) {
			return
		}
	}
}

// alike reports whether an error says what the one before said. That it knows another log is one thing to say, whatever the size is by now.
func alike(before, now error) bool {
	if before == nil {
		return false
	}
	return errors.Is(before, errOtherLog) && errors.Is(now, errOtherLog) || before.Error() == now.Error()
}

// accused records the word of somebody outside that this is another log: either this one was changed, or they were shown another.
func (l *Ledger) accused(ctx context.Context, by string, why error, sink record.Sink) {
	if !errors.Is(why, errOtherLog) {
		return
	}
	l.tell(ctx, sink, "somebody outside knows another log", &eventsv1.Event{
		Action: record.LedgerWitness, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Tenant: record.SystemTenant, Principal: record.Service("audit"), Alert: true,
		Decision: &eventsv1.Decision{Stage: "witness", Sentence: "The log's checkpoint was not taken by " + by + ": " + why.Error() + ". Keep the ledger's folder for an investigation and compare it with what was published."},
	})
}
