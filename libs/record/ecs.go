package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	ecsVersion = "9.5.0"
	product    = "headgate"
	dataset    = product + ".audit"

	defaultNamespace = "default"
	longestNamespace = 64 // 100 may be, with a hash behind
)

// ECS is the event as an Elastic Common Schema document of nested objects, ready for encoding/json. Headgate's own fields stand under "headgate".
// What the event does not know is left out.
func ECS(ev *eventsv1.Event) map[string]any {
	d := document{}
	d.put("@timestamp", ev.GetTime().AsTime().UTC().Format(time.RFC3339Nano))
	d.put("ecs.version", ecsVersion)
	d.put("data_stream.type", "logs")
	d.put("data_stream.dataset", dataset)
	d.put("data_stream.namespace", Namespace(ev.GetTenant()))
	d.put("organization.id", ev.GetTenant())
	d.event(ev)
	d.principal(ev)
	d.request(ev)
	d.target(ev)
	d.decision(ev.GetDecision())
	d.payloads(ev)
	d.change(ev.GetChange())
	d.delegation(ev.GetPrincipal())
	d.approval(ev)
	d.trust(ev.GetTrust())
	d.grants(ev)
	d.put("trace.id", ev.GetTrace().GetTraceId())
	d.put("span.id", ev.GetTrace().GetSpanId())
	d.put("headgate.integrity.writer", ev.GetWriter())
	d.put("headgate.integrity.sequence", ev.GetSequence())
	d.put("headgate.integrity.prev_hash", hex.EncodeToString(ev.GetPreviousHash()))
	return d
}

// Reason is why the event ended as it did, in words; empty only for started records.
func Reason(ev *eventsv1.Event) string {
	d, c := ev.GetDecision(), ev.GetChange()
	switch {
	case d.GetSentence() != "":
		return d.GetSentence()
	case d.GetEffect() == Modify && d.GetRule() != "":
		return "changed by " + d.GetRule() + ": " + strings.Join(d.GetChanged(), ", ")
	case d.GetEffect() == Allow && d.GetRule() != "":
		return "allowed by " + d.GetRule()
	case d.GetEffect() == Allow && d.GetVia() != "":
		return "allowed by relation: " + d.GetVia()
	case d.GetEffect() != "" && d.GetRule() != "":
		return d.GetEffect() + " by " + d.GetRule()
	case d.GetReason() != faultv1.Reason_REASON_UNSPECIFIED:
		return "refused: " + fault.Code(d.GetReason())
	case c.GetReason() != "":
		return c.GetReason()
	case c != nil:
		return strings.Join(slices.DeleteFunc([]string{c.GetKind(), c.GetName(), c.GetAction()}, func(s string) bool { return s == "" }), " ")
	case ev.GetPhase() == eventsv1.Phase_PHASE_STARTED:
		return ""
	case d.GetEffect() == Allow:
		return "allowed: no rule forbids it"
	default:
		return ev.GetAction() + ": " + Outcome(ev)
	}
}

// Code is the machine's word for how it ended.
func Code(ev *eventsv1.Event) string {
	d := ev.GetDecision()
	switch {
	case d.GetReason() != faultv1.Reason_REASON_UNSPECIFIED:
		return fault.Code(d.GetReason())
	case ev.GetPhase() == eventsv1.Phase_PHASE_STARTED:
		return ""
	case d.GetEffect() != "":
		return d.GetEffect()
	default:
		return Outcome(ev)
	}
}

// Outcome is how it ended in one word: success, failure or unknown.
func Outcome(ev *eventsv1.Event) string {
	switch ev.GetOutcome() {
	case eventsv1.Outcome_OUTCOME_SUCCESS:
		return "success"
	case eventsv1.Outcome_OUTCOME_FAILURE:
		return "failure"
	default:
		return "unknown"
	}
}

func refused(d *eventsv1.Decision) bool { return d.GetEffect() == Block || d.GetEffect() == Escalate }

// document is nested objects with paths for writing.
type document map[string]any

// put sets a value at a dotted path, unless it is empty.
func (d document) put(path string, value any) {
	if empty(value) {
		return
	}
	at := map[string]any(d)
	for {
		head, rest, more := strings.Cut(path, ".")
		if !more {
			at[head] = value
			return
		}
		next, ok := at[head].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[head] = next
		}
		at, path = next, rest
	}
}

func empty(value any) bool {
	switch v := value.(type) {
	case string:
		return v == ""
	case int64:
		return v == 0
	case int32:
		return v == 0
	case uint64:
		return v == 0
	case bool:
		return !v
	case []string:
		return len(v) == 0
	default:
		return value == nil
	}
}

func (d document) event(ev *eventsv1.Event) {
	kind, alert := "event", Alert(ev)
	if alert != "" {
		kind = "alert"
	}
	category, types := categorize(ev)
	d.put("event.id", ev.GetId())
	d.put("event.kind", kind)
	d.put("event.category", category)
	d.put("event.type", types)
	d.put("event.action", ev.GetAction())
	d.put("event.outcome", Outcome(ev))
	d.put("event.reason", Reason(ev))
	d.put("event.code", Code(ev))
	d.put("event.dataset", dataset)
	d.put("event.module", product)
	d.put("event.provider", ev.GetService())
	d.put("service.name", ev.GetService())
	d.put("event.sequence", ev.GetSequence())
	d.put("event.duration", ev.GetDurationNs())
	d.put("error.type", errorType(ev))
	d.put("headgate.alert.kind", alert)
	d.put("headgate.call.id", ev.GetCallId())
	d.put("headgate.call.phase", map[eventsv1.Phase]string{eventsv1.Phase_PHASE_STARTED: "started", eventsv1.Phase_PHASE_FINAL: "final"}[ev.GetPhase()])
	d.put("headgate.session.hash", ev.GetSessionHash())
	d.put("headgate.repeats", ev.GetRepeats())
}

// categorize chooses among the pairs of event.category and event.type that ECS allows together.
func categorize(ev *eventsv1.Event) (category, types []string) {
	switch {
	case refused(ev.GetDecision()), ev.GetAction() == ApprovalDenial, ev.GetAction() == ApprovalExpiry:
		return []string{"api"}, []string{"access", "denied"}
	case ev.GetChange() != nil:
		return changed(ev.GetChange())
	case ev.GetAction() == TrustMoved:
		return []string{"configuration"}, []string{"change"}
	case ev.GetAction() == ApprovalGrant:
		return []string{"api"}, []string{"access", "allowed"}
	case ev.GetPhase() == eventsv1.Phase_PHASE_STARTED:
		return []string{"api"}, []string{"access", "start"}
	case strings.HasPrefix(ev.GetAction(), "token-"), strings.HasPrefix(ev.GetAction(), "login"), strings.HasPrefix(ev.GetAction(), "sign-in"):
		return []string{"authentication"}, []string{"start"}
	case ev.GetDecision().GetEffect() != "" && ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE:
		return []string{"api"}, []string{"access", "allowed"}
	default:
		return []string{"api"}, []string{"access"}
	}
}

func changed(c *eventsv1.Change) (category, types []string) {
	what := "change"
	switch c.GetAction() {
	case "started", "restarted":
		return []string{"process"}, []string{"start"}
	case "stopped":
		return []string{"process"}, []string{"end"}
	}
	switch {
	case strings.HasPrefix(c.GetAction(), "creat"):
		what = "creation"
	case strings.HasPrefix(c.GetAction(), "delet"):
		what = "deletion"
	}
	switch c.GetKind() {
	case "Person", "Agent", "person", "agent":
		return []string{"iam"}, []string{"user", what}
	case "Group", "Role":
		return []string{"iam"}, []string{"group", what}
	default:
		return []string{"configuration"}, []string{what}
	}
}

func errorType(ev *eventsv1.Event) string {
	switch {
	case ev.GetOutcome() == eventsv1.Outcome_OUTCOME_SUCCESS || ev.GetPhase() == eventsv1.Phase_PHASE_STARTED:
		return ""
	case ev.GetDecision().GetReason() != faultv1.Reason_REASON_UNSPECIFIED:
		return fault.Code(ev.GetDecision().GetReason())
	case ev.GetResult().GetIsError():
		return "tool_error"
	case ev.GetRequest().GetErrorCode() != 0:
		return strconv.Itoa(int(ev.GetRequest().GetErrorCode()))
	default:
		return ""
	}
}

func (d document) principal(ev *eventsv1.Event) {
	p, s := ev.GetPrincipal(), ev.GetSource()
	id, name := PersonOf(ev), p.GetDisplayName()
	if id == "" && p.GetService() != "" {
		id = "service:" + p.GetService()
	}
	d.put("user.id", id)
	d.put("user.name", id)
	d.put("user.full_name", name)
	d.put("user.email", p.GetEmail())
	d.put("user.roles", p.GetRoles())
	d.put("gen_ai.agent.id", p.GetAgent())
	d.put("gen_ai.agent.name", strings.TrimPrefix(p.GetAgent(), "client:"))
	d.put("headgate.client.name", p.GetClientName())
	d.put("headgate.client.version", p.GetClientVersion())
	d.put("headgate.client.id", p.GetClientId())
	d.put("headgate.token.id", p.GetTokenId())
	d.put("user_agent.original", s.GetUserAgent())
	if net.ParseIP(s.GetIp()) != nil { // the mapping takes addresses only
		d.put("source.ip", s.GetIp())
		d.put("client.ip", s.GetIp())
		d.put("related.ip", []string{s.GetIp()})
	}
	d.put("source.address", s.GetIp())
	d.put("related.user", distinct(id, p.GetEmail(), p.GetAgent()))
}

func (d document) request(ev *eventsv1.Event) {
	r := ev.GetRequest()
	switch {
	case strings.HasPrefix(r.GetEndpoint(), "/headgate."): // of the API
		d.put("headgate.rpc.method", r.GetEndpoint())
		d.put("http.request.id", plain(r.GetId()))
	case r.GetMethod() == http.MethodPost || r.GetMethod() == http.MethodGet || r.GetMethod() == http.MethodDelete: // refused before its message was read
		d.put("http.request.method", r.GetMethod())
	default:
		d.put("mcp.method.name", r.GetMethod())
		d.put("jsonrpc.request.id", plain(r.GetId()))
	}
	d.put("mcp.protocol.version", r.GetProtocolVersion())
	d.put("url.path", r.GetEndpoint())
	d.put("http.response.status_code", r.GetHttpStatus())
	if r.GetErrorCode() != 0 {
		d.put("rpc.response.status_code", strconv.Itoa(int(r.GetErrorCode())))
	}
}

func (d document) target(ev *eventsv1.Event) {
	t := ev.GetTarget()
	if t.GetTool() != "" {
		d.put("gen_ai.operation.name", "execute_tool")
		d.put("gen_ai.tool.name", t.GetTool())
		d.put("gen_ai.tool.type", "function")
		d.put("gen_ai.tool.call.id", ev.GetCallId())
	}
	if ev.GetRequest().GetMethod() == "prompts/get" {
		d.put("gen_ai.prompt.name", t.GetResource())
	} else {
		d.put("mcp.resource.uri", t.GetResource())
	}
	d.put("headgate.server.id", t.GetServer())
	d.put("headgate.tool.definition_hash", t.GetDefinitionHash())
	d.put("headgate.tool.labels", t.GetLabels())
	d.put("related.hash", distinct(t.GetDefinitionHash()))
	host, port, err := net.SplitHostPort(t.GetAddress())
	number, noPort := strconv.ParseUint(port, 10, 16)
	if err != nil || noPort != nil { // "stdio:" and a program's name has no port
		d.put("server.address", t.GetAddress())
		return
	}
	d.put("server.address", host)
	d.put("server.port", int64(number))
}

func (d document) decision(v *eventsv1.Decision) {
	if v.GetRule() != "" {
		d.put("rule.id", v.GetRule())
		_, name, found := strings.Cut(v.GetRule(), "/")
		if !found {
			name = v.GetRule()
		}
		d.put("rule.name", name)
	}
	if v.GetPolicy() != "" {
		d.put("rule.ruleset", v.GetPolicy())
		d.put("rule.version", strconv.FormatInt(v.GetPolicyVersion(), 10))
	}
	d.put("headgate.decision.id", v.GetId())
	d.put("headgate.decision.effect", v.GetEffect())
	d.put("headgate.decision.via", v.GetVia())
	d.put("headgate.decision.stage", v.GetStage())
	d.put("headgate.decision.changed", v.GetChanged())
	d.put("headgate.decision.shadow", v.GetShadow())
	d.put("headgate.decision.matched", v.GetMatched())
	d.put("headgate.decision.failed", v.GetFailed())
	d.put("headgate.decision.near", v.GetNear())
	d.put("headgate.decision.hidden", v.GetHidden())
	d.put("headgate.decision.facts", factNames(v))
	d.put("headgate.decision.authz_revision", v.GetAuthzRevision())
}

// factNames are the facts that were read. Their values are in the record itself, where it has them.
func factNames(v *eventsv1.Decision) []string {
	var names []string
	for _, f := range v.GetFacts() {
		names = append(names, f.GetName())
	}
	return names
}

func (d document) payloads(ev *eventsv1.Event) {
	d.put("headgate.args.hmac", ev.GetArguments().GetHmac())
	d.put("headgate.args.bytes", ev.GetArguments().GetBytes())
	d.put("headgate.args.sealed", ev.GetArguments().GetSealed().GetKey())
	d.put("headgate.args.subject", ev.GetArguments().GetSubjectKey())
	d.put("headgate.result.sealed", ev.GetResult().GetSealed().GetKey())
	d.copied("gen_ai.tool.call.arguments", ev.GetArguments().GetDocument())
	d.copied("gen_ai.tool.call.result", ev.GetResult().GetDocument())
	d.put("headgate.result.hmac", ev.GetResult().GetHmac())
	d.put("headgate.result.bytes", ev.GetResult().GetBytes())
	d.put("headgate.result.is_error", ev.GetResult().GetIsError())
	d.put("headgate.credential.ref", ev.GetCredential().GetConnection())
	d.put("headgate.credential.lease_id", ev.GetCredential().GetLeaseId())
	d.put("headgate.findings.hidden", ev.GetFindings().GetHidden())
	d.put("headgate.findings.secrets", ev.GetFindings().GetSecrets())
	d.put("headgate.findings.notes", ev.GetFindings().GetNotes())
	if l := ev.GetList(); l != nil {
		d.put("headgate.list", map[string]any{"total": l.GetTotal(), "shown": l.GetShown()})
	}
}

// deepest is how deep a copy may be to be searched: a field of type flattened takes 20 levels, and refuses the whole record beyond.
const deepest = 18

// copied puts a copy as the JSON object that it is, if an index takes it. The record itself has it in any case.
func (d document) copied(field, text string) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") && searchable([]byte(text)) {
		d.put(field, json.RawMessage(text))
	}
}

// searchable reports whether a document is JSON of members that have a name without NUL, no deeper than can be searched.
func searchable(text []byte) bool {
	depth, in := 0, json.NewDecoder(bytes.NewReader(text))
	for {
		token, err := in.Token()
		switch t := token.(type) {
		case json.Delim:
			if depth++; t == '}' || t == ']' {
				depth -= 2
			}
		case string:
			if strings.ContainsRune(t, 0) {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return depth == 0
		case err != nil || depth > deepest:
			return false
		}
	}
}

func (d document) change(c *eventsv1.Change) {
	d.put("headgate.change.kind", c.GetKind())
	d.put("headgate.change.name", c.GetName())
	d.put("headgate.change.action", c.GetAction())
	d.put("headgate.change.version", c.GetVersion())
	d.put("headgate.change.old_hash", c.GetOldHash())
	d.put("headgate.change.new_hash", c.GetNewHash())
	d.put("headgate.change.reason", c.GetReason())
}

// plain is a JSON-RPC id without the quotes of a string.
func plain(raw string) string {
	var text string
	if json.Unmarshal([]byte(raw), &text) == nil {
		return text
	}
	return raw
}

func distinct(values ...string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// Namespace is the tenant as a data stream's name may hold it. No two tenants share one: a hyphen becomes an underscore, which no tenant's name holds, and
// what is no tenant's name at all is told apart by its hash. Records that belong to no tenant are in "default".
func Namespace(tenant string) string {
	if tenant == "" {
		return defaultNamespace
	}
	slug := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, tenant)
	if strings.ReplaceAll(tenant, "-", "_") == slug && !strings.Contains(tenant, "_") && tenant != defaultNamespace && len(slug) <= longestNamespace {
		return slug
	}
	sum := sha256.Sum256([]byte(tenant))
	return slug[:min(len(slug), longestNamespace)] + "__" + hex.EncodeToString(sum[:8])
}
