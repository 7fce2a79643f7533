package openfga

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"headgate.dev/services/authz/internal/relations"
)

func TestSpike(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	t0 := time.Now()
	m, err := model()
	t.Log("model", time.Since(t0), err, len(m.TypeDefinitions))
	t0 = time.Now()
	s, err := Start(ctx, Config{Dir: dir}, slog.Default())
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	t.Log("start", time.Since(t0))
	t0 = time.Now()
	st, err := s.Store(ctx, "a")
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	t.Log("store", time.Since(t0), st.model)
	t0 = time.Now()
	st2, err := s.Store(ctx, "a")
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	t.Log("store again", time.Since(t0), st2.model == st.model)
	var come []relations.Tuple
	come = append(come, relations.Tuple{Object: "organization:a", Relation: "member", User: "user:ana"}, relations.Tuple{Object: "role:support", Relation: "assignee", User: "user:ana"})
	for i := range 20 {
		come = append(come, relations.Tuple{Object: fmt.Sprintf("mcp_server:s%d", i), Relation: "organization", User: "organization:a"})
		come = append(come, relations.Tuple{Object: fmt.Sprintf("mcp_server:s%d", i), Relation: "caller", User: "role:support#assignee", Until: time.Now().Add(time.Hour)})
	}
	for i := range 20 {
		come = append(come, relations.Tuple{Object: fmt.Sprintf("tool:s1/%d", i), Relation: "server", User: "mcp_server:s1"})
		come = append(come, relations.Tuple{Object: fmt.Sprintf("tool:s1/%d", i), Relation: "caller", User: "role:support#assignee"})
	}
	t0 = time.Now()
	if err := st.Write(ctx, nil, come); err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	t.Log("write", len(come), time.Since(t0))
	t0 = time.Now()
	if err := st.Write(ctx, nil, come); err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	t.Log("write again", len(come), time.Since(t0))
	for range 3 {
		t0 = time.Now()
		ids, err := st.Objects(ctx, "user:ana", "can_call_all", "mcp_server", time.Now())
		t.Log(len(ids), err, time.Since(t0))
		t0 = time.Now()
		ids, err = st.Objects(ctx, "user:ana", "call_granted", "tool", time.Now())
		t.Log(len(ids), err, time.Since(t0))
		t0 = time.Now()
		q := Question{User: "user:ana", Relation: "call_granted", Object: "tool:s7/x"}
		q2 := Question{User: "user:ana", Relation: "call_granted", Object: "tool:s1/1"}
		ok, err := st.Check(ctx, []Question{q, q2}, time.Now())
		t.Log(ok, err, time.Since(t0))
		t0 = time.Now()
		ok, err = st.Check(ctx, []Question{q, q2}, time.Now().Add(2*time.Hour))
		t.Log(ok, err, time.Since(t0))
		pp, err := st.People(ctx, "role", "support", "assignee", time.Now())
		t.Log(pp, err)
	}
	t0 = time.Now()
	ts, err := st.Read(ctx)
	t.Log(len(ts), err, time.Since(t0))
	t0 = time.Now()
	s.Close()
	t.Log("close", time.Since(t0))
	t0 = time.Now()
	s, err = Start(ctx, Config{Dir: dir}, slog.Default())
	t.Log("restart", time.Since(t0), err)
	st2, err = s.Store(ctx, "a")
	t.Log("model same", st2.model == st.model, err)
	s.Close()
}
