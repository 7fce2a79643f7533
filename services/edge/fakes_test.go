package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/replica"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/token"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
)

const (
	acme   = "acme"
	issuer = "http://issuer.test"
)

// world holds the four services that the edge decides by: fakes of their state behind their real handlers, reached through the real transport.
type world struct {
	t        testing.TB
	mu       sync.Mutex
	revision int64
	silent   map[string]bool
	ahead    atomic.Int64 // nanoseconds that have passed for the edge, and not for the test
	wrong    atomic.Int64 // nanoseconds by which the edge's clock goes wrong
	// unresolved says that authz cannot resolve what anybody may use.
	unresolved atomic.Bool
	// countless says that edges cannot hear what others counted.
	countless atomic.Bool
	// related are the relations of people, as ana#ticket:T-1#owner; unrelated says that authz cannot look them up.
	related   map[string]bool
	unrelated atomic.Bool
	// foreign says that the relations have none of what is asked for.
	foreign atomic.Bool

	key     jose.JSONWebKey
	people  map[string]*identityv1.Person
	groups  map[string]*identityv1.Group
	agents  map[string]*identityv1.Agent
	revoked []*identityv1.Revocation

	policies map[string]*authzv1.Policy
	// calendars are those of the tenant, in the snapshot and in what calendar sends.
	calendars []*authzv1.Calendar
	rights    map[string][]*authzv1.Entitlement // by "person/x" or "agent/x"
	acting    map[string][]string               // agent → people

	servers map[string]*trustv1.ServerState
	kills   []*trustv1.Kill
	reports []*trustv1.ReportRequest

	subjects subjects // who gives out keys to seal with; nil for nobody

	leases   map[string]*credentialsv1.LeaseResponse // by server
	leaseErr error
	edges    func(url string) (edgev1connect.EdgeServiceClient, error) // the way to other edges
	leasing  func(*credentialsv1.LeaseRequest)                         // when set, before each lease
	asked    []*credentialsv1.LeaseRequest

	identityHub *replica.Hub[*identityv1.WatchResponse]
	authzHub    *replica.Hub[*authzv1.WatchResponse]
	trustHub    *replica.Hub[*trustv1.WatchResponse]
}

func newWorld(t testing.TB) *world {
	key, err := token.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, key: key, silent: map[string]bool{}, people: map[string]*identityv1.Person{}, groups: map[string]*identityv1.Group{},
		agents: map[string]*identityv1.Agent{}, policies: map[string]*authzv1.Policy{}, rights: map[string][]*authzv1.Entitlement{},
		acting: map[string][]string{}, servers: map[string]*trustv1.ServerState{}, leases: map[string]*credentialsv1.LeaseResponse{},
	}
	w.identityHub = replica.NewHub(replica.HubConfig[*identityv1.WatchResponse]{
		Snapshot: w.directory, Revision: (*identityv1.WatchResponse).GetRevision,
		Heartbeat: func() (*identityv1.WatchResponse, bool) {
			return &identityv1.WatchResponse{Revision: w.at()}, w.speaks("identity")
		},
	})
	w.authzHub = replica.NewHub(replica.HubConfig[*authzv1.WatchResponse]{
		Snapshot: w.rules, Revision: (*authzv1.WatchResponse).GetRevision,
		Heartbeat: func() (*authzv1.WatchResponse, bool) {
			return &authzv1.WatchResponse{Revision: w.at()}, w.speaks("authz")
		},
	})
	w.trustHub = replica.NewHub(replica.HubConfig[*trustv1.WatchResponse]{
		Snapshot: w.catalogue, Revision: (*trustv1.WatchResponse).GetRevision,
		Heartbeat: func() (*trustv1.WatchResponse, bool) {
			return &trustv1.WatchResponse{Revision: w.at()}, w.speaks("trust")
		},
	})
	return w
}

func (w *world) at() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revision
}

func (w *world) speaks(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.silent[name]
}

// silence stops the heartbeats and snapshots of a service.
func (w *world) silence(name string) {
	w.mu.Lock()
	w.silent[name] = true
	w.mu.Unlock()
}

func (w *world) directory(context.Context) (*identityv1.WatchResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent["identity"] {
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Silent.")
	}
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{w.key.Public()}})
	if err != nil {
		return nil, err
	}
	m := &identityv1.WatchResponse{Snapshot: true, Revision: w.revision, Keys: string(public), Revocations: w.revoked}
	for _, p := range w.people {
		m.Upserts = append(m.Upserts, &identityv1.Resource{Kind: &identityv1.Resource_Person{Person: p}})
	}
	for _, g := range w.groups {
		m.Upserts = append(m.Upserts, &identityv1.Resource{Kind: &identityv1.Resource_Group{Group: g}})
	}
	for _, a := range w.agents {
		m.Upserts = append(m.Upserts, &identityv1.Resource{Kind: &identityv1.Resource_Agent{Agent: a}})
	}
	return m, nil
}

func (w *world) rules(context.Context) (*authzv1.WatchResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent["authz"] {
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Silent.")
	}
	m := &authzv1.WatchResponse{Snapshot: true, Revision: w.revision, DirectoryRevision: w.revision}
	m.Calendars = w.calendars
	for _, p := range w.policies {
		m.Upserts = append(m.Upserts, p)
	}
	return m, nil
}

func (w *world) catalogue(context.Context) (*trustv1.WatchResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent["trust"] {
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Silent.")
	}
	m := &trustv1.WatchResponse{Snapshot: true, Revision: w.revision, Kills: w.kills}
	for _, s := range w.servers {
		m.Upserts = append(m.Upserts, s)
	}
	return m, nil
}

func (w *world) next() int64 {
	w.revision++
	return w.revision
}

// person puts somebody into the directory.
func (w *world) person(name string, change func(*identityv1.PersonSpec)) {
	spec := &identityv1.PersonSpec{Email: name + "@acme.example"}
	if change != nil {
		change(spec)
	}
	p := &identityv1.Person{ApiVersion: "headgate/v1", Kind: "Person", Metadata: &resourcev1.Metadata{Name: name, Tenant: acme}, Spec: spec}
	w.mu.Lock()
	w.people[name] = p
	m := &identityv1.WatchResponse{Revision: w.next(), Upserts: []*identityv1.Resource{{Kind: &identityv1.Resource_Person{Person: p}}}}
	w.mu.Unlock()
	w.identityHub.Publish(m)
}

func (w *world) agent(name string, people ...string) {
	a := &identityv1.Agent{ApiVersion: "headgate/v1", Kind: "Agent", Metadata: &resourcev1.Metadata{Name: name, Tenant: acme}, Spec: &identityv1.AgentSpec{}}
	w.mu.Lock()
	w.agents[name], w.acting[name] = a, people
	m := &identityv1.WatchResponse{Revision: w.next(), Upserts: []*identityv1.Resource{{Kind: &identityv1.Resource_Agent{Agent: a}}}}
	w.mu.Unlock()
	w.identityHub.Publish(m)
}

func (w *world) revoke(r *identityv1.Revocation) {
	r.Until = timestamppb.New(time.Now().Add(time.Hour))
	w.mu.Lock()
	w.revoked = append(w.revoked, r)
	m := &identityv1.WatchResponse{Revision: w.next(), Revocations: []*identityv1.Revocation{r}}
	w.mu.Unlock()
	w.identityHub.Publish(m)
}

// grant gives a principal ("person/ana") tools of a server.
func (w *world) grant(who, server, tool, can string) {
	w.mu.Lock()
	w.rights[who] = append(w.rights[who], &authzv1.Entitlement{
		Server: server, Tool: tool, CanSee: true, CanCall: can == "call", Via: who + " → role test → server " + server,
	})
	m := &authzv1.WatchResponse{Revision: w.next(), Changed: []*authzv1.Principal{{Tenant: acme}}}
	w.mu.Unlock()
	w.authzHub.Publish(m)
}

// ungrant takes all from a principal.
func (w *world) ungrant(person string) {
	w.mu.Lock()
	delete(w.rights, "person/"+person)
	m := &authzv1.WatchResponse{Revision: w.next(), Changed: []*authzv1.Principal{{Tenant: acme, Person: person}}}
	w.mu.Unlock()
	w.authzHub.Publish(m)
}

func (w *world) policy(name string, spec *authzv1.PolicySpec) {
	p := &authzv1.Policy{ApiVersion: "headgate/v1", Kind: "Policy", Metadata: &resourcev1.Metadata{Name: name, Tenant: acme, Version: 1}, Spec: spec}
	w.mu.Lock()
	w.policies[name] = p
	m := &authzv1.WatchResponse{Revision: w.next(), Upserts: []*authzv1.Policy{p}}
	w.mu.Unlock()
	w.authzHub.Publish(m)
}

// server registers an upstream and approves these definitions, each raw JSON.
func (w *world) server(name, url string, tools []string, change func(*trustv1.ServerState)) {
	state := &trustv1.ServerState{
		Server: &trustv1.Server{
			ApiVersion: "headgate/v1", Kind: "Server", Metadata: &resourcev1.Metadata{Name: name, Tenant: acme}, Spec: &trustv1.ServerSpec{Url: url, Timeout: "2s"},
		},
		Standing: trustv1.Standing_STANDING_APPROVED,
	}
	for _, raw := range tools {
		tool, _ := mcp.Text([]byte(raw), "name")
		hash := mcp.Definition{Name: tool, Raw: json.RawMessage(raw)}.Hash()
		state.Definitions = append(state.Definitions, &trustv1.Definition{
			Name: tool, State: trustv1.DefinitionState_DEFINITION_STATE_APPROVED, ApprovedHash: hash, Approved: []byte(raw), SeenHash: hash, Seen: []byte(raw),
		})
	}
	if change != nil {
		change(state)
	}
	w.mu.Lock()
	w.servers[name] = state
	m := &trustv1.WatchResponse{Revision: w.next(), Upserts: []*trustv1.ServerState{state}}
	w.mu.Unlock()
	w.trustHub.Publish(m)
}

// unserver deletes a server.
func (w *world) unserver(name string) {
	w.mu.Lock()
	delete(w.servers, name)
	m := &trustv1.WatchResponse{Revision: w.next(), Deletions: []*trustv1.ServerDeletion{{Tenant: acme, Name: name}}}
	w.mu.Unlock()
	w.trustHub.Publish(m)
}

func (w *world) kill(kind, name string) {
	k := &trustv1.Kill{Tenant: acme, Target: &trustv1.Target{Kind: kind, Name: name}, Reason: "incident 7"}
	w.mu.Lock()
	w.kills = append(w.kills, k)
	m := &trustv1.WatchResponse{Revision: w.next(), Kills: []*trustv1.Kill{k}}
	w.mu.Unlock()
	w.trustHub.Publish(m)
}

func (w *world) reported() []*trustv1.ReportRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*trustv1.ReportRequest(nil), w.reports...)
}

// lend gives a server a managed credential in a header.
func (w *world) lend(server, header, value, secret string, hosts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases[server] = &credentialsv1.LeaseResponse{
		LeaseId: ids.New(), Connection: server + "-key", Headers: []*credentialsv1.Header{{Name: header, Value: value}},
		AllowHosts: hosts, Secrets: []string{secret}, ExpiresAt: timestamppb.New(time.Now().Add(time.Minute)),
	}
}

type identityService struct {
	identityv1connect.UnimplementedIdentityServiceHandler
	w *world
}

func (s identityService) Watch(ctx context.Context, _ *connect.Request[identityv1.WatchRequest], out *connect.ServerStream[identityv1.WatchResponse]) error {
	return s.w.identityHub.Serve(ctx, out.Send)
}

type authzService struct {
	authzv1connect.UnimplementedAuthzServiceHandler
	w *world
}

func (s authzService) Watch(ctx context.Context, _ *connect.Request[authzv1.WatchRequest], out *connect.ServerStream[authzv1.WatchResponse]) error {
	return s.w.authzHub.Serve(ctx, out.Send)
}

// ShareCounts has no other edges to tell of.
func (s authzService) ShareCounts(_ context.Context, r *connect.Request[authzv1.ShareCountsRequest]) (*connect.Response[authzv1.ShareCountsResponse], error) {
	if s.w.countless.Load() {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("down"))
	}
	return connect.NewResponse(&authzv1.ShareCountsResponse{Epoch: "one", Cursor: r.Msg.GetCursor()}), nil
}

// Related knows what the test said.
func (s authzService) Related(_ context.Context, r *connect.Request[authzv1.RelatedRequest]) (*connect.Response[authzv1.RelatedResponse], error) {
	if s.w.unrelated.Load() {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("down"))
	}
	if s.w.foreign.Load() {
		return nil, fault.Invalid("The relations know no objects of type %q.", "nonsense")
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	answer := &authzv1.RelatedResponse{}
	for _, one := range r.Msg.GetRelationships() {
		answer.Held = append(answer.Held, s.w.related[r.Msg.GetPerson()+"#"+one.GetObject()+"#"+one.GetRelation()])
	}
	return connect.NewResponse(answer), nil
}

func (s authzService) Entitlements(_ context.Context, r *connect.Request[authzv1.EntitlementsRequest]) (*connect.Response[authzv1.EntitlementsResponse], error) {
	if s.w.unresolved.Load() {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("OpenFGA is down"))
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	answer := &authzv1.EntitlementsResponse{Revision: s.w.revision}
	if agent := r.Msg.GetAgent(); agent != "" {
		answer.Entitlements, answer.Delegators = s.w.rights["agent/"+agent], s.w.acting[agent]
	} else {
		answer.Entitlements = s.w.rights["person/"+r.Msg.GetPerson()]
	}
	if r.Msg.GetTenant() != acme {
		answer = &authzv1.EntitlementsResponse{}
	}
	return connect.NewResponse(answer), nil
}

type trustService struct {
	trustv1connect.UnimplementedTrustServiceHandler
	w *world
}

func (s trustService) Watch(ctx context.Context, _ *connect.Request[trustv1.WatchRequest], out *connect.ServerStream[trustv1.WatchResponse]) error {
	return s.w.trustHub.Serve(ctx, out.Send)
}

func (s trustService) Report(_ context.Context, r *connect.Request[trustv1.ReportRequest]) (*connect.Response[trustv1.ReportResponse], error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.reports = append(s.w.reports, r.Msg)
	return connect.NewResponse(&trustv1.ReportResponse{Revision: s.w.revision}), nil
}

type credentialsService struct {
	credentialsv1connect.UnimplementedCredentialsServiceHandler
	w *world
}

func (s credentialsService) Lease(_ context.Context, r *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error) {
	s.w.mu.Lock()
	leasing := s.w.leasing
	s.w.mu.Unlock()
	if leasing != nil {
		leasing(r.Msg)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.asked = append(s.w.asked, r.Msg)
	if s.w.leaseErr != nil {
		return nil, s.w.leaseErr
	}
	if lease := s.w.leases[r.Msg.GetServer()]; lease != nil {
		return connect.NewResponse(lease), nil
	}
	return connect.NewResponse(&credentialsv1.LeaseResponse{}), nil
}

func (w *world) mux(self optionsv1.Service, register func(*rpc.Mux)) *rpc.Conn {
	m := rpc.NewMux(rpc.MuxConfig{
		Self: self, Record: func(*eventsv1.Event) error { return nil }, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(context.Context, string) (*identityv1.Caller, error) {
			return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "Nobody is known here.")
		},
	})
	register(m)
	if err := m.Check(); err != nil {
		w.t.Fatal(err)
	}
	return rpc.InProcess(m, optionsv1.Service_SERVICE_EDGE)
}

// tokenFor signs an access token; change spoils it.
func (w *world) tokenFor(person, audience string, change func(*token.Claims)) string {
	c := token.Claims{
		Issuer: issuer, Subject: person, Tenant: acme, ClientID: "test", ID: ids.New(), Audience: []string{audience},
		IssuedAt: time.Now().Add(-time.Minute), Expires: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(&c)
	}
	signed, err := token.Sign(w.key, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}
