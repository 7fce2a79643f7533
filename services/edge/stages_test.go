package edge_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/secret/forms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/decide"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/inspect"
	"headgate.dev/services/edge/internal/keyed"
	"headgate.dev/services/edge/internal/lend"
)

const (
	stageCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{` + modernMeta + `,"name":"echo","arguments":{"text":"the quick brown fox","n":3}}}`
	stageArgs = `{"text":"the quick brown fox","n":3}`
)

// BenchmarkStage is what each stage of a call costs by itself. Admit and validate are in their own packages, the whole call is BenchmarkCall.
func BenchmarkStage(b *testing.B) {
	reply := []byte(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + strings.Repeat("a", 1024) + `"}]}}`)
	keys, err := keyed.New(secret.New(strings.Repeat("ab", 32)))
	must(b, err)
	b.Run("parse", func(b *testing.B) {
		repeat(b, func() error { _, err := mcp.Read([]byte(stageCall), mcp.DefaultLimits()); return err })
	})
	b.Run("decide", decideStage)
	b.Run("lend", lendStage)
	b.Run("fingerprint", func(b *testing.B) {
		repeat(b, func() error { keys.Sum("acme", []byte(stageArgs)); keys.Sum("acme", reply); return nil })
	})
	b.Run("journal", journalStage)
	b.Run("read the reply", func(b *testing.B) {
		repeat(b, func() error { _, err := mcp.ReadReply(reply, mcp.ReplyLimits()); return err })
	})
	b.Run("inspect", func(b *testing.B) {
		lease := &guard.Lease{Forms: forms.Of([]string{"a-secret-of-the-server"})}
		repeat(b, func() error { _, _, err := inspect.Inspector{}.Inspect(reply, lease); return err })
	})
}

func repeat(b *testing.B, once func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := once(); err != nil {
			b.Fatal(err)
		}
	}
}

// decideStage has three rules, two of which read the arguments.
func decideStage(b *testing.B) {
	d := decide.New(decide.NewRelations(nil, nil))
	must(b, d.Apply(&authzv1.WatchResponse{Snapshot: true, Upserts: []*authzv1.Policy{{
		Metadata: &resourcev1.Metadata{Name: "small", Tenant: "acme"},
		Spec: onEcho(rule("large", "has(args.n) && args.n > 1000", "block"), rule("night", `"auditor" in principal.roles && args.text.startsWith("secret")`, "block"),
			rule("rest", `"caller" in principal.roles`, "allow")),
	}}}))
	q := guard.Question{
		Caller:    &guard.Caller{Tenant: "acme", Person: "ana", Principal: policy.Principal{Name: "ana", Roles: []string{"caller"}}},
		Tool:      &guard.Tool{Server: &guard.Server{Tenant: "acme", Name: "echo"}, Name: "echo", Relation: policy.Relation{Known: true, See: true, Call: true, Via: "role caller"}},
		Arguments: []byte(stageArgs), Decoded: map[string]any{"text": "the quick brown fox", "n": int64(3)}, At: time.Now(), CallID: "c1",
	}
	repeat(b, func() error { _, err := d.Decide(context.Background(), q); return err })
}

type lending struct{}

func (lending) Lease(context.Context, *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error) {
	return connect.NewResponse(&credentialsv1.LeaseResponse{
		LeaseId: "l1", AllowHosts: []string{"echo.example"}, Secrets: []string{"s3cret-s3cret"}, ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
	}), nil
}

func lendStage(b *testing.B) {
	l := lend.New(lending{}, os.LookupEnv, clock.System)
	r := guard.LeaseRequest{Caller: &guard.Caller{Tenant: "acme", Person: "ana"}, Server: &guard.Server{Tenant: "acme", Name: "echo", Address: "echo.example:443", Private: true}, Tool: "echo"}
	repeat(b, func() error { _, err := l.Lease(context.Background(), r); return err })
}

// journalStage writes the two records of a call.
func journalStage(b *testing.B) {
	w, err := journal.Open(journal.Config{Dir: b.TempDir(), MaxBytes: 64 << 30}, "edge", slog.New(slog.DiscardHandler), clock.System)
	must(b, err)
	defer func() { must(b, w.Close()) }()
	record := func(phase eventsv1.Phase) *eventsv1.Event {
		return &eventsv1.Event{
			Action: "tool-call", Phase: phase, Tenant: "acme", CallId: "0197a3c4-1111-7222-8333-444455556666",
			Principal: &eventsv1.Principal{Person: "ana", Email: "ana@acme.example", Roles: []string{"caller"}, ClientId: "claude", TokenId: "t1"},
			Source:    &eventsv1.Source{Ip: "203.0.113.7", UserAgent: "claude-code/2.1.0"}, Request: &eventsv1.Request{Method: "tools/call", Id: "7", Endpoint: "/mcp/echo"},
			Target:    &eventsv1.Target{Server: "echo", Tool: "echo", Address: "127.0.0.1:9400", DefinitionHash: "sha256:" + strings.Repeat("0f", 32)},
			Decision:  &eventsv1.Decision{Id: "dec_1", Effect: "allow", Rule: "small/rest", Policy: "small", Sentence: "allowed by small/rest", Via: "role caller"},
			Arguments: &eventsv1.Payload{Hmac: strings.Repeat("8c", 32), Bytes: 34},
		}
	}
	started, final := record(eventsv1.Phase_PHASE_STARTED), record(eventsv1.Phase_PHASE_FINAL)
	repeat(b, func() error {
		started.Id, final.Id = "", ""
		if err := w.Append(started, journal.Spool); err != nil {
			return err
		}
		return w.Append(final, journal.Spool)
	})
}
