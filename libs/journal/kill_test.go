package journal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const victimDir = "HEADGATE_JOURNAL_VICTIM"

var smallSegments = Config{SegmentBytes: 64 << 10, SyncEvery: time.Millisecond}

// sayer prints what has happened, one line at a time, so that the parent knows what it may rely on.
type sayer struct {
	mu  sync.Mutex
	out io.Writer
}

func (s *sayer) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

// Publish acknowledges by printing what it was given.
func (s *sayer) Publish(_ context.Context, batch []Message) error {
	for _, m := range batch {
		ev := &eventsv1.Event{}
		if err := proto.Unmarshal(m.Value, ev); err != nil {
			return err
		}
		s.say("published %s %d %d %s %d", ev.GetId(), ev.GetSequence(), ev.GetPhase(), ev.GetCallId(), ev.GetOutcome())
	}
	return nil
}

// victim appends from several goroutines and ships, until it is killed.
func victim(dir string) int {
	cfg := smallSegments
	cfg.Dir = dir
	w, err := Open(cfg, "edge", quiet, clock.System)
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	out := &sayer{out: os.Stdout}
	out.say("open %s", w.Status().Writer)
	ctx := context.Background()
	go func() { out.say("failed %v", w.Run(ctx)) }()
	go func() { out.say("failed %v", NewShipper(w, out, quiet).Run(ctx)) }()
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				callID := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				for _, phase := range []eventsv1.Phase{start, final} {
					ev := call("", callID, phase)
					if err := w.Append(ev, Mode(g%2)); err != nil {
						out.say("failed %v", err)
						return
					}
					out.say("appended %s %s", ev.GetId(), callID)
				}
			}
		})
	}
	wg.Wait()
	return 1
}

// trail is what is known of all rounds.
type trail struct {
	appended map[string]bool            // ids of which Append said that they are recorded
	events   map[string]*eventsv1.Event // by id, published or still on disk
	writers  map[string]bool
}

// TestKilledProcess kills a process with SIGKILL while it appends and ships, again and again in one directory, and then looks at everything that it left.
func TestKilledProcess(t *testing.T) {
	const rounds = 20
	cfg := smallSegments
	cfg.Dir = t.TempDir()
	all := trail{appended: map[string]bool{}, events: map[string]*eventsv1.Event{}, writers: map[string]bool{}}
	for range rounds {
		killOnce(t, cfg.Dir, 40+rand.IntN(400), all)
	}
	w := openAt(t, cfg)
	kept := stored(t, cfg.Dir)
	for _, ev := range kept {
		all.events[ev.GetId()] = ev
	}
	for id := range all.appended {
		if all.events[id] == nil {
			t.Errorf("event %s was appended and is neither in the journal nor published", id)
		}
	}
	if len(all.writers) != 1 {
		t.Errorf("the directory had the writers %v", all.writers)
	}
	checkTrail(t, all.events, w.Status().Written)
	t.Logf("%d rounds: %d records acknowledged, %d in all, %d of them still on disk", rounds, len(all.appended), w.Status().Written, len(kept))
}

// checkTrail wants every sequence once, and for every started record exactly one final.
func checkTrail(t *testing.T, events map[string]*eventsv1.Event, written uint64) {
	t.Helper()
	sequences := map[uint64]string{}
	starts, finals, unknown := map[string]int{}, map[string]int{}, 0
	for id, ev := range events {
		if other, taken := sequences[ev.GetSequence()]; taken {
			t.Errorf("record %d is both %s and %s", ev.GetSequence(), id, other)
		}
		sequences[ev.GetSequence()] = id
		if ev.GetPhase() == start {
			starts[ev.GetCallId()]++
		} else {
			finals[ev.GetCallId()]++
		}
		if ev.GetOutcome() == eventsv1.Outcome_OUTCOME_UNKNOWN {
			unknown++
		}
	}
	if uint64(len(sequences)) != written || sequences[1] == "" || sequences[written] == "" {
		t.Errorf("%d sequences are known of %d", len(sequences), written)
	}
	for id, n := range starts {
		if n != 1 || finals[id] != 1 {
			t.Errorf("call %s has %d started and %d final records", id, n, finals[id])
		}
	}
	if len(finals) != len(starts) || unknown == 0 {
		t.Errorf("%d calls started, %d ended, %d of them by a crash", len(starts), len(finals), unknown)
	}
}

// killOnce runs a process until it has said so many lines, kills it and notes what it said.
func killOnce(t *testing.T, dir string, lines int, all trail) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		words := strings.Fields(scanner.Text())
		switch words[0] {
		case "appended":
			all.appended[words[1]] = true
		case "published":
			sequence, _ := strconv.ParseUint(words[2], 10, 64)
			phase, _ := strconv.Atoi(words[3])
			outcome, _ := strconv.Atoi(words[5])
			ev := &eventsv1.Event{Id: words[1], Sequence: sequence, Phase: eventsv1.Phase(phase), CallId: words[4], Outcome: eventsv1.Outcome(outcome)}
			if known := all.events[ev.GetId()]; known != nil && known.GetSequence() != sequence {
				t.Errorf("event %s was published as record %d and as record %d", ev.GetId(), known.GetSequence(), sequence)
			}
			all.events[ev.GetId()] = ev
		case "open":
			all.writers[words[1]] = true
		default:
			t.Fatalf("the process says: %s", scanner.Text())
		}
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process was not killed: %v", err)
	}
}
