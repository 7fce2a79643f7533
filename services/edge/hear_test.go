package edge_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// What comes down a stream that stays open is judged when it comes, not only when the stream was opened.

const updated = "notifications/resources/updated"

// hearsNext reads the next message of a stream, which has to be a change of this resource, as the client knows it.
func (k *talk) hearsNext(uri string) {
	k.t.Helper()
	method, params := k.told()
	if got, _ := mcp.Text(params, "uri"); method != updated || got != uri {
		k.t.Errorf("%s %s, not a change of %s", method, params, uri)
	}
}

// sets is a rule that changes the URI of what is read.
func sets(name, when, uri string) *authzv1.Rule {
	r := rule(name, when, "modify")
	r.Modify = []*authzv1.Modification{{Path: "/uri", Action: &authzv1.Modification_Set{Set: structpb.NewStringValue(uri)}}}
	return r
}

// reads holds rules about reading resources of the script in force, and waits until the edge has heard of them.
func (h *harness) reads(rules ...*authzv1.Rule) {
	h.t.Helper()
	h.policy("reads", onActs([]string{"resources/read"}, rules...))
	h.settled()
}

// subscribed is a client of each era that hears of memo://a and memo://b of a server of one revision.
func subscribed(t *testing.T, revision string, change func(w *world)) (*script, *harness, map[string]*talk) {
	s := methodScript(t, revision)
	s.speaksUp()
	w := scripted(t, s)
	if change != nil {
		change(w)
	}
	h := start(t, w, nil)
	modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	for _, uri := range []string{"memo://a", "memo://b"} {
		if r := legacy.send("resources/subscribe", `{"uri":"`+uri+`"}`); r.error() != "" {
			t.Fatalf("%s", r.body)
		}
	}
	subscription, _ := modern.listens(`{"resourceSubscriptions":["memo://a","memo://b"]}`)
	all := map[string]*talk{"a subscription": subscription, "a standing stream": legacy.stands("")}
	for _, k := range all {
		k.hears(s, "memo://b")
	}
	drain(s, all)
	return s, h, all
}

// drain reads what is still on its way: until all streams have what is told now.
func drain(s *script, all map[string]*talk) {
	round := 0
	eventually(s.t, 20*time.Second, "all are heard", func() bool {
		round++
		mark := "memo://b/" + strconv.Itoa(round)
		s.tellsAll(updated, `"uri":"`+mark+`"`)
		for _, k := range all {
			for uri := ""; uri != mark; {
				message, came := k.within(time.Second)
				if !came {
					return false
				}
				if message == nil {
					k.t.Fatal("the stream ended")
				}
				uri, _ = mcp.Text(message, "params", "uri")
			}
		}
		return true
	})
}

// only waits until a change of a resource comes, under the URI that the client knows, while the server tells of another one before each time.
func (k *talk) only(s *script, not, of, as string) {
	k.t.Helper()
	eventually(k.t, 20*time.Second, of+" is heard", func() bool {
		s.tellsAll(updated, `"uri":"`+not+`"`)
		s.tellsAll(updated, `"uri":"`+of+`"`)
		message, came := k.within(50 * time.Millisecond)
		if uri, _ := mcp.Text(message, "params", "uri"); came && uri != as {
			k.t.Fatalf("%s, not a change of %s", message, as)
		}
		return came
	})
}

func bothRevisions(t *testing.T, f func(t *testing.T, revision string)) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		t.Run("server of "+revision, func(t *testing.T) { f(t, revision) })
	}
}

func TestT26ANoticeIsJudgedByTheRulesOfItsMoment(t *testing.T) {
	bothRevisions(t, func(t *testing.T, revision string) {
		s, h, all := subscribed(t, revision, nil)
		h.reads(rule("no", `args.uri == "memo://a"`, "block"), rule("rest", "true", "allow"))
		for _, k := range all {
			k.only(s, "memo://a", "memo://b", "memo://b")
		}
		drain(s, all)
		h.reads(rule("rest", "true", "allow"))
		for _, k := range all {
			k.only(s, "memo://c", "memo://a", "memo://a")
		}
	})
}

func TestT26NothingIsHeardByWhoseRightWasTaken(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	s.speaksUp()
	w := scripted(t, s)
	other := newScript(t, mcp.V20251125)
	w.server("other", other.URL+"/mcp", other.tools, nil)
	w.grant("person/ana", "other", "*", "call")
	h := start(t, w, nil)
	ana, bob := h.guest("ana", "/mcp", mcp.V20260728, `{}`), h.guest("bob", "/mcp", mcp.V20260728, `{}`)
	mine, _ := ana.listens(`{"resourceSubscriptions":["hg.acts+memo://a"]}`)
	theirs, _ := bob.listens(`{"resourceSubscriptions":["hg.acts+memo://a"]}`)
	eventually(t, 20*time.Second, "both are heard", func() bool { return s.tellsAll("x/nothing", "") == 2 })
	s.tellsAll(updated, `"uri":"memo://a"`)
	mine.hearsNext("hg.acts+memo://a")
	theirs.hearsNext("hg.acts+memo://a")
	w.ungrant("ana")
	w.grant("person/ana", "other", "*", "call")
	h.settled()
	for range 3 {
		s.tellsAll(updated, `"uri":"memo://a"`)
		theirs.hearsNext("hg.acts+memo://a")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.end()
	}()
	mine.over() // without a notice before
	<-ended
}

func TestT26AStreamEndsRatherThanTellByOldNews(t *testing.T) {
	for _, name := range []string{"identity", "authz", "trust"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h, all := subscribed(t, mcp.V20251125, nil)
			h.silence(name)
			ana := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`)
			eventually(t, 20*time.Second, "the edge refuses", func() bool { return ana.call("act", `{}`).reason() == "stale" })
			s.tellsAll(updated, `"uri":"memo://a"`)
			for _, k := range all {
				k.over()
			}
		})
	}
}

func TestWhatARuleMakesOfAURIIsWhatIsSubscribedTo(t *testing.T) {
	bothRevisions(t, func(t *testing.T, revision string) {
		s, h, all := subscribed(t, revision, func(w *world) {
			w.policy("reads", onActs([]string{"resources/read"}, sets("mine", `args.uri == "memo://a"`, "memo://a-of-ana"), rule("rest", "true", "allow")))
		})
		for _, one := range append(s.sent("resources/subscribe"), s.sent("subscriptions/listen")...) {
			if strings.Contains(one.body, `"memo://a"`) {
				t.Errorf("the server was asked for what the rule changed: %s", one.body)
			}
		}
		for _, k := range all {
			k.only(s, "memo://a", "memo://a-of-ana", "memo://a")
		}
		drain(s, all)
		h.reads(sets("mine", `args.uri == "memo://a"`, "memo://a-of-all"), rule("rest", "true", "allow"))
		for _, k := range all {
			k.only(s, "memo://a", "memo://a-of-all", "memo://a")
		}
		ana := h.guest("ana", "/mcp/acts", revision, `{}`)
		r := ana.send("resources/read", `{"uri":"memo://a"}`)
		sent := s.sent("resources/read")
		if len(sent) != 1 || mcp.Modern(revision) && sent[0].header.Get("Mcp-Name") != "memo://a-of-all" || !strings.Contains(sent[0].body, `"memo://a-of-all"`) {
			t.Errorf("%s was answered after the server got %v", r.body, sent)
		}
	})
}

// TestT14AServerTellsOfNothingThatNobodyAskedFor: neither of other resources, nor under another subscription's id.
func TestT14AServerTellsOfNothingThatNobodyAskedFor(t *testing.T) {
	bothRevisions(t, func(t *testing.T, revision string) {
		s, _, all := subscribed(t, revision, nil)
		for _, uri := range []string{"memo://other", "memo://ab", "memo://", "", "memo://a%2f"} {
			s.tellsAll(updated, `"uri":"`+uri+`"`)
		}
		s.tellsAll(updated, ``)
		s.tellsAll(updated, `"uri":["memo://a"]`)
		s.tellsAll("notifications/tools/list_changed", ``)
		s.tellsAll(updated, `"uri":"memo://a/part"`)
		for _, k := range all {
			k.hearsNext("memo://a/part")
		}
	})
	s, _, all := subscribed(t, mcp.V20251125, nil) // no such id is known there
	for _, meta := range []string{`"_meta":{"` + mcp.MetaSubscription + `":"forged"},`, `"_meta":{"io.modelcontextprotocol\/subscription\u0049d":7,"x":1},`} {
		s.tellsAll(updated, meta+`"uri":"memo://a"`)
		for _, k := range all {
			_, params := k.told()
			of := string(mcp.Get(params, "_meta", mcp.MetaSubscription))
			if of != k.id {
				t.Errorf("%s is of subscription %q, not %q", params, of, k.id)
			}
		}
	}
}
