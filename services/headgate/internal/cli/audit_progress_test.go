package cli_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	"headgate.dev/services/headgate/internal/cli"
)

// breaking exports five lines, one a message, and breaks off after so many of them.
type breaking struct {
	auditv1connect.UnimplementedAuditServiceHandler
	after int
	asked []*auditv1.ExportRequest
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
	if code, words := export("--resume"); code != 2 && code != 1 || !strings.Contains(words, "without --resume") {
		t.Errorf("nothing to go on with: %d: %s", code, words)
	}
}
