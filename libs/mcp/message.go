package mcp

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Kind says what a message is.
type Kind int

// The kinds of JSON-RPC messages.
const (
	Request Kind = iota + 1
	Notification
	Response
)

// Message is one strict message from a client. Its raw fields are parts of the body that was read: they hold as long as the body is not changed.
// Its strings are copies.
type Message struct {
	Kind   Kind
	ID     json.RawMessage // a string or an integer; nil of a notification
	Method string
	Params json.RawMessage // an object, or nil

	Name      string          // params.name of tools/call and prompts/get, params.uri of resources/read
	Arguments json.RawMessage // params.arguments, an object, or nil
	Meta      json.RawMessage // params._meta, an object, or nil

	// From _meta on modern requests, from params of initialize. All of it is the client's own word.
	ProtocolVersion    string
	ClientName         string
	ClientVersion      string
	ClientCapabilities json.RawMessage
	TraceParent        string
	ProgressToken      json.RawMessage

	// Of a request that is made again with what was asked for (2026-07-28, basic/patterns/mrtr); raw, nil when they are not there.
	InputResponses, RequestState json.RawMessage
	// Augmented says that params.task asks for an experimental task of 2025-11-25.
	Augmented bool
	// Cursor is params.cursor of a list; raw, nil when it is not there.
	Cursor json.RawMessage

	// Of a response, one of these is set.
	Result json.RawMessage
	Error  json.RawMessage

	Raw []byte // the whole body as it came

	taskID     string
	metaHolds  bool // _meta names a protocol version
	parameters span // of params in Raw
	arguments  span // of params.arguments in Raw
}

type span struct{ from, to int }

// Read reads one strict message: one JSON object that every reader reads alike, with no member but JSON-RPC's own, in exact case.
// A refusal is an *Error.
func Read(body []byte, lim Limits) (*Message, error) {
	lim = lim.or(DefaultLimits())
	if err := strict(body, lim); err != nil {
		return nil, err
	}
	var f fields
	if err := f.read(body); err != nil {
		return nil, err
	}
	m := &Message{Raw: body, parameters: f.parameters, arguments: f.args}
	if err := m.envelope(&f, lim); err != nil {
		return nil, err.about(f.id, lim)
	}
	if m.Kind == Response {
		return m, nil
	}
	if err := m.params(&f, lim); err != nil {
		return nil, err.about(f.id, lim)
	}
	return m, nil
}

// about adds the request's id to the error if the id itself is in order.
func (e *Error) about(id []byte, lim Limits) *Error {
	if id != nil && checkID(id, lim) == nil {
		e.ID = id
	}
	return e
}

// fields are the raw values that a message is made of, picked in one pass.
type fields struct {
	version, id, method, result, err []byte

	params, name, uri, task, arguments, meta []byte
	inputs, state, cursor, augment           []byte
	initVersion, initInfo, initCapabilities  []byte
	metaVersion, metaInfo, metaCapabilities  []byte
	traceParent, progressToken               []byte
	parameters, args                         span
	alike                                    []byte // a member of params that a careless reader takes for another
}

func (f *fields) read(body []byte) *Error {
	c := cursor{b: body}
	if !c.open('{') {
		if c.open('[') {
			return malformed("A batch is not taken: send one message in each request.")
		}
		return malformed("The message is not a JSON object.")
	}
	for name, ok := c.name(); ok; name, ok = c.name() {
		switch string(name) {
		case "jsonrpc":
			f.version = c.value()
		case "id":
			f.id = c.value()
		case "method":
			f.method = c.value()
		case "result":
			f.result = c.value()
		case "error":
			f.err = c.value()
		case "params":
			from := c.i
			f.readParams(&c)
			f.parameters = span{from, c.i}
			f.params = body[from:c.i]
		default:
			return malformed("The message has a member that JSON-RPC does not know: %q. Names are case-sensitive.", clip(string(name), 32)).about(f.id, DefaultLimits())
		}
	}
	return nil
}

func (f *fields) readParams(c *cursor) {
	if !c.open('{') {
		c.value()
		return
	}
	for name, ok := c.name(); ok; name, ok = c.name() {
		switch string(name) {
		case "name":
			f.name = c.value()
		case "uri":
			f.uri = c.value()
		case "taskId":
			f.task = c.value()
		case "arguments":
			from := c.i
			f.arguments = c.value()
			f.args = span{from, c.i}
		case "_meta":
			f.readMeta(c)
		case MemberInputResponses:
			f.inputs = c.value()
		case MemberRequestState:
			f.state = c.value()
		case "cursor":
			f.cursor = c.value()
		case "task":
			f.augment = c.value()
		case "protocolVersion":
			f.initVersion = c.value()
		case "clientInfo":
			f.initInfo = c.value()
		case "capabilities":
			f.initCapabilities = c.value()
		default:
			if alike(name) {
				f.alike = name
			}
			c.value()
		}
	}
}

// alike reports whether a name differs from one that decides what is called only by case: some readers take both for the same (CVE-2026-27896).
func alike(name []byte) bool {
	for _, known := range [][]byte{[]byte("name"), []byte("uri"), []byte("arguments"), []byte("_meta"), []byte("taskId"), []byte("ref"), []byte(MemberInputResponses), []byte(MemberRequestState)} {
		if len(name) <= 2*len(known) && !bytes.Equal(name, known) && bytes.EqualFold(name, known) {
			return true
		}
	}
	return false
}

func (f *fields) readMeta(c *cursor) {
	from := c.i
	defer func() { f.meta = c.b[from:c.i] }()
	if !c.open('{') {
		c.value()
		return
	}
	for name, ok := c.name(); ok; name, ok = c.name() {
		switch string(name) {
		case MetaProtocolVersion:
			f.metaVersion = c.value()
		case MetaClientInfo:
			f.metaInfo = c.value()
		case MetaCapabilities:
			f.metaCapabilities = c.value()
		case MetaTraceParent:
			f.traceParent = c.value()
		case MetaProgressToken:
			f.progressToken = c.value()
		default:
			c.value()
		}
	}
}

// envelope judges the members of the message itself.
func (m *Message) envelope(f *fields, lim Limits) *Error {
	if string(unquote(f.version)) != "2.0" {
		return malformed(`The message does not say "jsonrpc": "2.0".`)
	}
	if f.id != nil {
		if err := checkID(f.id, lim); err != nil {
			return err
		}
	}
	m.ID = f.id
	if f.method == nil {
		return m.response(f)
	}
	if f.result != nil || f.err != nil {
		return malformed("The message is a request and a response at once.")
	}
	method := unquote(f.method)
	switch {
	case len(method) == 0:
		return malformed("The method is not a non-empty string.")
	case len(method) > lim.Method:
		return malformed("The method is longer than %d bytes.", lim.Method)
	}
	m.Method = known(method)
	m.Kind = Request
	if f.id == nil {
		m.Kind = Notification
	}
	return nil
}

func (m *Message) response(f *fields) *Error {
	switch {
	case f.result == nil && f.err == nil:
		return malformed("The message has no method, no result and no error.")
	case f.result != nil && f.err != nil:
		return malformed("The message has a result and an error at once.")
	case f.params != nil:
		return malformed("A response has no params.")
	case f.id == nil:
		return malformed("The response does not say which request it answers.")
	}
	m.Kind, m.Result, m.Error = Response, f.result, f.err
	return nil
}

// known answers the method without a copy if it is one of the usual ones.
func known(method []byte) string {
	switch string(method) {
	case MethodToolsCall:
		return MethodToolsCall
	case MethodToolsList:
		return MethodToolsList
	case MethodPing:
		return MethodPing
	case MethodInitialize:
		return MethodInitialize
	case MethodInitialized:
		return MethodInitialized
	case MethodDiscover:
		return MethodDiscover
	}
	return string(method)
}

// checkID takes a string or an integer that every reader keeps exact: at most 64 bits, no fraction, no exponent, not null.
func checkID(id []byte, lim Limits) *Error {
	switch kind(id) {
	case '"':
		if len(id)-2 > lim.ID {
			return malformed("The id is longer than %d bytes.", lim.ID)
		}
	case '0':
		if _, err := strconv.ParseInt(string(id), 10, 64); err != nil || bytes.Equal(id, []byte("-0")) {
			return malformed("The id is a number, but not an integer of 64 bits.")
		}
	default:
		return malformed("The id is neither a string nor an integer.")
	}
	return nil
}

// params judges what the gateway needs of the parameters.
func (m *Message) params(f *fields, lim Limits) *Error {
	if wrong(f.params, '{') {
		return malformed("The params are not an object.%s", leaveOut(f.params))
	}
	if wrong(f.meta, '{') {
		return badParams("params._meta is not an object.%s", leaveOut(f.meta))
	}
	if err := f.casing(); err != nil {
		return err
	}
	switch {
	case wrong(f.inputs, '{'):
		return badParams("params.inputResponses is not an object.%s", leaveOut(f.inputs))
	case wrong(f.state, '"'):
		return badParams("params.requestState is not a string.%s", leaveOut(f.state))
	case wrong(f.cursor, '"'):
		return badParams("params.cursor is not a string.%s", leaveOut(f.cursor))
	}
	m.Params, m.Meta = f.params, f.meta
	m.InputResponses, m.RequestState, m.Cursor, m.Augmented = f.inputs, f.state, f.cursor, f.augment != nil
	var t texts
	var target []byte
	switch m.Method {
	case MethodToolsCall, MethodPromptsGet:
		target = f.name
	case MethodResourceRead:
		target = f.uri
	case MethodInitialize:
		f.metaVersion, f.metaInfo, f.metaCapabilities = f.initVersion, f.initInfo, f.initCapabilities
	}
	if m.Method == MethodToolsCall || m.Method == MethodPromptsGet || m.Method == MethodResourceRead {
		switch name := unquote(target); {
		case len(name) == 0:
			return badParams("%s needs the name of what it asks for, a non-empty string.", m.Method)
		case len(name) > lim.Name:
			return badParams("The name is longer than %d bytes.", lim.Name)
		default:
			t.add(&m.Name, name)
		}
		if f.arguments != nil && kind(f.arguments) != '{' {
			return badParams("params.arguments is not an object.%s", leaveOut(f.arguments))
		}
		m.Arguments = f.arguments
	}
	return m.client(f, &t)
}

// casing refuses names by which readers that do not mind case read another call than the one that is decided.
func (f *fields) casing() *Error {
	if f.alike != nil {
		return malformed("params has a member %q. Names are case-sensitive.", clip(string(f.alike), 32))
	}
	c := cursor{b: f.params}
	if name, found := c.twin(); found {
		return malformed("An object in params has two names that differ only by case, one of them %q. Names are case-sensitive, but not for every server: send one of them.",
			clip(string(name), 32))
	}
	return nil
}

// client reads what the client says of itself.
func (m *Message) client(f *fields, t *texts) *Error {
	switch {
	case wrong(f.metaVersion, '"') || len(f.metaVersion) > 64:
		return badParams("The protocol version is not a short string.")
	case wrong(f.metaInfo, '{'):
		return badParams("clientInfo is not an object.")
	case wrong(f.metaCapabilities, '{'):
		return badParams("The client's capabilities are not an object.")
	case f.progressToken != nil && kind(f.progressToken) != '"' && kind(f.progressToken) != '0':
		return badParams("The progress token is neither a string nor a number.")
	}
	m.metaHolds = f.metaVersion != nil && m.Method != MethodInitialize
	m.ProtocolVersion = release(unquote(f.metaVersion))
	m.ClientCapabilities, m.ProgressToken = f.metaCapabilities, f.progressToken
	if f.metaInfo != nil {
		c := cursor{b: f.metaInfo}
		c.open('{')
		for name, ok := c.name(); ok; name, ok = c.name() {
			switch string(name) {
			case "name":
				t.add(&m.ClientName, unquote(c.value()))
			case "version":
				t.add(&m.ClientVersion, unquote(c.value()))
			default:
				c.value()
			}
		}
	}
	t.add(&m.TraceParent, unquote(f.traceParent))
	t.add(&m.taskID, unquote(f.task))
	t.settle()
	return nil
}

// wrong reports whether a value is there but of another type than it must be.
// leaveOut says what to do instead of sending null: the protocol has no null there, and servers differ in what they make of one.
func leaveOut(raw []byte) string {
	if string(raw) == "null" {
		return " Leave it out instead of sending null."
	}
	return ""
}

func wrong(raw []byte, want byte) bool { return raw != nil && kind(raw) != want }

// release answers a protocol version without a copy if it is a released one.
func release(version []byte) string {
	switch string(version) {
	case V20260728:
		return V20260728
	case V20251125:
		return V20251125
	case V20250618:
		return V20250618
	case V20250326:
		return V20250326
	}
	return string(version)
}

// texts makes the strings of one message in one allocation.
type texts struct {
	count int
	into  [5]*string
	from  [5][]byte
}

func (t *texts) add(into *string, text []byte) {
	if len(text) == 0 {
		return
	}
	t.into[t.count], t.from[t.count] = into, text
	t.count++
}

func (t *texts) settle() {
	var room [256]byte
	buf := room[:0]
	for i := range t.count {
		buf = append(buf, t.from[i]...)
	}
	all := string(buf)
	for i := range t.count {
		*t.into[i], all = all[:len(t.from[i])], all[len(t.from[i]):]
	}
}
