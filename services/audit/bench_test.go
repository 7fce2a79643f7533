package audit_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/libs/sqlstore"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit"
)

// BenchmarkIngest lets the service work on records that wait in Kafka, from the broker to the ledger and the embedded index, until the last is found. Beside the time
// it tells the processor's time of the whole process, which has the broker in it.
func BenchmarkIngest(b *testing.B) {
	broker := kafkatest.Start(b)
	h := &house{t: b, broker: broker, config: audit.Config{Kafka: broker.Config(), Database: sqlstore.Config{Path: filepath.Join(b.TempDir(), "index.db")}}}
	ingest(b, h)
}

// ingest measures how long the service takes for records that wait.
func ingest(b *testing.B, h *house) {
	b.Helper()
	h.ship()
	for i := range b.N {
		h.record(fmt.Sprintf("rec%09d", i), "acme", fmt.Sprint("person-", i%100), func(ev *eventsv1.Event) {
			ev.CallId = ev.GetId() + "call"
			ev.Principal.Email, ev.Principal.Roles, ev.Principal.Agent = "someone@acme.example", []string{"support", "night-shift"}, "client:desk"
			ev.Request = &eventsv1.Request{Method: "tools/call", Id: "17", ProtocolVersion: "2026-07-28", Endpoint: "/mcp/tickets", HttpStatus: 200}
			ev.Source = &eventsv1.Source{Ip: "10.1.2.3", UserAgent: "desk/1.2 (linux)"}
			ev.Arguments = &eventsv1.Payload{Hmac: fmt.Sprintf("%064x", i), Bytes: 71}
			ev.Result = &eventsv1.Payload{Hmac: fmt.Sprintf("%064x", -i), Bytes: 1029}
		})
	}
	for h.journal.Status().Shipped < h.journal.Status().Written {
		time.Sleep(time.Millisecond)
	}
	used := processor(b)
	b.ResetTimer()
	h.open()
	last := &auditv1.SearchRequest{Text: fmt.Sprintf("rec%09d", b.N-1)}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(h.ids("vera", last)) == 0 {
		<-tick.C
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((processor(b)-used).Microseconds())/float64(b.N), "cpu-us/record")
}

// processor is what the process has taken of the processor.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
