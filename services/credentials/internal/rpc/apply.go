package rpc

import (
	"context"
	"crypto/subtle"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/credentials/internal/connection"
	"headgate.dev/services/credentials/internal/vault"
)

// declared is one connection of a request with its secret taken out, so that it cannot be stored or hashed with it.
type declared struct {
	connection *credentialsv1.Connection
	secret     secret.String // empty: keep the one that is there
	replaced   bool          // the secret is another than before
}

// Apply implements CredentialsServiceHandler.
func (h *Handler) Apply(ctx context.Context, req *connect.Request[credentialsv1.ApplyRequest]) (*connect.Response[credentialsv1.ApplyResponse], error) {
	var all []*declared
	var objects []resource.Object
	for _, given := range req.Msg.GetResources() {
		d, err := declare(ctx, given)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
		objects = append(objects, d.connection)
	}
	also := func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
		return h.also(ctx, tx, all, changed, req.Msg.GetDryRun())
	}
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	changes, revision, err := h.Resources.Apply(ctx, objects, req.Msg.GetDryRun(), also)
	if err != nil {
		return nil, err
	}
	for i, change := range changes {
		if change.GetAction() == resourcev1.Action_ACTION_UNCHANGED && all[i].replaced {
			change.Action = resourcev1.Action_ACTION_UPDATED
		}
	}
	return connect.NewResponse(&credentialsv1.ApplyResponse{Changes: changes, Revision: revision}), nil
}

// declare checks one connection and takes its secret out.
func declare(ctx context.Context, given *credentialsv1.Resource) (*declared, error) {
	object, err := resource.Unwrap(given)
	if err != nil {
		return nil, err
	}
	c, err := asConnection(object)
	if err != nil {
		return nil, err
	}
	c = proto.CloneOf(c)
	if c.GetMetadata() == nil || c.GetSpec() == nil {
		return nil, fault.Invalid("A connection has no metadata or no spec.")
	}
	if c.Metadata.Tenant, err = rpc.Tenant(ctx, c.GetMetadata().GetTenant()); err != nil {
		return nil, err
	}
	d := &declared{connection: c, secret: secret.New(c.GetSpec().GetSecret())}
	c.Spec.Secret = ""
	if err := connection.Check(c); err != nil {
		return nil, err
	}
	if d.secret.Empty() {
		return d, nil
	}
	return d, connection.CheckSecret(c, d.secret.Reveal())
}

// also seals the secrets, claims the servers and records what changed, within the transaction of the connections.
func (h *Handler) also(ctx context.Context, tx *sqlstore.Tx, all []*declared, changed []resource.Object, dryRun bool) error {
	var claims []vault.Claim
	for _, object := range changed {
		c, err := asConnection(object)
		if err != nil {
			return err
		}
		claims = append(claims, vault.Claim{Tenant: c.GetMetadata().GetTenant(), Connection: c.GetMetadata().GetName(), Server: c.GetSpec().GetServer()})
	}
	if err := h.Vault.Claim(ctx, tx, claims); err != nil {
		return err
	}
	for _, d := range all {
		if err := h.sealed(ctx, tx, d); err != nil {
			return err
		}
	}
	if dryRun {
		return nil
	}
	for _, d := range all {
		if err := h.recordApplied(ctx, tx, d, changed); err != nil {
			return err
		}
	}
	return nil
}

// sealed puts a declared secret into the vault, unless it is the one that is there already.
func (h *Handler) sealed(ctx context.Context, tx *sqlstore.Tx, d *declared) error {
	m := d.connection.GetMetadata()
	has, err := h.Vault.Has(ctx, tx, m.GetTenant(), m.GetName())
	if err != nil {
		return err
	}
	if d.secret.Empty() {
		if !has {
			return fault.Invalid("Connection %s is new and has no secret, so there would be nothing to lend. "+
				"Set spec.secret; it is sealed and never shown again.", m.GetName()).
				With("kind", kindConnection).With("name", m.GetName()).With("field", "spec.secret")
		}
		return nil
	}
	if has {
		// One that does not open any more is replaced: that is how an administrator repairs it.
		old, _, err := h.Vault.Get(ctx, tx, m.GetTenant(), m.GetName())
		if err == nil && subtle.ConstantTimeCompare([]byte(old.Reveal()), []byte(d.secret.Reveal())) == 1 {
			return nil
		}
	}
	d.replaced = has
	return h.Vault.Put(ctx, tx, m.GetTenant(), m.GetName(), d.secret)
}

func (h *Handler) recordApplied(ctx context.Context, tx *sqlstore.Tx, d *declared, changed []resource.Object) error {
	m := d.connection.GetMetadata()
	key := resource.Key(d.connection)
	at := slices.IndexFunc(changed, func(o resource.Object) bool { return resource.Key(o) == key })
	if at < 0 && !d.replaced {
		return nil
	}
	change := &eventsv1.Change{Kind: kindConnection, Name: m.GetName(), Action: "updated"}
	if at >= 0 {
		now := changed[at].GetMetadata()
		old, err := resourcestore.PreviousHash(ctx, tx, kindConnection, m.GetTenant(), m.GetName())
		if err != nil {
			return err
		}
		change.Version, change.OldHash, change.NewHash = now.GetVersion(), old, now.GetHash()
		if now.GetVersion() == 1 {
			change.Action = "created"
		}
	}
	if d.replaced {
		change.Reason = "the secret was replaced"
	}
	if d.replaced {
		if err := h.revoked(ctx, d.connection, change.GetReason()); err != nil {
			return err
		}
	}
	return h.append(rpc.By(ctx).Sign(&eventsv1.Event{
		Action: "resource-applied", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: m.GetTenant(),
		Change: change, Target: &eventsv1.Target{Server: d.connection.GetSpec().GetServer()},
	}))
}

// Delete implements CredentialsServiceHandler.
func (h *Handler) Delete(ctx context.Context, req *connect.Request[credentialsv1.DeleteRequest]) (*connect.Response[credentialsv1.DeleteResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	name := req.Msg.GetName()
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	revision, err := h.Resources.Delete(ctx, kindConnection, tenant, name, func(ctx context.Context, tx *sqlstore.Tx, gone []resource.Object) error {
		if err := h.Vault.Delete(ctx, tx, tenant, name); err != nil {
			return err
		}
		if err := h.Vault.Release(ctx, tx, tenant, name); err != nil {
			return err
		}
		m := gone[0].GetMetadata()
		c, err := asConnection(gone[0])
		if err != nil {
			return err
		}
		if err := h.revoked(ctx, c, "the connection was deleted"); err != nil {
			return err
		}
		return h.append(rpc.By(ctx).Sign(&eventsv1.Event{
			Action: "resource-deleted", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: tenant,
			Change: &eventsv1.Change{Kind: kindConnection, Name: name, Action: "deleted", Version: m.GetVersion(), OldHash: m.GetHash()},
		}))
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&credentialsv1.DeleteResponse{Revision: revision}), nil
}

// revoked records that a credential is lent no more. What was lent of it ends by itself within the lease's time.
func (h *Handler) revoked(ctx context.Context, c *credentialsv1.Connection, why string) error {
	m := c.GetMetadata()
	return h.append(rpc.By(ctx).Sign(&eventsv1.Event{
		Action: record.CredentialRevoked, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: m.GetTenant(),
		Change:     &eventsv1.Change{Kind: kindConnection, Name: m.GetName(), Action: "revoked", Version: m.GetVersion(), Reason: why},
		Credential: &eventsv1.Credential{Connection: m.GetName()}, Target: &eventsv1.Target{Server: c.GetSpec().GetServer()},
	}))
}
