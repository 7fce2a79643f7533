package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// methods are those that reach a server, besides tools/call and tools/list.
var methods = map[string]func(*Guard, context.Context, *Inbound, *Entry) (Answer, error){
	mcp.MethodPromptsGet: (*Guard).callMethod, mcp.MethodResourceRead: (*Guard).callMethod, mcp.MethodComplete: (*Guard).callMethod,
	mcp.MethodSubscribe: (*Guard).subscribe, mcp.MethodUnsubscribe: (*Guard).subscribe, mcp.MethodSetLevel: (*Guard).setLevel, mcp.MethodListen: (*Guard).listen,
	mcp.MethodTaskGet: (*Guard).task, mcp.MethodTaskUpdate: (*Guard).task, mcp.MethodTaskCancel: (*Guard).task, mcp.MethodTaskResult: (*Guard).task,
	mcp.MethodPromptsList: (*Guard).listOthers, mcp.MethodResourcesList: (*Guard).listOthers, mcp.MethodTemplatesList: (*Guard).listOthers,
}

// target is what a method is about: the path of its name in the params, the name that the client gave, and the method that relations know it by.
type target struct {
	path    []string
	visible string
	method  string
	uri     bool
}

// targetOf reads what a request is about.
func targetOf(msg *mcp.Message) (target, error) {
	switch msg.Method {
	case mcp.MethodPromptsGet:
		return target{path: []string{"name"}, visible: msg.Name, method: msg.Method}, nil
	case mcp.MethodResourceRead:
		return target{path: []string{"uri"}, visible: msg.Name, method: msg.Method, uri: true}, nil
	case mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		uri, ok := mcp.Text(msg.Params, "uri")
		if !ok || uri == "" {
			return target{}, fault.Invalid("%s needs params.uri, the URI of a resource.", msg.Method)
		}
		return target{path: []string{"uri"}, visible: uri, method: mcp.MethodResourceRead, uri: true}, nil
	}
	kind, _ := mcp.Text(msg.Params, "ref", "type")
	member := "name"
	if kind == "ref/resource" {
		member = "uri"
	}
	name, ok := mcp.Text(msg.Params, "ref", member)
	if !ok || kind != "ref/resource" && kind != "ref/prompt" {
		return target{}, fault.Invalid("completion/complete needs params.ref, a ref/prompt with a name or a ref/resource with a uri.")
	}
	return target{path: []string{"ref", member}, visible: name, method: mcp.MethodComplete, uri: member == "uri"}, nil
}

// callMethod takes a method that counts as a tool through the stages: the relation to the method of the server, rules over its params.
func (g *Guard) callMethod(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	return g.callFound(ctx, in, e, func(*Tool, string) error { return nil })
}

// callFound is callMethod with something that is done once it is known what the method is about: a server's own name.
func (g *Guard) callFound(ctx context.Context, in *Inbound, e *Entry, found func(tool *Tool, own string) error) (Answer, error) {
	ctx, done := g.running.begin(ctx, in, e, g.Now)
	defer done()
	tool, err := g.find(ctx, in, e)
	if err != nil {
		return Answer{}, err
	}
	if err := found(tool, e.own); err != nil {
		return Answer{}, err
	}
	document, err := e.document()
	if err != nil {
		return Answer{}, err
	}
	return g.perform(ctx, in, e, tool, document)
}

// find resolves what a method is about.
func (g *Guard) find(ctx context.Context, in *Inbound, e *Entry) (*Tool, error) {
	of, err := targetOf(e.msg)
	if err != nil {
		return nil, err
	}
	e.msg.Name, e.own, e.ownPath = of.visible, of.visible, of.path
	server := in.Server
	if server == "" {
		servers, err := g.Catalogue.Servers(ctx, e.caller, "")
		if err != nil {
			return nil, err
		}
		split := ownName
		if of.uri {
			split = ownURI
		}
		found, own, ok := split(servers, of.visible)
		if !ok {
			e.resolved(nil)
			return nil, Invisible(faultv1.Reason_REASON_UNKNOWN_TOOL, "No server that this caller can see has this.")
		}
		server, e.own = found.Name, own
	}
	tool, err := g.Catalogue.Method(ctx, e.caller, server, of.method)
	e.resolved(tool)
	return tool, err
}

// renamed takes the name of what a method is about from what a rule made of its params. A tool's is no part of its arguments.
func (e *Entry) renamed(document json.RawMessage) {
	if e.msg.Method == mcp.MethodToolsCall {
		return
	}
	if own, ok := mcp.Text(document, e.ownPath...); ok {
		e.own = own
	}
}

// document is what rules see of a method: its params with the server's own names, without what belongs to the transport.
func (e *Entry) document() (json.RawMessage, error) {
	out := e.msg.Params
	if e.own != e.msg.Name {
		var err error
		if out, err = mcp.Set(out, mcp.Quote(e.own), e.ownPath...); err != nil {
			return nil, err
		}
	}
	for _, name := range [...]string{"_meta", mcp.MemberInputResponses, mcp.MemberRequestState} {
		out = mcp.Delete(out, name)
	}
	return out, nil
}

// params are what the server gets: the client's bytes with the server's own name, and with what a rule changed.
func (e *Entry) params(decided json.RawMessage) (params json.RawMessage, err error) {
	params = e.msg.Params
	if e.msg.Method == mcp.MethodToolsCall {
		e.ownPath = []string{"name"}
	}
	if e.own != e.msg.Name {
		if params, err = mcp.Set(params, mcp.Quote(e.own), e.ownPath...); err != nil {
			return nil, err
		}
	}
	if e.msg.Augmented && !e.wantsTask() {
		params = mcp.Delete(params, "task")
	}
	switch {
	case decided == nil || bytes.Equal(decided, e.subject):
	case e.msg.Method == mcp.MethodToolsCall:
		params, err = mcp.Set(params, decided, "arguments")
	default:
		params, err = e.rebuilt(decided)
	}
	if err != nil {
		return nil, err
	}
	return carried(params, e)
}

// rebuilt adds to the params that a rule made what rules do not see.
func (e *Entry) rebuilt(decided json.RawMessage) (params json.RawMessage, err error) {
	params = decided
	for _, add := range [...]struct {
		name  string
		value json.RawMessage
	}{{"_meta", e.msg.Meta}, {mcp.MemberInputResponses, e.msg.InputResponses}} {
		if add.value == nil {
			continue
		}
		if params, err = mcp.Set(params, add.value, add.name); err != nil {
			return nil, err
		}
	}
	return params, nil
}

// send streams one message to the client of the request.
func (e *Entry) send(message []byte) error {
	e.mu.Lock()
	if e.log == nil && e.stream != nil {
		e.log = e.stream()
	}
	log := e.log
	e.mu.Unlock()
	if log == nil {
		return e.in.Send("", message)
	}
	message = slices.Clone(message)
	id := log.add(message)
	_ = e.in.Send(id, message) // a client that is gone takes the stream up again
	return nil
}

// pause lets go of the client's connection as the server did of the edge's. The answer waits for the client to take the stream up again.
func (e *Entry) pause(retry time.Duration) {
	e.mu.Lock()
	if e.log == nil {
		e.log = e.stream()
	}
	log := e.log
	e.mu.Unlock()
	e.in.Pause(log.add(nil), retry)
}

// logged gives the answer that ends a stream its event id, and keeps it for a client that is not there any more.
func (e *Entry) logged(answer *Answer) {
	if len(answer.Body) > 0 {
		answer.EventID = e.log.add(slices.Clone(answer.Message()))
	}
}

// opening begins to keep the stream of a request whose answer takes long, and names its first event, which only says where the stream is (2025-11-25,
// transports, "Sending Messages to the Server"); empty when something was sent before, or the answer is there. Clients of earlier revisions may not
// know such events.
func (e *Entry) opening() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.log != nil || e.stream == nil {
		return ""
	}
	e.log = e.stream()
	return e.log.add(nil)
}

// Opening is how a request whose answer takes long gets the id of an event that its stream begins with. Safe for concurrent use.
type Opening struct {
	mu   sync.Mutex
	name func() string
}

func (o *Opening) by(name func() string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.name = name
}

// Named says which event it is where another edge keeps the stream.
func (o *Opening) Named(id string) { o.by(func() string { return id }) }

// ID begins the stream and names its first event; empty where it has none.
func (o *Opening) ID() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.name == nil {
		return ""
	}
	return o.name()
}
