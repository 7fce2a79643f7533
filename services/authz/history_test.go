package authz_test

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/fault"
)

// capped is a policy whose one rule has a number in it.
func capped(most int) string {
	return fmt.Sprintf(`
apiVersion: headgate/v1
kind: Policy
metadata: {name: caps, tenant: acme}
spec:
  match: {server: tickets}
  default: allow
  rules: [{name: cap, when: args.n > %d, effect: block}]
  tests: [{name: more is too much, args: {n: %d}, expect: block}]
`, most, most+1)
}

func versions(t *testing.T, client authzv1connect.AuthzServiceClient, size int32) (lines []string, all []*authzv1.PolicyVersion) {
	t.Helper()
	for token := ""; ; {
		resp, err := client.ListVersions(t.Context(), connect.NewRequest(&authzv1.ListVersionsRequest{Name: "caps", PageSize: size, PageToken: token}))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range resp.Msg.GetVersions() {
			line := fmt.Sprintf("%d %s by %s", v.GetVersion(), v.GetAction(), v.GetAuthor())
			if v.GetRolledBackTo() > 0 {
				line += fmt.Sprintf(" to %d", v.GetRolledBackTo())
			}
			lines, all = append(lines, line), append(all, v)
		}
		if token = resp.Msg.GetNextPageToken(); token == "" {
			return lines, all
		}
	}
}

func TestEveryVersionOfAPolicyIsKeptAndCanComeBack(t *testing.T) {
	h := start(t, newAcme(t))
	root, dora := h.as("acme", "root", "admin"), h.as("acme", "dora", "admin")
	for _, most := range []int{10, 20} {
		if _, err := root.Apply(t.Context(), connect.NewRequest(applying(t, capped(most)))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.Apply(t.Context(), connect.NewRequest(applying(t, capped(20)))); err != nil { // says the same
		t.Fatal(err)
	}
	effect := func(n int) string {
		req := call("ana", "", "tickets", "close_ticket")
		req.Arguments = fmt.Appendf(nil, `{"n":%d}`, n)
		return h.decide(req).GetEffect()
	}
	if effect(15) != "allow" {
		t.Fatal("15 is blocked by version 2")
	}
	back := func(client authzv1connect.AuthzServiceClient, version int64, dry bool) (*resourcev1.Change, error) {
		resp, err := client.Rollback(t.Context(), connect.NewRequest(&authzv1.RollbackRequest{Name: "caps", Version: version, DryRun: dry}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetChange(), nil
	}
	if c, err := back(dora, 1, true); err != nil || c.GetVersion() != 3 || effect(15) != "allow" {
		t.Errorf("a dry run: %v, %v", c, err)
	}
	if c, err := back(dora, 1, false); err != nil || c.GetVersion() != 3 || effect(15) != "block" {
		t.Errorf("rolled back: %v, %v", c, err)
	}
	if c, err := back(dora, 3, false); err != nil || c.GetAction() != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("back to what is: %v, %v", c, err)
	}
	if _, err := root.Delete(t.Context(), connect.NewRequest(&authzv1.DeleteRequest{Kind: "Policy", Name: "caps"})); err != nil {
		t.Fatal(err)
	}
	if c, err := back(root, 2, false); err != nil || c.GetVersion() != 1 || effect(15) != "allow" || effect(25) != "block" {
		t.Errorf("a deleted policy came back: %v, %v", c, err)
	}
	want := []string{"1 rolled-back by person root to 2", "3 deleted by person root", "3 rolled-back by person dora to 1", "2 updated by person root", "1 created by person root"}
	for _, size := range []int32{0, 1, 2} {
		lines, _ := versions(t, dora, size)
		same(t, fmt.Sprintf("history by %d", size), lines, want...)
	}
	_, all := versions(t, dora, 0)
	if all[2].GetPreviousHash() != all[3].GetHash() || all[2].GetHash() != all[4].GetHash() || all[3].GetPreviousHash() != all[4].GetHash() || all[1].GetPreviousHash() != all[2].GetHash() {
		t.Errorf("hashes: %v", all)
	}
	if all[0].GetHash() != all[3].GetHash() || all[0].GetAt() == nil {
		t.Errorf("what came back: %v", all[0])
	}
	same(t, "records", h.journal.of("resource-applied"),
		"created Policy acme/caps by root", "updated Policy acme/caps by root", "rolled-back Policy acme/caps by dora", "rolled-back Policy acme/caps by root")
	old, err := dora.GetVersion(t.Context(), connect.NewRequest(&authzv1.GetVersionRequest{Name: "caps", Version: 3}))
	if err != nil || !strings.Contains(old.Msg.GetPolicy().GetSpec().GetRules()[0].GetWhen(), "10") {
		t.Errorf("version 3: %v, %v", old, err)
	}
	if _, err := back(root, 9, false); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("a version that never was: %v", err)
	}
	if _, err := h.as("globex", "eve", "admin").GetVersion(t.Context(), connect.NewRequest(&authzv1.GetVersionRequest{Name: "caps", Version: 1})); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("of another tenant: %v", err)
	}
	h.journal.fill(true)
	if _, err := back(root, 3, false); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) || effect(15) != "allow" {
		t.Errorf("without a record: %v", err)
	}
	if lines, _ := versions(t, dora, 0); len(lines) != len(want) {
		t.Errorf("a change that was undone is in the history: %q", lines)
	}
}

func TestAPolicyThatASourceDeclaresIsReadOnlyForEverybodyElse(t *testing.T) {
	h := start(t, newAcme(t))
	root := h.as("acme", "root", "admin")
	apply := func(most int, owner string, takeOver bool) error {
		req := applying(t, capped(most))
		req.Owner, req.TakeOver = owner, takeOver
		_, err := root.Apply(t.Context(), connect.NewRequest(req))
		return err
	}
	back := func(owner string) error {
		_, err := root.Rollback(t.Context(), connect.NewRequest(&authzv1.RollbackRequest{Name: "caps", Version: 1, Owner: owner}))
		return err
	}
	remove := func(owner string) error {
		_, err := root.Delete(t.Context(), connect.NewRequest(&authzv1.DeleteRequest{Kind: "Policy", Name: "caps", Owner: owner}))
		return err
	}
	for _, most := range []int{10, 20} {
		if err := apply(most, "git", false); err != nil {
			t.Fatal(err)
		}
	}
	for about, err := range map[string]error{
		"applied by hand": apply(30, "", false), "applied by another": apply(30, "other", false), "rolled back by hand": back(""), "removed by hand": remove(""),
	} {
		if !fault.Is(err, faultv1.Reason_REASON_CONFLICT) || !strings.Contains(err.Error(), "git") || !strings.Contains(err.Error(), "--take-over") {
			t.Errorf("%s: %v", about, err)
		}
	}
	for about, err := range map[string]error{"rolled back by its source": back("git"), "taken over": apply(40, "", true)} {
		if err != nil {
			t.Errorf("%s: %v", about, err)
		}
	}
	if err := apply(50, "", false); err != nil {
		t.Errorf("by hand, once it is nobody's: %v", err)
	}
}
