package trust_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"google.golang.org/protobuf/types/known/timestamppb"
	"headgate.dev/libs/fault"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func TestAKillReachesTheEdgeAtOnce(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"), tool("b", "two"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved b:approved")
	var longest time.Duration
	for _, what := range []string{"person ana", "agent claude", "server echo", "tool echo.a"} {
		began := time.Now()
		if err := h.kill(what); err != nil {
			t.Fatal(what, err)
		}
		h.edge.await(what, func() bool { return h.edge.kills["acme/"+what] != nil })
		longest = max(longest, time.Since(began))
	}
	if longest > time.Second {
		t.Errorf("it took %s", longest)
	}
	t.Logf("slowest kill, from the call to the edge: %s", longest)
	events := h.journal.of("kill")
	if len(events) != 4 || !events[0].GetAlert() || events[0].GetPrincipal().GetPerson() != "sam" || events[0].GetChange().GetReason() != "incident 7" ||
		events[3].GetTarget().GetServer() != "echo" || events[3].GetTarget().GetTool() != "a" {
		t.Errorf("the records: %v", events)
	}
	if err := h.revive("tool echo.a"); err != nil {
		t.Fatal(err)
	}
	h.edge.await("the revival", func() bool { return h.edge.kills["acme/tool echo.a"] == nil && len(h.edge.kills) == 3 })
}

func TestKillAndReviveMayBeRepeated(t *testing.T) {
	h := start(t, t.TempDir())
	for range 3 {
		if err := h.kill("person ana"); err != nil {
			t.Fatal(err)
		}
	}
	h.edge.await("the kill", func() bool { return len(h.edge.kills) == 1 })
	for range 3 {
		if err := h.revive("person ana"); err != nil {
			t.Fatal(err)
		}
	}
	h.edge.await("the revival", func() bool { return len(h.edge.kills) == 0 })
	if kills, revivals := len(h.journal.of("kill")), len(h.journal.of("revive")); kills != 1 || revivals != 1 {
		t.Errorf("%d kills and %d revivals on record", kills, revivals)
	}
}

func TestAKillOfWhatIsNotThereSaysThatNothingWasStopped(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"), tool("x.y", "two"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved x.y:approved")
	for what, reason := range map[string]faultv1.Reason{
		"server ehco": faultv1.Reason_REASON_NOT_FOUND, "tool echo.b": faultv1.Reason_REASON_NOT_FOUND, "tool ehco.a": faultv1.Reason_REASON_NOT_FOUND,
		"tool a": faultv1.Reason_REASON_INVALID, "tool echo.": faultv1.Reason_REASON_INVALID, "person ana ": faultv1.Reason_REASON_INVALID,
		"person a\u200bna": faultv1.Reason_REASON_INVALID, "file x": faultv1.Reason_REASON_INVALID,
	} {
		if err := h.kill(what); !fault.Is(err, reason) {
			t.Errorf("%q: %v", what, err)
		}
	}
	for _, good := range []string{"tool echo.x.y", "agent client:https://agent.example/id.json"} {
		if err := h.kill(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

// Each step of a server, and of somebody who is stopped, says from where to where trust moved.
func TestRecordsSayHowTrustMoved(t *testing.T) {
	h := start(t, t.TempDir())
	u, other := serve(t, tool("a", "one")), serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved")
	if _, err := h.as("acme/sam").Quarantine(t.Context(), connect.NewRequest(&trustv1.QuarantineRequest{Name: "echo", Reason: "odd calls"})); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"server echo", "person ana"} {
		if err := h.kill(what); err != nil {
			t.Fatal(err)
		}
		if err := h.revive(what); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.approve("", "a"); err != nil {
		t.Fatal(err)
	}
	h.mustApply(echo(other.url, initial))
	for action, want := range map[string]string{
		"server-approved":    "server:echo pending to approved, server:echo quarantined to approved",
		"server-quarantined": "server:echo approved to quarantined",
		"kill":               "server:echo quarantined to stopped, person:ana not-stopped to stopped",
		"revive":             "server:echo stopped to quarantined, person:ana stopped to not-stopped",
		"resource-applied":   "server:echo approved to pending",
	} {
		var moves []string
		for _, ev := range h.journal.of(action) {
			if m := ev.GetTrust(); m != nil {
				moves = append(moves, m.GetSubject()+" "+m.GetPreviousBand()+" to "+m.GetBand())
			}
		}
		if got := strings.Join(moves, ", "); got != want {
			t.Errorf("%s: %s, want %s", action, got, want)
		}
	}
}

func TestQuarantineStopsAServerUntilItIsApprovedAgain(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"), tool("b", "two"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved b:approved")
	for range 2 {
		if _, err := h.as("acme/sam").Quarantine(t.Context(), connect.NewRequest(&trustv1.QuarantineRequest{Name: "echo", Reason: "odd calls"})); err != nil {
			t.Fatal(err)
		}
	}
	h.edge.knows("quarantined: a:approved b:approved")
	if note := h.show().GetNote(); !strings.Contains(note, "odd calls") || !strings.Contains(note, "sam") {
		t.Errorf("the note: %q", note)
	}
	h.mustApply(echo(u.url, initial, func(s *trustv1.Server) { s.Spec.Description = "changed" }))
	h.edge.await("the new description", func() bool { return h.edge.servers["acme/echo"].GetServer().GetSpec().GetDescription() == "changed" })
	h.edge.knows("quarantined: a:approved b:approved")
	if _, err := h.approve("", "b"); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:pending b:approved")
	if n := len(h.journal.of("server-quarantined")); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestEverythingThatMattersSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	u := serve(t, tool("a", "one"), tool("b", "two"))
	other := serve(t, tool("z", "zed"))
	var revision int64
	t.Run("before", func(t *testing.T) {
		h := start(t, dir)
		u.set(func(u *upstream) { u.instructions = "be kind" })
		h.mustApply(echo(u.url, initial), echo(other.url, initial, func(s *trustv1.Server) { s.Metadata.Name = "other" }))
		h.edge.knows("approved: a:approved b:approved")
		h.edge.await("the other", func() bool { return told(h.edge.servers["acme/other"]) == "approved: z:approved" })
		u.shows(tool("a", "evil"), tool("c", "new"))
		h.edge.knows("approved: a:changed c:pending b:gone")
		if _, err := h.as("acme/sam").Quarantine(t.Context(), connect.NewRequest(&trustv1.QuarantineRequest{Name: "other"})); err != nil {
			t.Fatal(err)
		}
		if err := h.kill("person ana"); err != nil {
			t.Fatal(err)
		}
		h.edge.await("the kill", func() bool { return len(h.edge.kills) == 1 })
		h.edge.mu.Lock()
		revision = h.edge.messages[len(h.edge.messages)-1].GetRevision()
		h.edge.mu.Unlock()
	})
	u.set(func(u *upstream) { u.down = true })
	other.set(func(u *upstream) { u.down = true })
	t.Run("after", func(t *testing.T) {
		h := start(t, dir)
		h.edge.mu.Lock()
		defer h.edge.mu.Unlock()
		first := h.edge.messages[0]
		if !first.GetSnapshot() || first.GetRevision() < revision {
			t.Errorf("the snapshot has revision %d after %d", first.GetRevision(), revision)
		}
		echo, other := h.edge.servers["acme/echo"], h.edge.servers["acme/other"]
		if told(echo) != "approved: a:changed c:pending b:gone" ||
			string(echo.GetDefinitions()[0].GetApproved()) != tool("a", "one") || echo.GetInstructions() != "be kind" {
			t.Errorf("echo: %v", echo)
		}
		kill := h.edge.kills["acme/person ana"]
		if told(other) != "quarantined: z:approved" || kill.GetBy() != "sam" || kill.GetReason() != "incident 7" {
			t.Errorf("other: %v, kills: %v", other, h.edge.kills)
		}
	})
}

func TestInitialIsNotAskedAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	u := serve(t, tool("a", "one"))
	t.Run("before", func(t *testing.T) {
		h := start(t, dir)
		h.mustApply(echo(u.url, initial))
		h.edge.knows("approved: a:approved")
	})
	u.shows(tool("a", "evil"))
	t.Run("after", func(t *testing.T) { start(t, dir).edge.knows("approved: a:changed") })
}

func TestADeletedServerIsGoneAtOnceAndItsPinsWithIt(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved")
	if err := h.kill("server echo"); err != nil {
		t.Fatal(err)
	}
	remove := func(person string) error {
		_, err := h.as(person).Delete(t.Context(), connect.NewRequest(&trustv1.DeleteRequest{Kind: "Server", Name: "echo"}))
		return err
	}
	if err := remove("rival/rita"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("another tenant: %v", err)
	}
	if err := remove("acme/adam"); err != nil {
		t.Fatal(err)
	}
	h.edge.await("the deletion", func() bool { return h.edge.servers["acme/echo"] == nil })
	h.mustApply(echo(u.url))
	h.edge.knows("pending: a:pending")
	if !h.edge.killed("server echo") {
		t.Error("declaring the server again took its kill back")
	}
}

func TestWatchSendsEveryRevisionOnceAndInOrder(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 10 {
				if err := h.kill(fmt.Sprintf("person p%d-%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	h.edge.await("80 kills", func() bool { return len(h.edge.kills) == 80 })
	h.edge.await("a heartbeat", func() bool {
		last := h.edge.messages[len(h.edge.messages)-1]
		return len(last.GetKills())+len(last.GetUpserts()) == 0 && !last.GetSnapshot()
	})
	h.edge.mu.Lock()
	defer h.edge.mu.Unlock()
	for i, m := range h.edge.messages[1:] {
		before := h.edge.messages[i].GetRevision()
		change := len(m.GetKills())+len(m.GetUpserts())+len(m.GetRevived())+len(m.GetDeletions()) > 0
		if m.GetSnapshot() || change && m.GetRevision() <= before || !change && m.GetRevision() != before {
			t.Errorf("message %d has revision %d after %d", i+1, m.GetRevision(), before)
		}
	}
	late := follow(t, h.service(optionsv1.Service_SERVICE_AUTHZ))
	defer late.stop()
	late.mu.Lock()
	defer late.mu.Unlock()
	if len(late.kills) != 80 || len(late.servers) != 1 {
		t.Errorf("the snapshot of a late watcher has %d kills and %d servers", len(late.kills), len(late.servers))
	}
}

func TestTenantsAreApart(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url))
	h.edge.knows("pending: a:pending")
	rita := h.as("rival/rita")
	for name, call := range map[string]func(tenant string) error{
		"get": func(tenant string) error {
			_, err := rita.Get(t.Context(), connect.NewRequest(&trustv1.GetRequest{Kind: "Server", Name: "echo", Tenant: tenant}))
			return err
		},
		"show": func(tenant string) error {
			_, err := rita.Show(t.Context(), connect.NewRequest(&trustv1.ShowRequest{Name: "echo", Tenant: tenant}))
			return err
		},
		"refresh": func(tenant string) error {
			_, err := rita.Refresh(t.Context(), connect.NewRequest(&trustv1.RefreshRequest{Name: "echo", Tenant: tenant}))
			return err
		},
		"approve": func(tenant string) error {
			_, err := rita.Approve(t.Context(), connect.NewRequest(&trustv1.ApproveRequest{Name: "echo", Tenant: tenant}))
			return err
		},
		"quarantine": func(tenant string) error {
			_, err := rita.Quarantine(t.Context(), connect.NewRequest(&trustv1.QuarantineRequest{Name: "echo", Tenant: tenant}))
			return err
		},
		"kill": func(tenant string) error {
			_, err := rita.Kill(t.Context(), connect.NewRequest(&trustv1.KillRequest{Tenant: tenant, Target: &trustv1.Target{Kind: "server", Name: "echo"}}))
			return err
		},
	} {
		if err := call(""); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
			t.Errorf("%s without a tenant: %v", name, err)
		}
		if err := call("acme"); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
			t.Errorf("%s of acme: %v", name, err)
		}
	}
	list, err := rita.List(t.Context(), connect.NewRequest(&trustv1.ListRequest{Kind: "Server"}))
	if err != nil || len(list.Msg.GetResources()) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := h.apply(echo(u.url, func(s *trustv1.Server) { s.Metadata.Tenant = "rival" })); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("apply: %v", err)
	}
	// The same name in another tenant is another server, with its own kills.
	same := echo(u.url, func(s *trustv1.Server) { s.Metadata.Tenant = "" })
	req := &trustv1.ApplyRequest{Resources: []*trustv1.Resource{{Kind: &trustv1.Resource_Server{Server: same}}}}
	if _, err := rita.Apply(t.Context(), connect.NewRequest(req)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.approve(""); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved")
	h.edge.await("the other one", func() bool { return told(h.edge.servers["rival/echo"]) == "pending: a:pending" })
}

func TestAServerIsLookedAtWithItsCredential(t *testing.T) {
	h := start(t, t.TempDir())
	lease := func(value string) *credentialsv1.LeaseResponse {
		return &credentialsv1.LeaseResponse{
			LeaseId: "lease_1", Connection: "echo", Headers: []*credentialsv1.Header{{Name: "Authorization", Value: "Bearer " + value}},
			Secrets: []string{value}, ExpiresAt: timestamppb.New(time.Now().Add(5 * time.Minute)),
		}
	}
	h.lender.mu.Lock()
	h.lender.answer = lease("first-secret")
	h.lender.mu.Unlock()
	u := serve(t, tool("a", "one"))
	u.set(func(u *upstream) { u.wants = "Bearer first-secret" })
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved")
	// The secret is replaced on both sides: the next look leases anew, because the server does not take the old one.
	h.lender.mu.Lock()
	h.lender.answer = lease("second-secret")
	asked := len(h.lender.asked)
	h.lender.mu.Unlock()
	u.set(func(u *upstream) {
		u.wants, u.tools = "Bearer second-secret", []string{tool("a", "one"), tool("b", "two")}
	})
	h.edge.knows("approved: a:approved b:pending")
	h.lender.mu.Lock()
	defer h.lender.mu.Unlock()
	first := h.lender.asked[0]
	if asked != 1 || first.GetTenant() != "acme" || first.GetServer() != "echo" || first.GetHost() != strings.Split(u.url, "/")[2] || first.GetPerson() != "" {
		t.Errorf("%d leases before the change, the first %v", asked, first)
	}
}

func TestAServerWhoseCredentialIsNotLentIsNotLookedAt(t *testing.T) {
	h := start(t, t.TempDir())
	h.lender.mu.Lock()
	h.lender.err = fault.New(faultv1.Reason_REASON_CREDENTIAL, "Connection echo does not lend its credential: the host is not among its allowHosts.")
	h.lender.mu.Unlock()
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	if state := h.refresh(); told(state) != "pending:" || !strings.Contains(state.GetNote(), "allowHosts") {
		t.Errorf("%v", state)
	}
}

// TestT18NoLookSendsACredentialWhereOthersCanReadIt: the address is one of those for documentation, where nothing is.
func TestT18NoLookSendsACredentialWhereOthersCanReadIt(t *testing.T) {
	h := start(t, t.TempDir())
	h.lender.mu.Lock()
	h.lender.answer = &credentialsv1.LeaseResponse{
		LeaseId: "lease_1", Connection: "echo", Headers: []*credentialsv1.Header{{Name: "Authorization", Value: "Bearer first-secret"}},
		Secrets: []string{"first-secret"}, ExpiresAt: timestamppb.New(time.Now().Add(5 * time.Minute)),
	}
	h.lender.mu.Unlock()
	h.mustApply(echo("http://192.0.2.2:9400/mcp", initial))
	if state := h.refresh(); told(state) != "pending:" || !strings.Contains(state.GetNote(), "spec.insecure: true") {
		t.Errorf("%v", state)
	}
}

func TestAStoppedOfficerCannotReviveThemself(t *testing.T) {
	h := start(t, t.TempDir())
	if err := h.kill("person sam"); err != nil {
		t.Fatal(err)
	}
	_, deleted := h.as("acme/sam").Delete(t.Context(), connect.NewRequest(&trustv1.DeleteRequest{Kind: "Server", Name: "echo"}))
	for what, err := range map[string]error{"revive": h.revive("person sam"), "kill another": h.kill("person ana"), "delete": deleted} {
		if !fault.Is(err, faultv1.Reason_REASON_KILLED) {
			t.Errorf("%s by a person who is stopped: %v", what, err)
		}
	}
	h.edge.await("the kill holds", func() bool { return h.edge.kills["acme/person sam"] != nil && len(h.edge.kills) == 1 })
}
