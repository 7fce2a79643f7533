package record

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Text is everything of an event that a person may search for by words.
func Text(ev *eventsv1.Event) string {
	var b strings.Builder
	add := func(values ...string) {
		for _, v := range values {
			if v != "" {
				b.WriteString(v)
				b.WriteByte(' ')
			}
		}
	}
	p, s, r, t, d, c := ev.GetPrincipal(), ev.GetSource(), ev.GetRequest(), ev.GetTarget(), ev.GetDecision(), ev.GetChange()
	add(ev.GetId(), ev.GetAction(), ev.GetTenant(), ev.GetService(), ev.GetCallId())
	add(p.GetPerson(), p.GetEmail(), p.GetDisplayName(), p.GetAgent(), p.GetClientName(), p.GetClientVersion(), p.GetClientId(), p.GetTokenId(), p.GetService())
	add(p.GetRoles()...)
	add(s.GetIp(), s.GetUserAgent(), r.GetMethod(), r.GetEndpoint())
	add(t.GetServer(), t.GetTool(), t.GetDefinitionHash(), t.GetAddress(), t.GetResource())
	add(t.GetLabels()...)
	add(d.GetId(), d.GetEffect(), d.GetRule(), d.GetVia(), d.GetStage())
	if d.GetReason() != 0 {
		add(fault.Code(d.GetReason()))
	}
	add(d.GetChanged()...)
	add(d.GetShadow()...)
	add(d.GetMatched()...)
	add(d.GetFailed()...)
	add(d.GetNear()...)
	add(Reason(ev), ev.GetCredential().GetConnection(), ev.GetTrace().GetTraceId(), ev.GetArguments().GetHmac(), ev.GetResult().GetHmac(),
		ev.GetArguments().GetDocument(), ev.GetResult().GetDocument())
	add(c.GetKind(), c.GetName(), c.GetAction(), c.GetReason(), c.GetOldHash(), c.GetNewHash())
	add(ev.GetFindings().GetNotes()...)
	for _, g := range ev.GetGrants() {
		add(g.GetWhat(), Granted(g))
	}
	a, m := ev.GetApproval(), ev.GetTrust()
	add(a.GetId(), a.GetState(), a.GetApprover(), m.GetSubject(), m.GetBand(), m.GetPreviousBand())
	add(a.GetApprovers()...)
	add(m.GetReasons()...)
	add(p.GetActors()...)
	if kind := Alert(ev); kind != "" {
		add("alert", kind)
	}
	return b.String()
}

// Words divides text as every search does: letters and numbers, lower case, without the marks above and below letters.
func Words(text string) []string {
	var words []string
	var word strings.Builder
	for _, r := range norm.NFD.String(strings.ToValidUTF8(text, " ")) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case unicode.IsLetter(r) || unicode.IsNumber(r):
			word.WriteRune(unicode.ToLower(r))
		case word.Len() > 0:
			words = append(words, word.String())
			word.Reset()
		}
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}

// Phrases is a text that somebody looks for: each of its parts between spaces is words that stand side by side. A part without a letter or number is none.
func Phrases(text string) [][]string {
	var out [][]string
	for part := range strings.FieldsSeq(strings.ToValidUTF8(text, " ")) {
		if words := Words(part); len(words) > 0 {
			out = append(out, words)
		}
	}
	return out
}

// HasPhrases reports whether all phrases occur in the text of an event. It is what a search for words means, in an index and in the ledger.
func HasPhrases(ev *eventsv1.Event, phrases [][]string) bool {
	if len(phrases) == 0 {
		return true
	}
	all := row(Words(Text(ev)))
	for _, phrase := range phrases {
		if !strings.Contains(all, row(phrase)) {
			return false
		}
	}
	return true
}

// row is words with a space at each end, so that only whole ones are found.
func row(words []string) string { return " " + strings.Join(words, " ") + " " }
