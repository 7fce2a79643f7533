package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

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
	version, modern, err := mcp.Era(msg, in.Headers)
	if err != nil {
		return err
	}
	e.version, e.modern = version, modern
	if err := g.parseEra(in, e); err != nil {
		return err
	}
	return in.says(msg)
}

// parseEra reads what one era has and the other has not.
func (g *Guard) parseEra(in *Inbound, e *Entry) error {
	msg := e.msg
	if e.modern || msg.Method == mcp.MethodInitialize {
		in.Session = "" // what no session was begun with is nobody's name
	}
	if e.modern {
		return g.parseModern(in, e)
	}
	if err := mcp.CheckNamed(msg, in.Headers); err != nil {
		return err
	}
	if in.Send != nil {
		e.stream = func() *eventLog { return g.eventLog(e) }
	}
	if in.Session != "" {
		client, err := g.client(in, e)
		if err != nil {
			return err
		}
		switch said := in.Headers.Values(mcp.HeaderProtocolVersion); {
		case len(said) == 0:
			e.version = client.Version // it was agreed when the session began
		case said[0] != client.Version:
			return AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PROTOCOL_VERSION,
				"This session was begun with the revision %s, so that is its %s.", client.Version, mcp.HeaderProtocolVersion)
		}
		g.clients.returned(strayKey(in, e.caller), in.Session)
	} else if msg.Method != mcp.MethodInitialize {
		g.stray(in, e)
	}
	if home, _, ok := g.answered(e); ok && msg.Kind == mcp.Response {
		e.home = home // whoever asked waits there
	}
	return e.batchable(in)
}

// parseModern reads what only 2026-07-28 has: metadata in each request, and requests that are made again with what was asked for.
func (g *Guard) parseModern(in *Inbound, e *Entry) error {
	if e.msg.Method == mcp.MethodInitialize {
		return e.unknownMethod() // whatever else is wrong with it: this revision does not have it
	}
	if err := mcp.CheckHeaders(e.msg, in.Headers); err != nil {
		return err
	}
	e.offer = mcp.OfferModern(e.msg.ClientCapabilities)
	if e.msg.RequestState == nil {
		return nil
	}
	s, err := g.unseal(e)
	if err != nil {
		return err
	}
	e.state, e.home = &s, s.home
	return nil
}

// batchable refuses what a batch may not hold (2025-03-26, basic/lifecycle).
func (e *Entry) batchable(in *Inbound) error {
	if in.Batched && (e.version != mcp.V20250326 || e.msg.Method == mcp.MethodInitialize) {
		return AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "Only revision %s has batches, and initialize is never part of one. Send one message.", mcp.V20250326)
	}
	return nil
}

func (g *Guard) eventLog(e *Entry) *eventLog {
	return g.replays.begin(streamOwner(e.in, e.caller), func(id string) string {
		return g.Keys.Seal(sealStream, g.Peers.Self()+"\x00"+id, bound(e.caller)...)
	})
}

// takeAnswer gives the answer of a client to the server that asked.
func (g *Guard) takeAnswer(e *Entry) (Answer, error) {
	_, id, ok := g.answered(e)
	// An answer that comes too late is taken and dropped: some clients end their session over an error status.
	if ok {
		g.asks.answer(id, ownerOf(e.caller), Reply{Result: e.msg.Result, Error: e.msg.Error})
	}
	if !ok {
		return Answer{}, AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_METHOD,
			"Headgate does not wait for this answer from this client: nobody asked, it was answered before, or its call is over.")
	}
	return Answer{Status: http.StatusAccepted}, nil
}

// otherVerb answers what is not a POST: GET opens or takes up a stream, DELETE ends a session. 2026-07-28 has neither.
func (g *Guard) otherVerb(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	said := in.Headers.Values(mcp.HeaderProtocolVersion)
	if len(said) == 1 && mcp.Legacy(said[0]) {
		e.version = said[0]
	}
	refused := AtHTTP(http.StatusMethodNotAllowed, faultv1.Reason_REASON_METHOD,
		"This endpoint takes POST, and of clients of the revisions before %s also GET for a stream and DELETE with a session id.", mcp.V20260728)
	refused.Allow = "POST, GET, DELETE"
	switch {
	case len(said) == 1 && mcp.Modern(said[0]):
		refused.Allow = "POST"
		return Answer{}, refused
	case len(said) > 1 || len(said) == 1 && !mcp.Legacy(said[0]):
		return Answer{}, AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PROTOCOL_VERSION,
			"The request's %s is not one of %s.", mcp.HeaderProtocolVersion, strings.Join(mcp.Supported(), ", "))
	case in.Verb == http.MethodGet:
		e.event.Action = actions[mcp.MethodListen]
		return g.standing(ctx, in, e)
	case in.Verb != http.MethodDelete || in.Session == "":
		return Answer{}, refused
	}
	if _, err := g.client(in, e); err != nil {
		return Answer{}, err
	}
	return g.endSession(ctx, in, e)
}

// greet answers what the edge answers itself.
func (g *Guard) greet(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	msg := e.msg
	if msg.Kind == mcp.Notification {
		switch {
		case e.modern:
		case msg.Method == mcp.MethodCancelled && in.Session == "":
			g.cancelStray(ctx, in, e)
		case msg.Method == mcp.MethodCancelled:
			g.running.cancel(in, e)
		case msg.Method == mcp.MethodRootsListChanged:
			return g.rootsChanged(ctx, in, e)
		}
		return Answer{Status: http.StatusAccepted}, nil
	}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	switch {
	case msg.Method == mcp.MethodInitialize && !e.modern:
		if size := len(mcp.Offer(msg.ClientCapabilities)); size > maxOffer {
			return Answer{}, AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_TOO_LARGE,
				"The capabilities of the client that a server may use have %d bytes, more than the %d that a session keeps. Declare less of them.", size, maxOffer)
		}
		return g.initialize(ctx, in, e)
	case msg.Method == mcp.MethodPing && !e.modern:
		return e.answer(http.StatusOK, mcp.Result(msg.ID, json.RawMessage(`{}`))), nil
	case msg.Method == mcp.MethodDiscover && e.modern:
		return g.discover(ctx, in, e)
	}
	return Answer{}, e.unknownMethod()
}

func (e *Entry) unknownMethod() error {
	status := http.StatusOK
	if e.modern {
		status = http.StatusNotFound
	}
	return &mcp.Error{
		Code: mcp.CodeMethodNotFound, Message: "Method not found: " + clip(e.msg.Method, 128) + " is not served by this gateway.",
		HTTPStatus: status, Reason: faultv1.Reason_REASON_METHOD,
	}
}

func (g *Guard) initialize(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	e.version = mcp.Negotiate(e.msg.ProtocolVersion)
	can, err := g.capabilities(ctx, in, e)
	if err != nil {
		return Answer{}, err
	}
	var result bytes.Buffer
	result.WriteString(`{"protocolVersion":"` + e.version + `","capabilities":`)
	result.Write(can)
	result.WriteString(`,"serverInfo":` + serverInfo)
	g.instructions(ctx, in, e, &result)
	result.WriteByte('}')
	answer := e.answer(http.StatusOK, mcp.Result(e.msg.ID, result.Bytes()))
	answer.Session = g.Sessions.Open(e.caller, in.Endpoint, Client{
		Version: e.version, Name: clip(e.msg.ClientName, 64), Release: clip(e.msg.ClientVersion, 32), Offer: mcp.Offer(e.msg.ClientCapabilities), Home: g.Peers.Self(),
	})
	g.introduced(ctx, in, e, answer.Session)
	return answer, nil
}

func (g *Guard) discover(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	can, err := g.capabilities(ctx, in, e)
	if err != nil {
		return Answer{}, err
	}
	var result bytes.Buffer
	result.WriteString(`{"resultType":"complete",
		"supportedVersions":["` + strings.Join(mcp.Supported(), `","`) + `"],"capabilities":`)
	result.Write(can)
	g.instructions(ctx, in, e, &result)
	result.WriteString(`,"ttlMs":0,"cacheScope":"private","_meta":{"` + mcp.MetaServerInfo + `":` + serverInfo + `}}`)
	return e.answer(http.StatusOK, mcp.Result(e.msg.ID, result.Bytes())), nil
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
	if err := e.firstPage(); err != nil {
		return Answer{}, err
	}
	seen, err := g.Catalogue.List(ctx, e.caller, in.Server, func(asked []*Server) error { return g.startedAt(e, asked) })
	if err != nil {
		return Answer{}, err
	}
	e.event.List = &eventsv1.ListCounts{Total: int32(min(seen.Total, 1<<30)), Shown: int32(min(len(seen.Tools), 1<<30))}
	var result bytes.Buffer
	size := 256
	for _, tool := range seen.Tools {
		size += len(tool) + 1
	}
	result.Grow(size)
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
	return Answer{Status: http.StatusOK, Body: mcp.ResultHead(e.msg.ID), Result: result.Bytes()}, nil
}
