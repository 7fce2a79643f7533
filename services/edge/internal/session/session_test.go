package session

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/secret"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/keyed"
)

func fresh(t *testing.T, now *time.Time) *Sessions {
	t.Helper()
	return opened(t, t.TempDir(), now)
}

// opened is an edge that starts over a directory.
func opened(t *testing.T, dir string, now *time.Time) *Sessions {
	t.Helper()
	sessions, err := New(ring(t), dir, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

func ring(t *testing.T) *keyed.Keys {
	t.Helper()
	keys, err := keyed.New(secret.New(strings.Repeat("5a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestT14ASessionIsOverAfterSevenDays: at the edge where it began, at another, and after either started anew.
func TestT14ASessionIsOverAfterSevenDays(t *testing.T) {
	began := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	now, ana := began, &guard.Caller{Tenant: "acme", Person: "ana"}
	here := fresh(t, &now)
	id := here.Open(ana, "/mcp/a", guard.Client{Version: "2025-11-25", Name: "check"})
	there := fresh(t, &now)
	for after, want := range map[time.Duration]bool{0: true, lasts - time.Second: true, lasts: false, 10 * lasts: false} {
		now = began.Add(after)
		for name, edge := range map[string]*Sessions{"here": here, "there": there} {
			if client, good := edge.Check(ana, "/mcp/a", id); good != want || good && (client.Name != "check" || !client.Began.Equal(began)) {
				t.Errorf("%s, %s later: %v %v", name, after, good, client)
			}
		}
	}
}

// TestT14ASessionThatEndedStaysOver: in this process and, nothing of which was told that it ends, in the one after it.
func TestT14ASessionThatEndedStaysOver(t *testing.T) {
	now, ana, dir := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), &guard.Caller{Tenant: "acme", Person: "ana"}, t.TempDir()
	sessions := opened(t, dir, &now)
	first, second := sessions.Open(ana, "/mcp/a", guard.Client{}), sessions.Open(ana, "/mcp/a", guard.Client{})
	if err := sessions.End(ana, "/mcp/a", first); err != nil {
		t.Fatal(err)
	}
	if err := sessions.End(&guard.Caller{Tenant: "acme", Person: "bob"}, "/mcp/a", second); err != nil {
		t.Fatal(err)
	}
	for name, edge := range map[string]*Sessions{"this process": sessions, "the next one": opened(t, dir, &now)} {
		if _, good := edge.Check(ana, "/mcp/a", first); good {
			t.Errorf("%s: it goes on", name)
		}
		if _, good := edge.Check(ana, "/mcp/a", second); !good {
			t.Errorf("%s: another ended with it", name)
		}
	}
}

// TestEndsOfManyAtOnceAreAllKept and share their writes.
func TestEndsOfManyAtOnceAreAllKept(t *testing.T) {
	now, ana, dir := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), &guard.Caller{Tenant: "acme", Person: "ana"}, t.TempDir()
	sessions := opened(t, dir, &now)
	all := make([]string, 64)
	var group sync.WaitGroup
	for i := range all {
		all[i] = sessions.Open(ana, "/mcp/a", guard.Client{})
		group.Go(func() {
			if err := sessions.End(ana, "/mcp/a", all[i]); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	next := opened(t, dir, &now)
	for i, id := range all {
		if _, good := next.Check(ana, "/mcp/a", id); good {
			t.Errorf("session %d lives again", i)
		}
	}
}

// TestALastLineWithoutItsEndIsKeptApart tears the line break off the file, and ends more sessions after that.
func TestALastLineWithoutItsEndIsKeptApart(t *testing.T) {
	now, dir := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), t.TempDir()
	for n := range 3 {
		e, err := openEnds(dir, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.add(end{digest{byte(n)}, now.Add(time.Hour).Unix()}, now); err != nil {
			t.Fatal(err)
		}
		for before := range n + 1 {
			if !e.over(digest{byte(before)}) {
				t.Errorf("after %d tears, %d is not known", n, before)
			}
		}
		file := filepath.Join(dir, fileName)
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, text[:len(text)-1], 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheFileOfEndsIsBounded(t *testing.T) {
	now, dir := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), t.TempDir()
	e, err := openEnds(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	numbered := func(n int) digest { return digest{byte(n >> 16), byte(n >> 8), byte(n)} }
	for n := range remembered + 10 { // as if each had been written with many others
		e.put(end{numbered(n), now.Add(time.Hour).Unix()})
	}
	if err := e.add(end{numbered(1 << 20), now.Add(2 * time.Hour).Unix()}, now); err != nil {
		t.Fatal(err)
	}
	again, err := openEnds(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.until) != remembered || again.over(numbered(10)) || !again.over(numbered(11)) || !again.over(numbered(1<<20)) {
		t.Errorf("%d are known, of the oldest and the newest: %v %v %v", len(again.until), again.over(numbered(10)), again.over(numbered(11)), again.over(numbered(1<<20)))
	}
	// What is too old by itself goes with the next write of the whole file.
	again.lines = mostLines
	if err := again.add(end{numbered(1 << 21), now.Add(2 * time.Hour).Unix()}, now.Add(90*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, fileName)); err != nil || strings.Count(string(text), "\n") != 2 || len(again.order) != 2 {
		t.Errorf("%d lines are left, %v", strings.Count(string(text), "\n"), err)
	}
}

func TestADamagedFileOfEndsIsRefusedAndATornEndIsNot(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	until := now.Add(time.Hour).Unix()
	one, two := string(end{digest{1}, until}.line()), string(end{digest{2}, until}.line())
	for name, c := range map[string]struct {
		text    string
		refused string
		known   int
	}{
		"whole":               {one + two, "", 2},
		"torn":                {one + two[:20], "", 1},
		"torn before its sum": {one + two[:len(two)-4], "", 1},
		"damaged within":      {"f" + one[1:] + two, "Line 1 of ", 0},
		"another date":        {strings.Replace(one, "17", "27", 1) + two, "Line 1 of ", 0},
		"an empty line":       {one + "\n" + two, "Line 2 of ", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, fileName), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			e, err := openEnds(dir, now)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil || len(e.until) != c.known {
				t.Fatalf("%v, %v", e, err)
			}
			if err := e.add(end{digest{3}, until}, now); err != nil {
				t.Fatal(err)
			}
			if again, err := openEnds(dir, now); err != nil || len(again.until) != c.known+1 || !again.over(digest{3}) {
				t.Errorf("after another end: %v, %v", again, err)
			}
		})
	}
}

func TestAnEndThatIsNotOnDiskIsSaidAndWrittenWithTheNext(t *testing.T) {
	now, ana, dir := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), &guard.Caller{Tenant: "acme", Person: "ana"}, filepath.Join(t.TempDir(), "away")
	sessions := opened(t, dir, &now)
	first, second := sessions.Open(ana, "/mcp/a", guard.Client{}), sessions.Open(ana, "/mcp/a", guard.Client{})
	if err := sessions.End(ana, "/mcp/a", first); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an end that is on no disk: %v", err)
	}
	if _, good := sessions.Check(ana, "/mcp/a", first); good {
		t.Error("it goes on")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sessions.End(ana, "/mcp/a", second); err != nil {
		t.Fatal(err)
	}
	next := opened(t, dir, &now)
	for _, id := range []string{first, second} {
		if _, good := next.Check(ana, "/mcp/a", id); good {
			t.Error("a session lives again")
		}
	}
}
