package record

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// What becomes of a question to a person about one call.
const (
	ApprovalAsked   = "asked"
	ApprovalGranted = "granted"
	ApprovalDenied  = "denied"
	ApprovalExpired = "expired"
	ApprovalUsed    = "used"
)

// What becomes of a right.
const (
	GrantGiven   = "given"
	GrantTaken   = "taken"
	GrantChanged = "changed"
)

// Delegation is who acts for the person, the one nearest to the call first: the chain that the token names, or the agent and the client that speaks for it.
func Delegation(p *eventsv1.Principal) []string {
	if len(p.GetActors()) > 0 {
		return p.GetActors()
	}
	client := p.GetClientId()
	if client != "" {
		client = "client:" + client
	}
	return distinct(p.GetAgent(), client)
}

// Granted is a grant in words: who has which right, and until when.
func Granted(g *eventsv1.Grant) string {
	text := g.GetHolder() + " " + g.GetRight()
	switch {
	case g.GetWhat() == GrantChanged:
		return text + " until " + ends(g.GetUntil()) + ", before until " + ends(g.GetPreviousUntil())
	case g.GetUntil() != nil:
		return text + " until " + ends(g.GetUntil())
	default:
		return text
	}
}

func ends(t *timestamppb.Timestamp) string {
	if t == nil {
		return "always"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// Rights are what of the grants of a record happened to rights in one way, in words.
func Rights(ev *eventsv1.Event, what string) []string {
	var out []string
	for _, g := range ev.GetGrants() {
		if g.GetWhat() == what {
			out = append(out, Granted(g))
		}
	}
	return out
}

func (d document) delegation(p *eventsv1.Principal) {
	chain := Delegation(p)
	d.put("headgate.delegation.chain", chain)
	d.put("headgate.delegation.depth", int64(len(chain)))
}

func (d document) approval(ev *eventsv1.Event) {
	a := ev.GetApproval()
	d.put("headgate.approval.id", a.GetId())
	d.put("headgate.approval.state", a.GetState())
	d.put("headgate.approval.approvers", a.GetApprovers())
	d.put("headgate.approval.approver", a.GetApprover())
	d.moment("headgate.approval.asked_at", a.GetAskedAt())
	d.moment("headgate.approval.expires_at", a.GetExpiresAt())
	d.put("headgate.approval.self", a.GetSelf())
	d.put("headgate.approval.break_glass", a.GetBreakGlass())
	d.put("headgate.approval.args_hmac", a.GetArgumentsHmac())
	if a.GetAskedAt() != nil && a.GetState() != ApprovalAsked {
		d.put("headgate.approval.waited", max(0, ev.GetTime().AsTime().Sub(a.GetAskedAt().AsTime()).Nanoseconds()))
	}
}

func (d document) trust(t *eventsv1.Trust) {
	d.put("headgate.trust.subject", t.GetSubject())
	d.put("headgate.trust.band", t.GetBand())
	d.put("headgate.trust.previous_band", t.GetPreviousBand())
	d.put("headgate.trust.reasons", t.GetReasons())
	if t != nil && t.Score != nil { // 0 is a score, too
		d.put("headgate.trust.score", t.GetScore())
	}
	if t != nil && t.PreviousScore != nil {
		d.put("headgate.trust.previous", t.GetPreviousScore())
	}
	if t != nil && t.Score != nil && t.PreviousScore != nil && t.GetScore() < t.GetPreviousScore() {
		d.put("headgate.trust.drop", t.GetPreviousScore()-t.GetScore())
	}
}

func (d document) grants(ev *eventsv1.Event) {
	var holders, rights, until []string
	for _, g := range ev.GetGrants() {
		holders, rights = append(holders, g.GetHolder()), append(rights, g.GetRight())
		if g.GetUntil() != nil {
			until = append(until, g.GetUntil().AsTime().UTC().Format(time.RFC3339Nano))
		}
	}
	slices.Sort(until)
	for _, what := range []string{GrantGiven, GrantTaken, GrantChanged} {
		d.put("headgate.grants."+what, Rights(ev, what))
	}
	d.put("headgate.grants.holders", distinct(holders...))
	d.put("headgate.grants.rights", distinct(rights...))
	d.put("headgate.grants.until", slices.Compact(until))
}

func (d document) moment(path string, at *timestamppb.Timestamp) {
	if at != nil {
		d.put(path, at.AsTime().UTC().Format(time.RFC3339Nano))
	}
}
