package guard

import (
	"context"
	"encoding/json"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/token"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
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
	// Notify streams one notice of the call to the client before its answer; nil when the client takes no stream.
	Notify func(notice []byte) error
}

// Answer is what goes back to the client.
type Answer struct {
	Status     int
	Body       []byte
	Session    string
	Challenge  string
	Allow      string
	RetryAfter time.Duration
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
	CA      string
	Labels  []string
	Timeout time.Duration
	Journal journal.Mode
}

// Tool is one approved definition of one server, as one caller can see it.
type Tool struct {
	Server      *Server
	Name        string
	Hash        string
	Labels      []string
	Annotations json.RawMessage
	// Bindings are the arguments that also travel in headers.
	Bindings  []mcp.Binding
	Arguments Arguments
	Relation  policy.Relation
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
	Forms []string
}

// LeasedHeader is one header of the upstream's request.
type LeasedHeader struct{ Name, Value string }

// Exchange is one call as the upstream shall see it.
type Exchange struct {
	Caller    *Caller
	Server    *Server
	Tool      string
	Arguments json.RawMessage
	Bindings  []mcp.Binding
	// Meta is the client's params._meta, raw.
	Meta   json.RawMessage
	Modern bool
	Lease  *Lease
	Notify func(notice []byte) error
}

// Reply is the upstream's answer: one of Result and Error.
type Reply struct {
	Result, Error json.RawMessage
}

// Inspection is what was found in a document and done about it.
type Inspection struct{ Hidden, Secrets int }

// Admitter knows the caller of a request or refuses it: host, origin, media types, size, token, revocation, rate.
type Admitter interface {
	// Admit may return the caller together with an error, for the record.
	Admit(in *Inbound) (*Caller, error)
	// Still refuses a caller whose token or person does not hold any more. It asks nobody.
	Still(in *Inbound, c *Caller) error
}

// Freshness refuses with REASON_STALE while a replica has not heard from its owner.
type Freshness interface {
	Fresh() error
}

// Sessions makes and knows ids for clients of the revisions that have sessions. An id is bound to its caller.
type Sessions interface {
	Open(c *Caller, client Client) string
	// Check returns what the client said of itself when it opened the session; false for an id that is forged, foreign or ended.
	Check(c *Caller, id string) (Client, bool)
	End(c *Caller, id string)
}

// Client is what a client says of itself. It is recorded and never decides.
type Client struct{ Version, Name, Release string }

// Catalogue knows the tools. What is not visible is refused with an error that Hidden reports, whatever the reason.
type Catalogue interface {
	// Resolve may return the tool together with an error, for the record.
	Resolve(ctx context.Context, c *Caller, server, visible string) (*Tool, error)
	List(ctx context.Context, c *Caller, server string) (Listing, error)
	// Instructions are what was approved of one server's; empty when the caller sees none of its tools.
	Instructions(ctx context.Context, c *Caller, server string) string
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

// Upstream makes a call. A call is sent at most once.
type Upstream interface {
	Forward(ctx context.Context, ex Exchange) (Reply, error)
}

// Inspector cleans what comes back: hidden characters and leased secrets go. It refuses what it cannot read.
type Inspector interface {
	Inspect(document []byte, lease *Lease) ([]byte, Inspection, error)
	// Text cleans one sentence of leased secrets.
	Text(sentence string, lease *Lease) string
}

// KeyedHash is HMAC-SHA-256 in hex, keyed for the tenant.
type KeyedHash interface {
	Sum(tenant string, document []byte) string
}
