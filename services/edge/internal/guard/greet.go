package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const serverInfo = `{"name":"headgate","title":"Headgate","version":"1"}`

// parse reads the one message of the body and finds out which revision it speaks.
func (g *Guard) parse(in *Inbound, e *Entry) error {
	msg, err := mcp.Read(in.Body, mcp.DefaultLimits())
	if err != nil {
		return err
	}
	e.parsed(msg)
	if msg.Kind == mcp.Response {
		return AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_METHOD,
			"Headgate asked this client nothing, so there is nothing to answer. Send requests and notifications only.")
	}
	version, modern, err := mcp.Era(msg, in.Headers)
	if err != nil {
		return err
	}
	e.version, e.modern = version, modern
	if modern {
		return mcp.CheckHeaders(msg, in.Headers)
	}
	if in.Session == "" || msg.Method == mcp.MethodInitialize {
		return nil
	}
	client, ok := g.Sessions.Check(e.caller, in.Session)
	if !ok {
		return AtHTTP(http.StatusNotFound, faultv1.Reason_REASON_NOT_FOUND, "This session is not known to Headgate for this caller. Send initialize again.")
	}
	e.says(client)
	if len(in.Headers.Values(mcp.HeaderProtocolVersion)) == 0 {
		e.version = client.Version // it was agreed when the session began
	}
	return nil
}

// otherVerb answers what is not a POST: there is no stream to GET, and DELETE ends a session.
func (g *Guard) otherVerb(in *Inbound, e *Entry) (Answer, error) {
	if in.Verb == http.MethodDelete && in.Session != "" {
		if _, ok := g.Sessions.Check(e.caller, in.Session); !ok {
			return Answer{}, AtHTTP(http.StatusNotFound, faultv1.Reason_REASON_NOT_FOUND, "This session is not known to Headgate for this caller.")
		}
		g.Sessions.End(e.caller, in.Session)
		return Answer{Status: http.StatusNoContent}, nil
	}
	refused := AtHTTP(http.StatusMethodNotAllowed, faultv1.Reason_REASON_METHOD,
		"This endpoint takes POST, and DELETE with a session id. Headgate sends nothing unasked, so there is no stream to GET.")
	refused.Allow = "POST, DELETE"
	return Answer{}, refused
}

// greet answers the methods that reach no upstream.
func (g *Guard) greet(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	msg := e.msg
	if msg.Kind == mcp.Notification {
		if msg.Method == mcp.MethodCancelled && !e.modern {
			g.running.cancel(in, e)
		}
		return Answer{Status: http.StatusAccepted}, nil
	}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	switch {
	case msg.Method == mcp.MethodInitialize && !e.modern:
		return g.initialize(ctx, in, e), nil
	case msg.Method == mcp.MethodPing && !e.modern:
		return e.answer(http.StatusOK, mcp.Result(msg.ID, json.RawMessage(`{}`))), nil
	case msg.Method == mcp.MethodDiscover && e.modern:
		return g.discover(ctx, in, e), nil
	}
	status := http.StatusOK
	if e.modern {
		status = http.StatusNotFound
	}
	return Answer{}, &mcp.Error{
		Code: mcp.CodeMethodNotFound, Message: "Method not found: " + clip(msg.Method, 128) + " is not served by this gateway.",
		HTTPStatus: status, Reason: faultv1.Reason_REASON_METHOD,
	}
}

func (g *Guard) initialize(ctx context.Context, in *Inbound, e *Entry) Answer {
	e.version = mcp.Negotiate(e.msg.ProtocolVersion)
	var result bytes.Buffer
	result.WriteString(`{"protocolVersion":"` + e.version + `","capabilities":{"tools":{"listChanged":false}},"serverInfo":` + serverInfo)
	g.instructions(ctx, in, e, &result)
	result.WriteByte('}')
	answer := e.answer(http.StatusOK, mcp.Result(e.msg.ID, result.Bytes()))
	answer.Session = g.Sessions.Open(e.caller, Client{Version: e.version, Name: clip(e.msg.ClientName, 64), Release: clip(e.msg.ClientVersion, 32)})
	return answer
}

func (g *Guard) discover(ctx context.Context, in *Inbound, e *Entry) Answer {
	var result bytes.Buffer
	result.WriteString(`{"resultType":"complete",
		"supportedVersions":["` + strings.Join(mcp.Supported(), `","`) + `"],"capabilities":{"tools":{"listChanged":false}}`)
	g.instructions(ctx, in, e, &result)
	result.WriteString(`,"ttlMs":0,"cacheScope":"private","_meta":{"` + mcp.MetaServerInfo + `":` + serverInfo + `}}`)
	return e.answer(http.StatusOK, mcp.Result(e.msg.ID, result.Bytes()))
}

func (g *Guard) instructions(ctx context.Context, in *Inbound, e *Entry, result *bytes.Buffer) {
	if in.Server == "" {
		return
	}
	if text := g.Catalogue.Instructions(ctx, e.caller, in.Server); text != "" {
		result.WriteString(`,"instructions":`)
		result.Write(quote(text))
	}
}

// listTools serves the approved definitions that the caller may see, whole on one page.
func (g *Guard) listTools(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	e.event.Target = &eventsv1.Target{Server: clip(in.Server, 63)}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	if mcp.Get(e.msg.Params, "cursor") != nil {
		return Answer{}, fault.Invalid("This list has one page, so no cursor is known. Ask again without a cursor.")
	}
	seen, err := g.Catalogue.List(ctx, e.caller, in.Server)
	if err != nil {
		return Answer{}, err
	}
	e.event.List = &eventsv1.ListCounts{Total: int32(min(seen.Total, 1<<30)), Shown: int32(min(len(seen.Tools), 1<<30))}
	var result bytes.Buffer
	result.WriteString(`{"tools":[`)
	for i, tool := range seen.Tools {
		if i > 0 {
			result.WriteByte(',')
		}
		result.Write(tool)
	}
	result.WriteByte(']')
	if e.modern {
		result.WriteString(`,"resultType":"complete","ttlMs":0,"cacheScope":"private"`)
	}
	if len(seen.Unavailable) > 0 {
		names, err := json.Marshal(seen.Unavailable)
		if err != nil {
			return Answer{}, err
		}
		result.WriteString(`,"_meta":{"` + mcp.MetaUnavailable + `":`)
		result.Write(names)
		result.WriteByte('}')
	}
	result.WriteByte('}')
	return e.answer(http.StatusOK, mcp.Result(e.msg.ID, result.Bytes())), nil
}

// deliver inspects the upstream's answer and puts it into the terms of the client's era.
func (g *Guard) deliver(e *Entry, reply Reply, lease *Lease) (Answer, error) {
	document := reply.Result
	if document == nil {
		document = reply.Error
	}
	clean, found, err := g.Inspector.Inspect(document, lease)
	if err != nil {
		return Answer{}, err
	}
	if found.Hidden > 0 || found.Secrets > 0 {
		findings := e.findings()
		findings.Hidden, findings.Secrets = int32(min(found.Hidden, 1<<30)), int32(min(found.Secrets, 1<<30))
	}
	if reply.Result == nil {
		clean = unforged(clean, "data")
	} else {
		clean = unforged(clean, "_meta")
	}
	result := &e.parts.result
	result.Hmac, result.Bytes = g.Keys.Sum(e.caller.Tenant, clean), int64(len(clean))
	e.event.Result = result
	if reply.Result == nil {
		e.event.Result.IsError = true
		return e.upstreamError(clean)
	}
	e.event.Result.IsError = string(mcp.Get(clean, "isError")) == "true"
	if clean, err = e.inEra(clean); err != nil {
		return Answer{}, err
	}
	if e.decision.Effect == effectModify {
		if clean, err = mcp.Set(clean, e.decisionJSON(nil), "_meta", mcp.MetaDecision); err != nil {
			return Answer{}, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server's result has a _meta that is not an object, so it was withheld.").Because(err)
		}
	}
	return e.answer(http.StatusOK, mcp.Result(e.msg.ID, clean)), nil
}

// unforged takes Headgate's own keys out of what came from a server: only Headgate says what it decided. A name may be escaped.
func unforged(document []byte, path ...string) []byte {
	if !bytes.Contains(document, []byte(mcp.MetaOwn)) && bytes.IndexByte(document, '\\') < 0 {
		return document
	}
	return mcp.DeletePrefixed(document, mcp.MetaOwn, path...)
}

// upstreamError passes a JSON-RPC error of the server on. The server knows the tool, so its "not found" is not Headgate's.
func (e *Entry) upstreamError(raw json.RawMessage) (Answer, error) {
	out := make([]byte, 0, len(raw)+64)
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	out = append(out, e.msg.ID...)
	out = append(out, `,"error":`...)
	out = append(out, raw...)
	out = append(out, '}')
	return e.answer(http.StatusOK, e.reply(out)), nil
}

// inEra adds or takes away what only one era has.
func (e *Entry) inEra(result json.RawMessage) (json.RawMessage, error) {
	kind, has := mcp.Text(result, "resultType")
	switch {
	case has && kind != "complete":
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM,
			"The server answered with a result of type %q, which Headgate did not offer to take. Tell the server's owner.", clip(kind, 32))
	case has && !e.modern:
		return mcp.Delete(result, "resultType"), nil
	case !has && e.modern:
		out, err := mcp.Set(result, json.RawMessage(`"complete"`), "resultType")
		if err != nil {
			return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server's result is not an object, so it was withheld.").Because(errors.Unwrap(err))
		}
		return out, nil
	}
	return result, nil
}
