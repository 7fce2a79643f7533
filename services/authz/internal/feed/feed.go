// Package feed is what followers of authz hear: a snapshot of the policies, then changes of policies and of whose rights changed, numbered in the
// order in which they happened.
package feed

import (
	"context"
	"sync"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/replica"
	"headgate.dev/services/authz/internal/policies"
	"headgate.dev/services/authz/internal/tenants"
)

// Source is the state that a snapshot is made of.
type Source struct {
	// Ready waits until there is something to follow.
	Ready func(ctx context.Context) error
	// Fresh reports whether what is known may be vouched for.
	Fresh func() bool
	// Policies is all there are, and the calendars that they name, at one moment.
	Policies func() ([]*authzv1.Policy, []*authzv1.Calendar)
}

// Feed numbers changes and sends them to every follower. Safe for concurrent use.
type Feed struct {
	source Source
	hub    *replica.Hub[*authzv1.WatchResponse]

	mu       sync.Mutex
	revision int64
	// What the last published state was made of.
	policies, directory int64
}

// New returns a feed without followers. It starts nothing.
func New(source Source) *Feed {
	f := &Feed{source: source}
	f.hub = replica.NewHub(replica.HubConfig[*authzv1.WatchResponse]{
		Snapshot:  f.snapshot,
		Heartbeat: f.heartbeat,
		Revision:  func(m *authzv1.WatchResponse) int64 { return m.GetRevision() },
	})
	return f
}

// Serve carries one follower until ctx ends. While the state cannot be vouched for, the follower hears nothing at all, because each message would
// tell it that what it holds is fresh.
func (f *Feed) Serve(ctx context.Context, send func(*authzv1.WatchResponse) error) error {
	if err := f.source.Ready(ctx); err != nil {
		return err
	}
	return f.hub.Serve(ctx, func(m *authzv1.WatchResponse) error {
		if !f.source.Fresh() {
			return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
				"The service authz has not heard identity or its database for some seconds and does not vouch for what it knows. Check both.")
		}
		return send(m)
	})
}

// Revision counts every change that was published.
func (f *Feed) Revision() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

// Start sets where counting begins, so that revisions go on rising over restarts.
func (f *Feed) Start(policies int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.policies = policies
	f.revision = max(f.revision, f.policies+f.directory)
}

// Policies publishes a change of policies. The change must hold already.
func (f *Feed) Policies(c policies.Change) {
	f.publish(&authzv1.WatchResponse{
		Upserts: c.Upserts, Deletions: c.Deletions, Calendars: c.Calendars, CalendarDeletions: c.CalendarDeletions,
	}, c.Revision, 0)
}

// Rights publishes whose rights changed. OpenFGA must have acknowledged the change.
func (f *Feed) Rights(c tenants.Changed) {
	m := &authzv1.WatchResponse{}
	switch {
	case c.Everyone:
		m.Changed = []*authzv1.Principal{{Tenant: c.Tenant}}
	default:
		for _, name := range c.Affected.People {
			m.Changed = append(m.Changed, &authzv1.Principal{Tenant: c.Tenant, Person: name})
		}
		for _, name := range c.Affected.Agents {
			m.Changed = append(m.Changed, &authzv1.Principal{Tenant: c.Tenant, Agent: name})
		}
	}
	f.publish(m, 0, c.Directory)
}

func (f *Feed) publish(m *authzv1.WatchResponse, policies, directory int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.policies, f.directory = max(f.policies, policies), max(f.directory, directory)
	f.revision = max(f.revision+1, f.policies+f.directory)
	m.Revision, m.DirectoryRevision = f.revision, f.directory
	f.hub.Publish(m)
}

// snapshot takes the number first: a change that comes in between is then sent again, which does no harm.
func (f *Feed) snapshot(context.Context) (*authzv1.WatchResponse, error) {
	f.mu.Lock()
	m := &authzv1.WatchResponse{Snapshot: true, Revision: f.revision, DirectoryRevision: f.directory}
	f.mu.Unlock()
	m.Upserts, m.Calendars = f.source.Policies()
	return m, nil
}

func (f *Feed) heartbeat() (*authzv1.WatchResponse, bool) {
	if !f.source.Fresh() {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &authzv1.WatchResponse{Revision: f.revision, DirectoryRevision: f.directory}, true
}
