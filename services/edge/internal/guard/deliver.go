package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// deliver inspects the upstream's answer and puts it into the terms of the client's era.
func (g *Guard) deliver(in *Inbound, e *Entry, reply Reply, lease *Lease) (Answer, error) {
	document := reply.Result
	if document == nil {
		document = reply.Error
	}
	clean, found, err := g.Inspector.Inspect(document, lease)
	if err != nil {
		return Answer{}, err
	}
	e.found(found)
	if reply.Result == nil {
		clean = unforged(clean, "data")
	} else {
		clean = unforged(clean, "_meta")
	}
	if reply.Result != nil {
		if clean, err = e.redact(clean); err != nil {
			return Answer{}, err
		}
	}
	result := &e.parts.result
	result.Hmac, result.Bytes = g.Keys.Sum(e.caller.Tenant, clean), int64(len(clean))
	e.event.Result = result
	if err := e.keepResult(clean); err != nil {
		return Answer{}, err
	}
	switch {
	case in.Server != "":
	case reply.Result != nil:
		clean = renamed(clean, e.tool.Server.Name)
	default:
		clean = renamedError(clean, e.tool.Server.Name)
	}
	if reply.Result == nil {
		e.event.Result.IsError = true
		return g.upstreamError(in, e, clean)
	}
	e.event.Result.IsError = string(mcp.Get(clean, "isError")) == "true"
	if clean, err = g.inEra(in, e, clean); err != nil {
		return Answer{}, err
	}
	if e.decision.Effect == effectModify {
		if clean, err = mcp.Set(clean, e.decisionJSON(nil), "_meta", mcp.MetaDecision); err != nil {
			return Answer{}, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server's result has a _meta that is not an object, so it was withheld.").Because(err)
		}
	}
	return Answer{Status: http.StatusOK, Body: mcp.ResultHead(e.msg.ID), Result: clean}, nil
}

// unforged takes Headgate's own keys out of what came from a server: only Headgate says what it decided. A name may be escaped.
func unforged(document []byte, path ...string) []byte {
	if !bytes.Contains(document, []byte(mcp.MetaOwn)) && bytes.IndexByte(document, '\\') < 0 {
		return document
	}
	return mcp.DeletePrefixed(document, mcp.MetaOwn, path...)
}

// found notes what the inspection found.
func (e *Entry) found(found Inspection) {
	if found.Hidden == 0 && found.Secrets == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	findings := e.findings()
	findings.Hidden += int32(min(found.Hidden, 1<<30))
	findings.Secrets += int32(min(found.Secrets, 1<<30))
}

// upstreamError passes a JSON-RPC error of the server on, with the codes of the client's era. The server knows the tool, so its "not found" is not
// Headgate's.
func (g *Guard) upstreamError(in *Inbound, e *Entry, raw json.RawMessage) (Answer, error) {
	status, code := http.StatusOK, string(mcp.Get(raw, "code"))
	if code == codeByURL {
		if result, err := g.byURL(in, e, raw); err != nil {
			return Answer{}, err
		} else if result != nil {
			return e.answer(status, mcp.Result(e.msg.ID, result)), nil
		}
		raw = g.toURL(in, e, raw)
	}
	if e.modern {
		switch code {
		case "-32601":
			status = http.StatusNotFound
		case "-32020", "-32021", "-32022":
			status = http.StatusBadRequest
		case "-32002": // 2026-07-28, basic/index, "Error Codes"
			raw = recoded(raw, "-32602")
		}
	}
	out := make([]byte, 0, len(raw)+64)
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	out = append(out, e.msg.ID...)
	out = append(out, `,"error":`...)
	out = append(out, raw...)
	out = append(out, '}')
	return e.answer(status, e.reply(out)), nil
}

func recoded(raw json.RawMessage, code string) json.RawMessage {
	out, err := mcp.Set(raw, json.RawMessage(code), "code")
	if err != nil {
		return raw
	}
	return out
}

// codeByURL is the error by which 2025-11-25 sends a person to an address (schema, URLElicitationRequiredError).
const codeByURL = "-32042"

// byURL turns that error into a result that asks for it, of 2026-07-28; nil when the client does not take that.
func (g *Guard) byURL(in *Inbound, e *Entry, raw json.RawMessage) (json.RawMessage, error) {
	if !e.modern || !e.mayAsk() {
		return nil, nil
	}
	asked := g.addresses(in, e, raw)
	if asked == nil {
		return nil, nil
	}
	requests := []byte{'{'}
	for i, params := range asked {
		if i > 0 {
			requests = append(requests, ',')
		}
		name := mcp.Quote("url-" + strconv.Itoa(i+1))
		requests = append(requests, slices.Concat(name, []byte(`:{"method":"elicitation/create","params":`), unnumbered(params), []byte{'}'})...)
	}
	e.waits = true
	sealed, _, _, err := g.seal(e, digest(in, e), ofAnswer, "")
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(`{"resultType":"input_required","inputRequests":`), requests, []byte(`},"requestState":`), mcp.Quote(sealed), []byte{'}'}), nil
}

// toURL is that error as a client of the revisions with sessions gets it: with the addresses that it may be sent to, in the words of questions. Where one
// of them is refused, or the client does not take addresses, it is an error without them.
func (g *Guard) toURL(in *Inbound, e *Entry, raw json.RawMessage) json.RawMessage {
	if asked := g.addresses(in, e, raw); asked != nil && !e.modern {
		if out, err := mcp.Set(raw, slices.Concat([]byte{'['}, bytes.Join(asked, []byte{','}), []byte{']'}), "data", "elicitations"); err == nil {
			return out
		}
	}
	return mcp.Delete(recoded(raw, strconv.Itoa(mcp.CodeInternal)), "data")
}

// addresses are the elicitations of that error in the words of questions; nil when one of them cannot be asked.
func (g *Guard) addresses(in *Inbound, e *Entry, raw json.RawMessage) [][]byte {
	wanted := mcp.Elements(mcp.Get(raw, "data", "elicitations"))
	if len(wanted) > maxQuestions {
		return nil
	}
	var out [][]byte
	for _, one := range wanted {
		if mode, _ := mcp.Text(one, "mode"); mode != "url" {
			return nil
		}
		params, err := g.question(in, e.tool.Server.Name, e.offer, nil, mcp.MethodElicit, one)
		if err != nil {
			return nil
		}
		out = append(out, params)
	}
	return out
}

// inEra adds or takes away what only one era has.
func (g *Guard) inEra(in *Inbound, e *Entry, result json.RawMessage) (json.RawMessage, error) {
	kind, has := mcp.Text(result, "resultType")
	switch {
	case has && kind == mcp.ResultInputRequired && e.modern && e.mayAsk():
		return g.required(in, e, result)
	case has && kind == mcp.ResultTask && e.modern && e.msg.Method == mcp.MethodToolsCall && takesTasks(e.offer):
		return g.withTask(e, result)
	case has && kind != mcp.ResultComplete:
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM,
			"The server answered with a result of type %q, which Headgate did not offer to take. Tell the server's owner.", clip(kind, 32))
	}
	out, err := result, error(nil)
	if has != e.modern {
		out, err = mcp.AdaptResult(result, e.modern)
	}
	switch {
	case err == nil && strings.HasPrefix(e.msg.Method, "tasks/"):
		return g.ofTask(in, e, out)
	case err == nil && e.tasked:
		return g.begun(e, out)
	}
	if err == nil && e.modern && e.msg.Method == mcp.MethodResourceRead {
		out, err = private(out)
	}
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server's result is not an object, so it was withheld.").Because(err)
	}
	return out, nil
}

// mayAsk reports whether an answer to the request may ask for input (2026-07-28, basic/patterns/mrtr).
func (e *Entry) mayAsk() bool {
	return e.msg.Method == mcp.MethodToolsCall || e.msg.Method == mcp.MethodPromptsGet || e.msg.Method == mcp.MethodResourceRead
}

// required passes on what a server asks for: only what the client can be asked, in the words of a question, and with a state that this client alone can
// bring back, for this request alone and once. A call that waits here has its state already.
func (g *Guard) required(in *Inbound, e *Entry, result json.RawMessage) (json.RawMessage, error) {
	if e.waits && mcp.Get(result, mcp.MemberRequestState) != nil {
		return result, nil
	}
	e.waits = true
	result, err := g.questions(in, e.tool.Server.Name, e.offer, result)
	if err != nil {
		return nil, err
	}
	of := ofAnswer
	upstream, has := mcp.Text(result, mcp.MemberRequestState)
	if has {
		of = ofServer
	}
	sealed, _, _, err := g.seal(e, digest(in, e), of, upstream)
	if err != nil {
		return nil, err
	}
	return mcp.Set(result, mcp.Quote(sealed), mcp.MemberRequestState)
}

// questions puts the requests to the client in a result into the words of questions, and refuses a result that asks for what was not offered.
func (g *Guard) questions(in *Inbound, server string, offer, result json.RawMessage) (json.RawMessage, error) {
	names, requests := mcp.Members(mcp.Get(result, "inputRequests"))
	if len(names) > maxQuestions {
		return nil, tooMany(server)
	}
	for i, name := range names {
		method, _ := mcp.Text(requests[i], "method")
		asked := mcp.Get(requests[i], "params")
		params, err := g.question(in, server, offer, nil, method, asked)
		if err != nil {
			return nil, err
		}
		params = unnumbered(params)
		if asked == nil || bytes.Equal(params, asked) {
			continue
		}
		if result, err = mcp.Set(result, params, "inputRequests", name, "params"); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// said is what a server of an endpoint says of itself.
type said struct {
	About

	server string
	shared bool
}

// said answers what the servers of an endpoint say of themselves. Those of which it is not known are asked, all at once, and recorded before; one that
// does not answer in time has nothing.
func (g *Guard) said(ctx context.Context, in *Inbound, e *Entry) ([]said, error) {
	servers, err := g.Catalogue.Servers(ctx, e.caller, in.Server)
	if err != nil {
		return nil, nil // who cannot be looked up sees no servers
	}
	out := make([]said, len(servers))
	at, asked := map[*Server]int{}, []*Server(nil)
	for i, s := range servers {
		about, known := g.Upstream.Known(s)
		out[i] = said{about, s.Name, s.shared()}
		if !known {
			asked, at[s] = append(asked, s), i
		}
	}
	if err := g.startedAt(e, asked); err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	for _, s := range asked {
		all.Go(func() {
			delay := s.Delay
			if len(servers) == 1 {
				delay = nil // it delays no other
			}
			out[at[s]].About, _ = bide(ctx, g.patience, s, delay, delay.limit(), func(ctx context.Context) (About, error) {
				lease, err := g.Lender.Lease(ctx, LeaseRequest{Server: s})
				if err != nil {
					return About{}, err
				}
				return g.Upstream.About(ctx, s, lease)
			})
		})
	}
	all.Wait()
	return out, nil
}

// offered are the capabilities that a gateway has when one of its servers has them, with the method that the caller needs a relation to.
// Of what they name besides, it has what one of those servers promises.
var offered = []struct {
	capability, method string
	besides            []string
}{
	{"prompts", mcp.MethodPromptsGet, []string{"listChanged"}}, {"resources", mcp.MethodResourceRead, []string{"listChanged", "subscribe"}},
	{"completions", mcp.MethodComplete, nil}, {"logging", "", nil},
}

// promises reports whether a server says that it does something besides what a capability is.
func (s said) promises(capability, what string) bool {
	return string(mcp.Get(s.Capabilities, capability, what)) == "true"
}

// capabilities are what an endpoint can do for this caller: tools, and what the servers say that they have of the rest.
func (g *Guard) capabilities(ctx context.Context, in *Inbound, e *Entry) (json.RawMessage, error) {
	servers, err := g.said(ctx, in, e)
	if err != nil {
		return nil, err
	}
	out := []byte(`{"tools":{"listChanged":true}`)
	for _, one := range offered {
		have := slices.DeleteFunc(slices.Clone(servers), func(s said) bool {
			if mcp.Get(s.Capabilities, one.capability) == nil {
				return true
			}
			if one.method == "" {
				return s.shared // its log is nobody's
			}
			_, err := g.Catalogue.Method(ctx, e.caller, s.server, one.method)
			return err != nil
		})
		if len(have) == 0 {
			continue
		}
		var besides []string
		for _, what := range one.besides {
			if slices.ContainsFunc(have, func(s said) bool { return s.promises(one.capability, what) }) {
				besides = append(besides, `"`+what+`":true`)
			}
		}
		out = append(out, `,"`+one.capability+`":{`+strings.Join(besides, ",")+`}`...)
	}
	out = append(out, e.extensions(servers)...)
	if !e.modern {
		out = append(out, e.oldCapability(servers)...)
	}
	return append(out, '}'), nil
}

// extensions are those of the servers' that Headgate carries, as a member of an endpoint's capabilities; nil for none. Like of tasks, of pages it says that
// there are some: what a server writes there besides, nobody has approved.
func (e *Entry) extensions(servers []said) []byte {
	var have []string
	for _, extension := range [...]string{mcp.ExtensionTasks, mcp.ExtensionUI} {
		if extension == mcp.ExtensionTasks && !e.modern { // those of 2025-11-25 are no extension
			continue
		}
		if slices.ContainsFunc(servers, func(s said) bool { return mcp.Get(s.Capabilities, "extensions", extension) != nil }) {
			have = append(have, `"`+extension+`":{}`)
		}
	}
	if have == nil {
		return nil
	}
	return []byte(`,"extensions":{` + strings.Join(have, ",") + `}`)
}
