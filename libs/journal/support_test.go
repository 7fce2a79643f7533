package journal

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	start = eventsv1.Phase_PHASE_STARTED
	final = eventsv1.Phase_PHASE_FINAL
)

var quiet = slog.New(slog.DiscardHandler)

// call is an ordinary started or final record of a tool call.
func call(id, callID string, phase eventsv1.Phase) *eventsv1.Event {
	ev := &eventsv1.Event{
		Id: id, Action: "tool-call", Phase: phase, Time: timestamppb.New(time.Unix(1_790_000_000, 12345678)), Tenant: "acme", Service: "edge", CallId: callID,
		Principal: &eventsv1.Principal{
			Person: "ana", Email: "ana@acme.example", DisplayName: "Ana Ruiz", Roles: []string{"support"}, Agent: "client:claude",
			ClientName: "claude-code", ClientVersion: "2.1.0", ClientId: "claude", TokenId: "tok_0197a3",
		},
		Source:  &eventsv1.Source{Ip: "203.0.113.7", UserAgent: "claude-code/2.1.0"},
		Request: &eventsv1.Request{Method: "tools/call", Id: "17", ProtocolVersion: "2025-11-25", Endpoint: "/mcp/tickets"},
		Target: &eventsv1.Target{
			Server: "tickets", Tool: "close_ticket", Address: "127.0.0.1:9400",
			DefinitionHash: "sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
		},
		Decision:  &eventsv1.Decision{Id: "dec_0197a3", Effect: "allow", Rule: "tickets/support-may-close", Policy: "tickets", PolicyVersion: 3, AuthzRevision: 42},
		Arguments: &eventsv1.Payload{Hmac: "8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918", Bytes: 34},
		Trace:     &eventsv1.Trace{TraceId: "4bf92f3577b34da6a3ce929d0e0e4736", SpanId: "00f067aa0ba902b7"},
	}
	if phase == eventsv1.Phase_PHASE_FINAL {
		ev.Outcome, ev.DurationNs = eventsv1.Outcome_OUTCOME_SUCCESS, 1_234_567
	}
	return ev
}

// openAt opens a journal and closes it when the test ends.
func openAt(tb testing.TB, cfg Config) *Writer {
	tb.Helper()
	w, err := Open(cfg, "edge", quiet, clock.System)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// runUntilEnd runs the sync loop until the test ends.
func runUntilEnd(tb testing.TB, w *Writer) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
}

func mustAppend(tb testing.TB, w *Writer, events ...*eventsv1.Event) {
	tb.Helper()
	for _, ev := range events {
		if err := w.Append(ev, Spool); err != nil {
			tb.Fatal(err)
		}
	}
}

// stored reads every record of a directory from its files and checks what must hold of them: one writer, no gap, the chain.
func stored(tb testing.TB, dir string) []*eventsv1.Event {
	tb.Helper()
	paths, err := listSegments(dir)
	if err != nil {
		tb.Fatal(err)
	}
	var (
		all      []*eventsv1.Event
		previous [sha256.Size]byte
	)
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		c, err := readSegment(data)
		if err != nil || c.cut != nil {
			tb.Fatalf("%s: %v %v", path, err, c.cut)
		}
		if i > 0 && (c.header.previous != previous || c.header.first != all[len(all)-1].GetSequence()+1) {
			tb.Fatalf("%s does not continue the file before", path)
		}
		previous = c.tail
		all = append(all, records(tb, data)...)
	}
	return all
}

// records are the records of a segment in order, without the carried ones.
func records(tb testing.TB, data []byte) []*eventsv1.Event {
	tb.Helper()
	var all []*eventsv1.Event
	for {
		kind, body, size, err := nextFrame(data)
		if err != nil {
			return all
		}
		if kind == kindRecord {
			ev := &eventsv1.Event{}
			if err := proto.Unmarshal(body, ev); err != nil {
				tb.Fatal(err)
			}
			if n := len(all); n > 0 && (ev.GetSequence() != all[n-1].GetSequence()+1 || ev.GetWriter() != all[0].GetWriter()) {
				tb.Fatalf("record %d follows %d", ev.GetSequence(), all[n-1].GetSequence())
			}
			all = append(all, ev)
		}
		data = data[size:]
	}
}

// eventually polls until the condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			tb.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func lastFrame(tb testing.TB, data []byte) (offset, end int) {
	tb.Helper()
	for {
		_, _, size, err := nextFrame(data[end:])
		if err != nil {
			return offset, end
		}
		offset, end = end, end+size
	}
}

func onlySegment(tb testing.TB, dir string) string {
	tb.Helper()
	paths, err := listSegments(dir)
	if err != nil || len(paths) != 1 {
		tb.Fatalf("segments %v, %v", paths, err)
	}
	return paths[0]
}
