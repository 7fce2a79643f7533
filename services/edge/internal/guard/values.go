package guard

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/secret/forms"
	"headgate.dev/libs/token"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// Inbound is one HTTP request as values. Nothing in it is reused by the adapter after Call returns or while it runs.
type Inbound struct {
	// Verb is the HTTP method.
	Verb string
	// Endpoint is the path, /mcp or /mcp/{server}; Server is its last part, empty for all of a tenant's servers.
	Endpoint, Server string
	// Unfit says what was wrong with the HTTP message itself; such a request is refused with it before anything else is looked at.
	Unfit error
	Host  string
	// Origins are all Origin headers that were sent.
	Origins             []string
	ContentType, Accept string
	// Encoded says that the body came compressed or otherwise encoded.
	Encoded       bool
	Bearer        string
	Session       string
	TraceParent   string
	IP, UserAgent string
	Headers       mcp.Header
	Body          []byte
	// LastEventID is the last event of a stream that the client takes up again.
	LastEventID string
	// Send streams one message to the client before its answer, with an event id or without; nil when the client takes no stream. An error says
	// that the client is gone.
	Send func(id string, message []byte) error
	// Pause ends the stream of the request before its answer, with an event id to take it up behind and after how long; nil when that cannot be.
	Pause func(id string, retry time.Duration)
	// Opening names the event that begins a stream which would have none for long; nil where the stream cannot be taken up again.
	Opening *Opening
	// Batched says that it is one message of a batch.
	Batched bool
	// Relayed says that another edge handed the request over: it is not handed on again.
	Relayed bool
	// word is what the request says of itself, as soon as it was read.
	word word
}

// Headers are the header fields of the protocol. It implements mcp.Header.
type Headers []mcp.Field

// Values implements mcp.Header.
func (h Headers) Values(name string) []string {
	var out []string
	for _, f := range h {
		if f.Name == name || strings.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

// Answer is what goes back to the client.
type Answer struct {
	Status int
	Body   []byte
	// Result is what Body goes on with, and a brace ends: a large result is not copied behind its head. Nil where Body is the whole message.
	Result json.RawMessage
	// EventID is the event id of the body where it ends a stream.
	EventID string
	// Stream takes the place of a body: the connection becomes a stream that stays open.
	Stream     Stream
	Session    string
	Challenge  string
	Allow      string
	RetryAfter time.Duration
}

// Message is the whole body.
func (a *Answer) Message() []byte {
	if a.Result == nil {
		return a.Body
	}
	return slices.Concat(a.Body, a.Result, []byte{'}'})
}

// Stream is an answer that goes on until one of its ends is gone.
type Stream interface {
	// Attach gives the stream its way to the client, once the head of the answer was written. It does not block.
	Attach(to Sink)
	// Gone says that the client went away. It may come before Attach returns and more than once.
	Gone()
}

// Sink takes the messages of a stream. Safe for concurrent use; it does not block.
type Sink interface {
	// Send queues one message. An error says that the client is gone or too slow, and that the sink is closed.
	Send(id string, message []byte) error
	// End closes the sink after what was queued.
	End()
}

// Caller is a person, through an agent, as the token and the directory show them.
type Caller struct {
	Tenant, Person, Email, DisplayName string
	// Agent is the agent from the token; empty for none. ClientID is the OAuth client's.
	Agent, ClientID, TokenID string
	Principal                policy.Principal
	// Claims are the token's own. Mark is the admitter's, to see at once that nothing changed since.
	Claims *token.Claims
	Mark   int64
}

// Server is one upstream as trust declares it.
type Server struct {
	Tenant, Name string
	URL          string
	// Address is host:port, always with the port.
	Address string
	// CA, Pins and ClientCertificate are those of the declaration (libs/egress).
	CA                string
	Pins              []string
	ClientCertificate string
	// Private says that a credential may be sent there: nobody on the way can read it, or it is declared that this does not matter.
	Private bool
	Labels  []string
	Timeout time.Duration
	Journal journal.Mode
	// Stdio is the server's program where it has one instead of a URL.
	Stdio *Stdio
	// Delay is what it may delay others; nil where it is not followed.
	Delay *Delay
}

// Stdio is a program of the edge's machine that speaks on its standard input and output, as it is declared.
type Stdio struct {
	Command   []string
	Env       map[string]string
	Inherit   []string
	Directory string
	// Person says that each person, agent and client has a process of their own; otherwise all share one.
	Person bool
}

// shared reports whether all callers have one program: it is offered nothing of any of them, and what it says unasked is none of theirs.
func (s *Server) shared() bool { return s.Stdio != nil && !s.Stdio.Person }

// Key is the same for the same program, given the same; empty for none.
func (s *Stdio) Key() string {
	if s == nil {
		return ""
	}
	key, err := json.Marshal(s)
	if err != nil {
		return strings.Join(s.Command, "\x00") // texts can always be written
	}
	return string(key)
}

// Tool is one approved definition of one server, as one caller can see it.
type Tool struct {
	Server      *Server
	Name        string
	Hash        string
	Labels      []string
	Annotations json.RawMessage
	// Trust is what rules see as trust (policy.TrustOf); nobody may change it.
	Trust map[string]any
	// Bindings are the arguments that also travel in headers.
	Bindings  []mcp.Binding
	Arguments Arguments
	Relation  policy.Relation
	// Recording is what its record holds besides keyed hashes; nil leaves that to the tenant.
	Recording *resourcev1.Recording
	// Reach is where Relation came from. Mark is the catalogue's, to see at once that nothing changed since.
	Reach Reach
	Mark  int64
}

// Reach says what relation a caller has to a tool at a time.
type Reach interface {
	Lookup(server, tool string, now time.Time) policy.Relation
}

// Arguments checks a call's arguments against the approved input schema.
type Arguments interface {
	// Validate refuses with REASON_ARGUMENTS and a sentence that names the place. Nil arguments are an empty object. What it had to decode as
	// rules see it, it answers; nobody may change that.
	Validate(arguments json.RawMessage) (decoded map[string]any, err error)
}

// Listing is what a caller sees of an endpoint.
type Listing struct {
	// Tools are definitions as approved, with their visible names.
	Tools []json.RawMessage
	// Total counts the approved tools before the caller's relations were applied.
	Total int
	// Unavailable names servers that could not be verified now.
	Unavailable []string
}

// Question is one call to decide.
type Question struct {
	Caller    *Caller
	Tool      *Tool
	Arguments json.RawMessage
	// Decoded is what Validate answered; nil when it did not.
	Decoded  map[string]any
	At       time.Time
	SourceIP string
	CallID   string
	// Session and Purpose are what the request and its token say of themselves.
	Session policy.Session
	Device  policy.Device
	Purpose string
	// Learner is told of each fact that was read, from several goroutines; nil for nobody.
	Learner Learner
	// Again says that it was decided and counted before, and is decided anew because it goes on: it is no further call.
	Again bool
}

// Learner takes what was read for a decision.
type Learner interface {
	Learned(ctx context.Context, f Learned)
}

// Learned is one fact that rules are judged by: a value out of the result of a tool.
type Learned struct {
	Need          policy.FactNeed
	Tool          *Tool
	Result, Value json.RawMessage
}

// LeaseRequest names the one use that a credential is for. Caller is nil when the edge looks at the server itself.
type LeaseRequest struct {
	Caller *Caller
	Server *Server
	Tool   string
	CallID string
}

// Lease is a credential for one server. ID is empty when the server needs none.
type Lease struct {
	ID, Connection string
	Headers        []LeasedHeader
	// Forms are the leased secrets in each form that the inspector looks for in everything that comes back.
	Forms *forms.Set
}

// LeasedHeader is one header of the upstream's request.
type LeasedHeader struct{ Name, Value string }

// Exchange is one request as the upstream shall see it.
type Exchange struct {
	// Caller is nil when the edge asks by itself.
	Caller *Caller
	Server *Server
	// Method is the protocol's. Name is the tool's, the prompt's or the resource's URI where the method has one, as the server knows it.
	Method, Name string
	// Params are the client's, a strict JSON object or nil. Only their metadata is set for the server's revision; every other byte goes as it is.
	Params json.RawMessage
	// Arguments are those of a tool's call as they stand in Params, with the Bindings that also travel in headers.
	Arguments json.RawMessage
	Bindings  []mcp.Binding
	// Modern is the client's era, Session its session's id; empty for none.
	Modern  bool
	Session string
	// Offer are the client's capabilities that can be relayed; nil for none.
	Offer json.RawMessage
	Lease *Lease
	// Notify takes notices that belong to the request; nil drops them.
	Notify func(notice []byte) error
	// Pause says that the server let go of the connection and answers later (2025-11-25, transports, polling); nil for a client that does not poll.
	Pause func(retry time.Duration)
	// Ask takes a request of the server's to the client and waits for its answer; nil when the client cannot be asked. An error is a sentence for
	// the server, and the exchange goes on.
	Ask func(ctx context.Context, request *mcp.Reply) (Reply, error)
}

// Reply is an answer: one of Result and Error.
type Reply struct {
	Result, Error json.RawMessage
	// Modern says that the answer is of 2026-07-28, where a result may ask for input.
	Modern bool
	// Lease goes with a client's answer to a question of a server, where the answer came with a newer one than the exchange has.
	Lease *Lease
}

// About is what a server says of itself. All of it is its own word.
type About struct {
	// Modern says that it speaks 2026-07-28, Legacy one of the revisions before.
	Modern, Legacy bool
	// Versions are the revisions that it names, newest first; nil when it was not asked for them.
	Versions []string
	// Capabilities and Info are raw objects; nil when it says nothing.
	Capabilities, Info json.RawMessage
	Instructions       string
}

// Listening is the wish to hear what a server says unasked, for one client.
type Listening struct {
	Caller  *Caller
	Server  *Server
	Session string
	Offer   json.RawMessage
	Lease   *Lease
	// Lists asks for changes of prompts and resources, Resources for changes of these URIs. Listen itself subscribes to them and, when nobody else
	// listens to them any more, takes that back.
	Lists     bool
	Resources []string
	// Tasks asks for what becomes of these tasks, by their server's ids. A Listening for tasks is for nothing else.
	Tasks []string
	// Notify takes each notice: raw, strict, as the server sent it.
	Notify func(notice []byte) error
	Ask    func(ctx context.Context, request *mcp.Reply) (Reply, error)
}

// Inspection is what was found in a document and done about it.
type Inspection struct{ Hidden, Secrets int }

// Admitter knows the caller of a request or refuses it: host, origin, media types, size, token, revocation, rate.
type Admitter interface {
	// Admit may return the caller together with an error, for the record.
	Admit(in *Inbound) (*Caller, error)
	// Still refuses a caller whose token or person does not hold any more. It asks nobody.
	Still(in *Inbound, c *Caller) error
	// Current answers the caller of a stream as the directory has it now, or refuses one whose token expired or does not hold. It asks nobody.
	Current(in *Inbound, c *Caller) (*Caller, error)
	// Metadata is the URL that says where tokens for the request's endpoint can be had (RFC 9728).
	Metadata(in *Inbound) string
}

// Freshness refuses with REASON_STALE while a replica has not heard from its owner.
type Freshness interface {
	Fresh() error
}

// Sessions makes and knows ids for clients of the revisions that have sessions. An id is bound to its caller.
type Sessions interface {
	Open(c *Caller, endpoint string, client Client) string
	// Check returns what the client said of itself when it opened the session; false for an id that is forged, foreign, ended or too old.
	Check(c *Caller, endpoint, id string) (Client, bool)
	// End makes a caller's id good for nothing from now on, and answers when that survives the process. After an error it holds until the process ends.
	End(c *Caller, endpoint, id string) error
}

// Client is what a client says of itself: its own word, which is recorded and which rules may read.
type Client struct {
	// Began is when its session began, by the clock of the edge where it did.
	Began                  time.Time
	Version, Name, Release string
	// Offer are the client's capabilities that can be relayed.
	Offer json.RawMessage
	// Home is the edge that the session began at, as other edges reach it; empty when there is only one.
	Home string
}

// Catalogue knows the tools. What is not visible is refused with an error that Hidden reports, whatever the reason.
type Catalogue interface {
	// Resolve may return the tool together with an error, for the record.
	Resolve(ctx context.Context, c *Caller, server, visible string) (*Tool, error)
	// List calls before with the servers that it has to ask what they show now; an error of it is List's own, and nobody is asked.
	List(ctx context.Context, c *Caller, server string, before func(asked []*Server) error) (Listing, error)
	// Method answers one of a server's methods that relations and rules take for a tool, under its Server resource's name.
	Method(ctx context.Context, c *Caller, server, method string) (*Tool, error)
	// Servers are those of an endpoint that the caller has any relation to and that may be used, by name.
	Servers(ctx context.Context, c *Caller, endpoint string) ([]*Server, error)
	// Visible names, as a digest, the tools of an endpoint that the caller sees by what is known now. It asks no server.
	Visible(ctx context.Context, c *Caller, endpoint string) (string, error)
	// Recheck looks at a server anew before it is used or listed next.
	Recheck(ctx context.Context, s *Server)
	// Instructions are what was approved of one server's; empty when the caller sees none of its tools.
	Instructions(ctx context.Context, c *Caller, server string) string
	// Version is another number whenever what callers see, or have relations to, can have changed.
	Version() int64
	// Stopped refuses a caller whom a kill switch stops.
	Stopped(c *Caller) error
	// Still refuses a resolved tool that would not be resolved, or not be called, by what is known now.
	Still(ctx context.Context, c *Caller, tool *Tool) error
	// Halted refuses a call under way when its caller, server or tool was stopped since, or its server deleted. It asks nobody.
	Halted(c *Caller, tool *Tool) error
}

// Decider judges a call by relation and rules.
type Decider interface {
	Decide(ctx context.Context, q Question) (policy.Decision, error)
	// Version is another number whenever a rule can have changed.
	Version() int64
}

// Lender lends a credential for one call.
type Lender interface {
	Lease(ctx context.Context, r LeaseRequest) (*Lease, error)
	// Forget drops a lease that the server refused, so that the next call asks anew.
	Forget(r LeaseRequest)
}

// Journal takes a record; once Append returns nil it survives as the mode says.
type Journal interface {
	Append(ev *eventsv1.Event, mode journal.Mode) error
}

// Upstream speaks to servers, whatever their revision and transport. Safe for concurrent use.
type Upstream interface {
	// Forward makes one request. It is sent at most once.
	Forward(ctx context.Context, ex Exchange) (Reply, error)
	// About is what a server says of itself, as of a minute ago at most.
	About(ctx context.Context, s *Server, lease *Lease) (About, error)
	// Known is About where nobody has to be asked; false otherwise.
	Known(s *Server) (About, bool)
	// Listen passes on what a server says unasked until ctx ends, which is no error. A server that says nothing unasked ends it at once with
	// REASON_METHOD.
	Listen(ctx context.Context, l Listening) error
	// Mention tells a server something of a client that needs no answer, wherever that client is known already. It opens nothing.
	Mention(ctx context.Context, ex Exchange) error
	// Release ends what is kept for a client's session.
	Release(c *Caller, session string)
}

// Inspector cleans what comes back: hidden characters and leased secrets go. It refuses what it cannot read.
type Inspector interface {
	Inspect(document []byte, lease *Lease) ([]byte, Inspection, error)
	// Text cleans one sentence of leased secrets.
	Text(sentence string, lease *Lease) string
}

// Keys are the deployment's, the same for all edges.
type Keys interface {
	// Sum is HMAC-SHA-256 in hex, keyed for the tenant.
	Sum(tenant string, document []byte) string
	// Seal encloses a text that a client carries, for one purpose and bound to parts. Open answers it; false for anything else.
	Seal(purpose, text string, bound ...string) string
	Open(purpose, sealed string, bound ...string) (string, bool)
}

// Peers are the other edges.
type Peers interface {
	// Self is how other edges reach this one; empty when there is only one.
	Self() string
	// Others are the other edges that are known to be there, Place the one of all that what belongs to a key is kept at: the same at each.
	Others() []string
	Place(key string) string
	// Relay hands a request to another edge and brings its answer, which that edge has recorded. ErrUnreached says that it was not reached and nothing
	// happened; after any other error nobody knows what did.
	Relay(ctx context.Context, home string, in *Inbound) (Answer, error)
}

// ErrUnreached says that another edge was not reached.
var ErrUnreached = errors.New("the other edge was not reached")
