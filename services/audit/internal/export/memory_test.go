package export_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// filled is a signed ledger of so many records of four writers, for two tenants.
func filled(tb testing.TB, count int) *ledger.Ledger {
	tb.Helper()
	return filledIn(tb, tb.TempDir(), count)
}

func filledIn(tb testing.TB, dir string, count int) *ledger.Ledger {
	tb.Helper()
	return filledWith(tb, dir, count, "")
}

// filledWith has a copy of the arguments in each record.
func filledWith(tb testing.TB, dir string, count int, document string) *ledger.Ledger {
	tb.Helper()
	l, err := ledger.Open(ledger.Config{Dir: dir}, slog.New(slog.DiscardHandler), func() time.Time { return start })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	previous := make([][]byte, 4)
	var batch []index.Record
	for i := range count {
		at := i % len(previous)
		ev := &eventsv1.Event{
			Id: fmt.Sprintf("rec%09d", i), Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: []string{"acme", "globex"}[i%2], Service: "edge",
			Time: timestamppb.New(start.Add(time.Duration(i) * time.Millisecond)), Principal: &eventsv1.Principal{Person: fmt.Sprint("person-", i%100), Agent: "client:desk"},
			Target: &eventsv1.Target{Server: "tickets", Tool: "close_ticket"}, Decision: &eventsv1.Decision{Effect: "allow", Rule: "tickets/support-may-close"},
			Arguments: &eventsv1.Payload{Hmac: fmt.Sprintf("%064x", i), Bytes: 71, Document: document},
			Writer:    fmt.Sprint("edge-", at), Sequence: uint64(i/len(previous)) + 1, PreviousHash: previous[at],
		}
		data, err := proto.Marshal(ev)
		if err != nil {
			tb.Fatal(err)
		}
		previous[at] = record.Hash(data)
		if batch = append(batch, index.Record{Event: ev, Bytes: data}); len(batch) == 1000 || i == count-1 {
			if refused, err := l.Append(tb.Context(), batch); err != nil || len(refused) > 0 {
				tb.Fatal(refused, err)
			}
			batch = nil
		}
	}
	if err := l.Sign(); err != nil {
		tb.Fatal(err)
	}
	return l
}

// passed is what an export and its verification took.
type passed struct {
	bytes, heap      int64 // of the file, and of memory in use at most, looked at sixteen times
	records, leftOut int64
	took             time.Duration
}

// pass writes an export straight into a verification.
func pass(tb testing.TB, l *ledger.Ledger, f base.Filter) passed {
	tb.Helper()
	signed, _ := l.Signed()
	view, err := l.View(signed.Size)
	if err != nil {
		tb.Fatal(err)
	}
	public, handovers := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		tb.Fatal(err)
	}
	var out passed
	in, to := io.Pipe()
	lines, look := int64(0), signed.Size/16
	if !f.Wide() {
		look /= 100 // of a hundred people's records, one is a line
	}
	emit := func(line []byte) error {
		if lines++; lines%look == 0 {
			var memory runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&memory)
			out.heap = max(out.heap, int64(memory.HeapAlloc))
		}
		out.bytes += int64(len(line))
		_, err := to.Write(line)
		return err
	}
	begun, done := time.Now(), make(chan error, 1)
	go func() {
		err := export.Proved{View: view, Filter: f, Checkpoint: signed.Note, Handovers: handovers, Signer: l.Signer(),
			Statement: base.Statement{Origin: signed.Origin, Size: signed.Size, Settled: signed.Size, Made: start}}.Write(context.Background(), emit)
		_ = to.CloseWithError(err)
		done <- err
	}()
	report, err := base.Verify(in, keys)
	if written := <-done; err != nil || written != nil || !report.Holds() {
		tb.Fatal(err, written, report.Problems)
	}
	out.took, out.records, out.leftOut = time.Since(begun), report.Records, report.LeftOut
	return out
}

// TestExportAndVerificationTakeNoMoreMemoryForMoreRecords holds that neither keeps what it has passed.
func TestExportAndVerificationTakeNoMoreMemoryForMoreRecords(t *testing.T) {
	few, many := filled(t, 2000), filled(t, 10_000)
	for name, f := range map[string]base.Filter{"everything": {}, "a tenant": {Tenant: "acme"}, "a person": {Person: "person-7"}} {
		small, large := pass(t, few, f), pass(t, many, f)
		t.Logf("%s: %d bytes with %d kB of memory, %d bytes with %d kB", name, small.bytes, small.heap>>10, large.bytes, large.heap>>10)
		if large.records+large.leftOut != 10_000 || large.bytes < 4*small.bytes {
			t.Errorf("%s: %+v", name, large)
		}
		if small.heap == 0 || large.heap > small.heap+256<<10 { // the ids of eight thousand records alone would take more
			t.Errorf("%s: five times the records take %d bytes of memory instead of %d", name, large.heap, small.heap)
		}
	}
}

// BenchmarkExport writes an export of HEADGATE_TEST_RECORDS records (20,000 without it), each with a copy of HEADGATE_TEST_DOCUMENT bytes of arguments (none without it), and
// verifies it as it comes. Beside the memory in use it tells the most that the process had of the machine's meanwhile.
func BenchmarkExport(b *testing.B) {
	count, size := number(b, "HEADGATE_TEST_RECORDS", 20_000, 1000), number(b, "HEADGATE_TEST_DOCUMENT", 0, 0)
	document := ""
	if size > 0 {
		document = `{"note":"` + strings.Repeat("a", size) + `"}`
	}
	l := filledWith(b, b.TempDir(), count, document)
	for b.Loop() {
		resetResident(b)
		p := pass(b, l, base.Filter{})
		if p.records+p.leftOut != int64(count) || p.bytes < int64(count)*int64(size) {
			b.Fatalf("not the whole log: %+v", p)
		}
		b.ReportMetric(float64(count)/p.took.Seconds(), "records/s")
		b.ReportMetric(float64(p.bytes)/1e6, "MB")
		b.ReportMetric(float64(p.heap)/1e6, "heap-MB")
		b.ReportMetric(resident(b), "rss-MB")
	}
}

func number(b *testing.B, name string, otherwise, least int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		b.Fatalf("%s must be a number of at least %d, is %q", name, least, text)
	}
	return n
}

// resetResident has Linux count the most that is resident from here on, after giving back what the filling took.
func resetResident(b *testing.B) {
	b.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// resident is the most megabytes that were resident since.
func resident(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kB, err := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(after, "kB", 2)[0]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kB * 1024 / 1e6
}
