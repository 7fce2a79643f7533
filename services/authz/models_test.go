package authz_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/openfga/language/pkg/go/transformer"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz"
	"headgate.dev/services/authz/internal/history"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/upkeep"
)

// ask sends OpenFGA what an operator's own tool would.
func (f *faulty) ask(t *testing.T, method, path, body string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.config.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.config.Token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 || json.Unmarshal(raw, into) != nil {
		t.Fatalf("%s %s: %d %s (%v)", method, path, resp.StatusCode, raw, err)
	}
}

// writeModel puts a variant of the carried model into acme's store.
func (f *faulty) writeModel(t *testing.T, old, new string) string {
	t.Helper()
	text, err := os.ReadFile("../../deployments/openfga/model.fga")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("the model has no %q", old)
	}
	document, err := transformer.TransformDSLToJSON(strings.Replace(string(text), old, new, 1))
	if err != nil {
		t.Fatal(err)
	}
	var stores struct{ Stores []struct{ ID, Name string } }
	f.ask(t, http.MethodGet, "/stores?name=headgate%2Facme", "", &stores)
	var made struct {
		ID string `json:"authorization_model_id"`
	}
	f.ask(t, http.MethodPost, "/stores/"+stores.Stores[0].ID+"/authorization-models", document, &made)
	return made.ID
}

// pressing asks for decisions and rights without a pause, and keeps what was not as it should be.
func pressing(t *testing.T, houses ...*harness) (stop func() (asked int64)) {
	t.Helper()
	var asked atomic.Int64
	done := make(chan struct{})
	var running sync.WaitGroup
	for _, h := range houses {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "scout", "tickets", "close_ticket"))); err != nil || d.Msg.GetDecision().GetEffect() != "allow" {
					t.Errorf("a gap: %v (%v)", d, err)
					return
				}
				if resp, err := h.entitlements("acme", "ben", ""); err != nil || len(resp.GetEntitlements()) != 3 {
					t.Errorf("a gap for an edge: %v (%v)", resp, err)
					return
				}
				asked.Add(2)
			}
		})
	}
	return func() int64 { close(done); running.Wait(); return asked.Load() }
}

func inUse(t *testing.T, h *harness) string {
	t.Helper()
	resp, err := h.as("acme", "root", "security").ListModels(t.Context(), connect.NewRequest(&authzv1.ListModelsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range resp.Msg.GetModels() {
		if m.GetInUse() {
			return m.GetId()
		}
	}
	t.Fatalf("no model is in use: %v", resp.Msg.GetModels())
	return ""
}

func TestAModelIsReplacedAndRolledBackWithoutAGap(t *testing.T) {
	fga, dir := newFaulty(t), t.TempDir()
	id := newAcme(t)
	database := func(c *authz.Config) { c.Database.Path = filepath.Join(dir, "authz.db") }
	first, second := start(t, id, database, fga.option), start(t, id, database, fga.option)
	platform := first.as("headgate", "op", "platform")
	use := func(m *authzv1.UseModelRequest) (*authzv1.UseModelResponse, error) {
		m.Tenant = "acme"
		resp, err := platform.UseModel(t.Context(), connect.NewRequest(m))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	own := inUse(t, first)
	wider := fga.writeModel(t, "type group\n", "type customer\n  relations\n    define owner: [user]\n\ntype group\n")
	edges := []*follower{first.follow(), second.follow()}
	stop := pressing(t, first, second)
	for _, step := range []struct{ to, from string }{{wider, own}, {own, wider}} {
		answer, err := use(&authzv1.UseModelRequest{Model: step.to})
		if err != nil || answer.GetPrevious() != step.from || answer.GetCompared() != 4 || len(answer.GetDifferences()) != 0 {
			t.Fatalf("use %s: %v (%v)", step.to, answer, err)
		}
		for _, h := range []*harness{first, second} {
			eventually(t, 30*time.Second, func() bool { return inUse(t, h) == step.to })
		}
		for _, edge := range edges {
			edge.until(30*time.Second, changedFor("acme", "ana", ""))
		}
	}
	t.Logf("%d questions were answered while the model changed twice", stop())
	if n := first.journal.of("relations-model-pinned"); len(n) != 2 || n[0] != "pinned RelationsModel acme/acme by op" {
		t.Errorf("recorded: %q", n)
	}
	if _, err := use(&authzv1.UseModelRequest{Model: wider}); err != nil {
		t.Fatal(err)
	}
	first.stop()
	second.stop()
	again := start(t, id, database, fga.option)
	if got := inUse(t, again); got != wider {
		t.Errorf("after a restart %s is in use, not the pinned %s", got, wider)
	}
	same(t, "ana", again.rights("acme", "ana", "")[2:], "call tickets/*: ana → role support → server tickets")
}

func TestAPinOfAModelThatTheStoreDoesNotHaveDoesNotBlockItsTenant(t *testing.T) {
	fga, dir := newFaulty(t), t.TempDir()
	id := newAcme(t)
	path := filepath.Join(dir, "authz.db")
	database := func(c *authz.Config) { c.Database.Path = path }
	h := start(t, id, database, fga.option)
	own := inUse(t, h)
	h.stop()
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path}, resourcestore.Migrations(), history.Migrations(), upkeep.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	program, err := openfga.OwnModel()
	if err != nil {
		t.Fatal(err)
	}
	pins := &upkeep.Pins{DB: db, Program: program, Now: time.Now}
	if err := pins.Set(t.Context(), "acme", upkeep.Pin{Model: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Previous: own}, "op"); err != nil {
		t.Fatal(err)
	}
	again := start(t, id, database, fga.option)
	if got := inUse(t, again); got != own {
		t.Errorf("%s is in use, not the program's own %s", got, own)
	}
	if left, err := pins.All(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("pinned: %v (%v)", left, err)
	}
	if n := again.journal.of("relations-model-pinned"); len(n) != 1 || !strings.HasPrefix(n[0], "abandoned RelationsModel acme/acme") {
		t.Errorf("recorded: %q", n)
	}
}

func TestAModelThatCannotServeIsRefusedAndNothingChanges(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	own := inUse(t, h)
	lacking := fga.writeModel(t, "    define can_act_for: delegator and member from organization\n", "")
	narrower := fga.writeModel(t, "    define assignee: [user, group#member, department#member, team#member]", "    define assignee: [user, group#member, department#member, team#member] but not barred\n    define barred: [user, group#member]")
	other := fga.writeModel(t, "    define caller: [role#assignee, role#assignee with active, agent, agent with active]", "    define caller: [role#assignee, role#assignee with active, agent, agent with active] and approved\n    define approved: [role#assignee]")
	fewer := fga.writeModel(t, "    define caller: [role#assignee, role#assignee with active, agent, agent with active]", "    define caller: [agent, agent with active]")
	platform := h.as("headgate", "op", "platform")
	for name, c := range map[string]struct {
		model  string
		accept bool
		reason faultv1.Reason
		says   string
	}{
		"one that lacks a relation":             {lacking, true, faultv1.Reason_REASON_INVALID, "agent#can_act_for"},
		"one that cannot hold a tuple":          {fewer, true, faultv1.Reason_REASON_INVALID, "mcp_server#caller: role#assignee"},
		"one that is not there":                 {"01ARZ3NDEKTSV4RRFFQ69G5FAV", true, faultv1.Reason_REASON_NOT_FOUND, "headgate relations models"},
		"no id":                                 {"latest", true, faultv1.Reason_REASON_INVALID, "model"},
		"one by which rights differ, not meant": {other, false, faultv1.Reason_REASON_INVALID, "rights would differ, or may"},
	} {
		_, err := platform.UseModel(t.Context(), connect.NewRequest(&authzv1.UseModelRequest{Tenant: "acme", Model: c.model, AcceptDifferences: c.accept}))
		if !fault.Is(err, c.reason) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.as("acme", "root", "admin").UseModel(t.Context(), connect.NewRequest(&authzv1.UseModelRequest{Model: narrower})); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("an administrator of the tenant: %v", err)
	}
	if resp, err := platform.UseModel(t.Context(), connect.NewRequest(&authzv1.UseModelRequest{Tenant: "acme", Model: narrower, DryRun: true})); err != nil || resp.Msg.GetCompared() == 0 {
		t.Errorf("a dry run: %v (%v)", resp, err)
	}
	h.journal.fill(true)
	if _, err := platform.UseModel(t.Context(), connect.NewRequest(&authzv1.UseModelRequest{Tenant: "acme", Model: narrower})); err == nil {
		t.Error("used without a record")
	}
	h.journal.fill(false)
	fga.mode.Store(unread)
	if _, err := platform.UseModel(t.Context(), connect.NewRequest(&authzv1.UseModelRequest{Tenant: "acme", Model: narrower})); err == nil {
		t.Error("used without a look at what is held")
	}
	if got := inUse(t, h); got != own { // also while nothing may be decided
		t.Errorf("%s is in use, not %s", got, own)
	}
	fga.mode.Store(works)
	if got := h.journal.of("relations-model-pinned"); len(got) != 2 || !strings.HasPrefix(got[0], "pinned ") || !strings.HasPrefix(got[1], "undone ") {
		t.Errorf("a choice that came to nothing is recorded as %q", got)
	}
	if got := inUse(t, h); got != own {
		t.Errorf("%s is in use, not %s", got, own)
	}
	eventually(t, 30*time.Second, func() bool { // what could not be read is read again after a while
		resp, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "scout", "tickets", "close_ticket")))
		return err == nil && resp.Msg.GetDecision().GetEffect() == "allow"
	})
}

func TestAModelThatDoesNotAnswerCanBeLeft(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	own := inUse(t, h)
	wider := fga.writeModel(t, "type group\n", "type customer\n  relations\n    define owner: [user]\n\ntype group\n")
	platform := h.as("headgate", "op", "platform")
	use := func(m *authzv1.UseModelRequest) (*authzv1.UseModelResponse, error) {
		m.Tenant = "acme"
		resp, err := platform.UseModel(t.Context(), connect.NewRequest(m))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	if _, err := use(&authzv1.UseModelRequest{Model: wider}); err != nil {
		t.Fatal(err)
	}
	fga.broken.Store(wider)
	if d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "scout", "tickets", "close_ticket"))); err == nil {
		t.Fatalf("decided by a model that does not answer: %v", d.Msg)
	}
	if _, err := use(&authzv1.UseModelRequest{Model: own}); !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(fmt.Sprint(err), "cannot be compared: ") {
		t.Errorf("left without a word of those who cannot be compared: %v", err)
	}
	tried, err := use(&authzv1.UseModelRequest{Model: own, DryRun: true})
	if err != nil || len(tried.GetDifferences()) != 3 || !strings.Contains(tried.GetDifferences()[2], "ben cannot be compared: ") {
		t.Errorf("a dry run: %v (%v)", tried, err)
	}
	if got := inUse(t, h); got != wider {
		t.Errorf("%s is in use before anybody accepted it", got)
	}
	if _, err := use(&authzv1.UseModelRequest{Model: own, AcceptDifferences: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() bool {
		d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "scout", "tickets", "close_ticket")))
		return err == nil && d.Msg.GetDecision().GetEffect() == "allow"
	})
	if n := h.journal.of("relations-model-pinned"); len(n) != 2 {
		t.Errorf("recorded: %q", n)
	}
	if notes := h.journal.last("relations-model-pinned").GetFindings().GetNotes(); len(notes) != 3 || !strings.Contains(notes[0], "cannot be compared") {
		t.Errorf("what was accepted is recorded as %q", notes)
	}
	fga.mode.Store(down)
	if _, err := use(&authzv1.UseModelRequest{Model: wider, AcceptDifferences: true}); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("another model while OpenFGA is down: %v", err)
	}
}

// last is the latest event of an action.
func (r *record) last(action string) (found *eventsv1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range r.events {
		if ev.GetAction() == action {
			found = ev
		}
	}
	return found
}
