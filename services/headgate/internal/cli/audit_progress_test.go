package cli_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/headgate/internal/cli"
)

// breaking exports five lines, one a message, and breaks off after so many of them.
type breaking struct {
	auditv1connect.UnimplementedAuditServiceHandler
	after int
	asked []*auditv1.ExportRequest
	asOf  []string
}

func (b *breaking) Export(_ context.Context, in *connect.Request[auditv1.ExportRequest], stream *connect.ServerStream[auditv1.ExportResponse]) error {
	b.asked = append(b.asked, in.Msg)
	for i := in.Msg.GetNextIndex(); i < 5; i++ {
		if b.after == 0 {
			return connect.NewError(connect.CodeUnavailable, context.DeadlineExceeded)
		}
		b.after--
		line := strings.Repeat(string(rune('a'+i)), 3) + "\n"
		if err := stream.Send(&auditv1.ExportResponse{Lines: []byte(line), Size: 5, NextIndex: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (b *breaking) Report(_ context.Context, in *connect.Request[auditv1.ReportRequest], stream *connect.ServerStream[auditv1.ReportResponse]) error {
	if in.Msg.GetAsOf() != nil {
		b.asOf = append(b.asOf, in.Msg.GetAsOf().AsTime().Format(time.RFC3339))
	}
	if err := stream.Send(&auditv1.ReportResponse{Part: []byte("page")}); err != nil || b.after > 0 {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, context.DeadlineExceeded)
}

func (b *breaking) Prove(context.Context, *connect.Request[auditv1.ProveRequest]) (*connect.Response[auditv1.ProveResponse], error) {
	return connect.NewResponse(&auditv1.ProveResponse{Proof: []byte("page")}), nil
}

// Search finds one record of each of two tenants.
func (b *breaking) Search(_ context.Context, in *connect.Request[auditv1.SearchRequest]) (*connect.Response[auditv1.SearchResponse], error) {
	return connect.NewResponse(&auditv1.SearchResponse{
		Events: []*eventsv1.Event{{Id: "1", Tenant: "acme", Action: "tool-call"}, {Id: "2", Tenant: "globex", Action: "kill"}}, AllTenants: in.Msg.GetTenant() == "",
	}), nil
}

// Tail sends the same records.
func (b *breaking) Tail(_ context.Context, in *connect.Request[auditv1.TailRequest], stream *connect.ServerStream[auditv1.TailResponse]) error {
	if err := stream.Send(&auditv1.TailResponse{AllTenants: in.Msg.GetTenant() == ""}); err != nil {
		return err
	}
	return stream.Send(&auditv1.TailResponse{Events: []*eventsv1.Event{{Id: "1", Tenant: "acme", Action: "tool-call"}, {Id: "2", Tenant: "globex", Action: "kill"}}})
}

func TestASearchOfAllTenantsSaysWhoseEachRecordIs(t *testing.T) {
	path, handler := auditv1connect.NewAuditServiceHandler(&breaking{})
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	for tenant, want := range map[string]bool{"": true, "acme": false} {
		var out, words bytes.Buffer
		env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": server.URL, "HEADGATE_TENANT": tenant}
		code := cli.Run(t.Context(), []string{"audit", "search"}, cli.IO{In: strings.NewReader(""), Out: &out, Err: &words, Env: func(key string) string { return env[key] }})
		lines := strings.Split(out.String(), "\n")
		if code != 0 || len(lines) < 3 || strings.Contains(lines[0], "TENANT") != want || strings.Contains(lines[1], "acme") != want || strings.Contains(lines[2], "globex") != want {
			t.Errorf("tenant %q: exit %d: %s%s", tenant, code, out.String(), words.String())
		}
		out.Reset()
		code = cli.Run(t.Context(), []string{"audit", "tail", "-f"}, cli.IO{In: strings.NewReader(""), Out: &out, Err: &words, Env: func(key string) string { return env[key] }})
		lines = strings.Split(out.String(), "\n")
		if code != 0 || len(lines) < 2 || strings.Contains(lines[0], "acme") != want || strings.Contains(lines[1], "globex") != want || !strings.Contains(lines[1], "kill") {
			t.Errorf("tail of tenant %q: exit %d: %s%s", tenant, code, out.String(), words.String())
		}
	}
}

// Erase knows a key of P-1, and of P-2 one that was erased before.
func (b *breaking) Erase(_ context.Context, in *connect.Request[auditv1.EraseRequest]) (*connect.Response[auditv1.EraseResponse], error) {
	switch in.Msg.GetSubject().GetName() {
	case "P-1":
		return connect.NewResponse(&auditv1.EraseResponse{Keys: 1}), nil
	case "P-2":
		return connect.NewResponse(&auditv1.EraseResponse{Earlier: 1}), nil
	default:
		return connect.NewResponse(&auditv1.EraseResponse{}), nil
	}
}

func TestAnErasureOfNobodyHasAnExitCodeOfItsOwn(t *testing.T) {
	path, handler := auditv1connect.NewAuditServiceHandler(&breaking{})
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	for patient, want := range map[string]int{"P-1": 0, "P-2": 0, "none": 7} {
		var words bytes.Buffer
		env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": server.URL}
		code := cli.Run(t.Context(), []string{"audit", "erase", "--subject", "patient:" + patient, "--reason", "asked"},
			cli.IO{In: strings.NewReader(""), Out: &words, Err: &words, Env: func(key string) string { return env[key] }})
		if code != want || strings.Contains(words.String(), "there is no key of patient:none") != (want == 7) {
			t.Errorf("%s: exit %d: %s", patient, code, words.String())
		}
	}
}

// A day is as of its end: who had a right on the last of October lost none of it in the morning.
func TestAReportIsAsOfTheEndOfADay(t *testing.T) {
	service := &breaking{after: 9}
	path, handler := auditv1connect.NewAuditServiceHandler(service)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, args := range [][]string{{"--as-of", "2026-10-31"}, {"--as-of", "2026-10-31T08:00:00+01:00"}, nil} {
		var words bytes.Buffer
		env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": server.URL}
		code := cli.Run(t.Context(), append([]string{"audit", "report", "access"}, args...), cli.IO{In: strings.NewReader(""), Out: &words, Err: &words, Env: func(key string) string { return env[key] }})
		if code != 0 {
			t.Errorf("%v: %d: %s", args, code, words.String())
		}
	}
	if want := []string{"2026-11-01T00:00:00Z", "2026-10-31T07:00:00Z"}; !slices.Equal(service.asOf, want) {
		t.Errorf("asked as of %v, want %v", service.asOf, want)
	}
}

func TestWhatIsThereIsNotReplacedUnlessThatIsAskedFor(t *testing.T) {
	service := &breaking{after: 9}
	path, handler := auditv1connect.NewAuditServiceHandler(service)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, command := range [][]string{{"audit", "report", "denied"}, {"audit", "prove", "0197a3c4"}} {
		dir := t.TempDir()
		out := filepath.Join(dir, "evidence")
		ask := func(args ...string) (int, string) {
			var words bytes.Buffer
			env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": server.URL}
			code := cli.Run(t.Context(), slices.Concat(command, []string{"--out", out}, args), cli.IO{In: strings.NewReader(""), Out: &words, Err: &words, Env: func(key string) string { return env[key] }})
			return code, words.String()
		}
		if code, words := ask(); code != 0 || holds(t, out) != "page" {
			t.Fatalf("%v: %d: %s", command, code, words)
		}
		if err := os.WriteFile(out, []byte("evidence"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, words := ask(); code != 1 || !strings.Contains(words, "--force") || holds(t, out) != "evidence" {
			t.Errorf("%v over it: %d: %s, %q", command, code, words, holds(t, out))
		}
		if service.after = 0; command[1] == "report" {
			if code, words := ask("--force"); code == 0 || holds(t, out) != "evidence" {
				t.Errorf("%v that broke off: %d: %s, %q", command, code, words, holds(t, out))
			}
		}
		service.after = 9
		if code, words := ask("--force"); code != 0 || holds(t, out) != "page" {
			t.Errorf("%v with --force: %d: %s, %q", command, code, words, holds(t, out))
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%v leaves %v, %v", command, left, err)
		}
	}
}

func TestATableThatBrokeOffIsContinued(t *testing.T) {
	service := &breaking{after: 2}
	path, handler := auditv1connect.NewAuditServiceHandler(service)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	out := filepath.Join(t.TempDir(), "week.csv")
	export := func(args ...string) (int, string) {
		var words bytes.Buffer
		env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": server.URL}
		code := cli.Run(t.Context(), append([]string{"audit", "export", "--format", "csv", "--out", out}, args...),
			cli.IO{In: strings.NewReader(""), Out: &words, Err: &words, Env: func(key string) string { return env[key] }})
		return code, words.String()
	}
	if code, words := export("--person", "ana"); code == 0 || !strings.Contains(words, "--resume") {
		t.Fatalf("%d: %s", code, words)
	}
	file, err := os.OpenFile(out+".part", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("half a li"); err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	service.after = 9
	before := holds(t, out+".part")
	for _, args := range [][]string{nil, {"--force"}} {
		code, words := export(args...)
		if code != 1 || !strings.Contains(words, "--resume") || !strings.Contains(words, "remove it to begin anew") || len(service.asked) != 1 || holds(t, out+".part") != before {
			t.Errorf("anew over an unfinished one, %v: %d: %s", args, code, words)
		}
	}
	if code, words := export("--resume"); code != 0 {
		t.Fatalf("%d: %s", code, words)
	}
	whole, err := os.ReadFile(out)
	if err != nil || string(whole) != "aaa\nbbb\nccc\nddd\neee\n" {
		t.Errorf("%q, %v", whole, err)
	}
	last := service.asked[len(service.asked)-1]
	if last.GetFilter().GetPerson() != "ana" || last.GetSize() != 5 || last.GetNextIndex() != 2 {
		t.Errorf("asked to go on with %v", last)
	}
	left, err := filepath.Glob(out + ".part*")
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	asked := len(service.asked)
	for _, args := range [][]string{nil, {"--resume"}} {
		if code, words := export(args...); code != 1 || !strings.Contains(words, "--force") || len(service.asked) != asked {
			t.Errorf("over a file that is there, %v: %d: %s", args, code, words)
		}
	}
	if service.after = 9; len(holds(t, out)) != 20 {
		t.Errorf("%q", holds(t, out))
	}
	if code, words := export("--force"); code != 0 || len(service.asked) != asked+1 {
		t.Errorf("over it: %d: %s", code, words)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out+".part", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	service.after = 9
	if code, words := export(); code != 0 {
		t.Errorf("over one that nothing came of: %d: %s", code, words)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	if code, words := export("--resume"); code != 2 && code != 1 || !strings.Contains(words, "without --resume") {
		t.Errorf("nothing to go on with: %d: %s", code, words)
	}
}

// What an older version began by words is not continued: it would go on with other records.
func TestAnExportByWordsOfAnOlderVersionIsNotContinued(t *testing.T) {
	out := filepath.Join(t.TempDir(), "week.jsonl")
	const begun = `{"ledger":{"export":{"version":1,"filter":{"text":"ana"}}}}` + "\n"
	if err := os.WriteFile(out+".part", []byte(begun), 0o600); err != nil {
		t.Fatal(err)
	}
	var words bytes.Buffer
	env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": "http://127.0.0.1:1"}
	code := cli.Run(t.Context(), []string{"audit", "export", "--out", out, "--resume"},
		cli.IO{In: strings.NewReader(""), Out: &words, Err: &words, Env: func(key string) string { return env[key] }})
	if code == 0 || !strings.Contains(words.String(), "another version") || holds(t, out+".part") != begun {
		t.Errorf("%d: %s", code, words.String())
	}
}

func holds(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
