package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/membership"
	"headgate.dev/libs/policy/terms"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/token"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// Changed is one resource that changed, for the record.
type Changed struct {
	Object  resource.Object
	Before  resource.Object // nil for what was created or deleted
	Action  string          // created, updated or deleted
	OldHash string
	NewHash string
}

// Record writes what changed to the journal; its error undoes the change.
type Record func(Changed) error

// Apply creates or changes resources, all or none. A tenant must exist, or be among them, before what is in it. People may name roles, groups may name
// people, roles and groups, and agents may name people that do not exist yet: they count from when they do.
func (d *Directory) Apply(ctx context.Context, objects []resource.Object, dryRun bool, record Record) ([]*resourcev1.Change, int64, error) {
	changes, revision, err := d.resources.Apply(ctx, objects, dryRun, func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
		tenants := map[string]bool{}
		for _, o := range changed {
			if err := d.consequences(ctx, tx, o, tenants); err != nil {
				return err
			}
		}
		if dryRun {
			return nil
		}
		return recordAll(ctx, tx, changed, record)
	})
	if err != nil {
		return nil, 0, err
	}
	if !dryRun {
		d.catchUp(ctx)
	}
	return changes, revision, nil
}

// consequences checks the references of a resource and does what follows from it.
func (d *Directory) consequences(ctx context.Context, tx *sqlstore.Tx, o resource.Object, tenants map[string]bool) error {
	m := o.GetMetadata()
	if tenant := m.GetTenant(); tenant != "" && !tenants[tenant] {
		if _, err := resourcestore.Read(ctx, tx, "Tenant", "", tenant); fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
			return fault.Invalid("%s was refused: there is no tenant %s. Apply a Tenant of that name first, or together with it.", resource.Key(o), tenant).
				With("kind", o.GetKind()).With("name", m.GetName())
		} else if err != nil {
			return err
		}
		tenants[tenant] = true
	}
	switch o := o.(type) {
	case *identityv1.Group:
		return nested(ctx, tx, o)
	case *identityv1.Role:
		return readable(o, o.GetSpec().GetGrants())
	case *identityv1.Agent:
		return readable(o, o.GetSpec().GetGrants())
	}
	p, ok := o.(*identityv1.Person)
	if !ok || !p.GetSpec().GetDisabled() {
		return nil
	}
	if bootstrap(o.GetKind(), m.GetTenant(), m.GetName()) {
		return fault.New(faultv1.Reason_REASON_CONFLICT, "The bootstrap administrator cannot be disabled: nobody could undo it.")
	}
	// The tokens of a disabled person end for good, so that they do not come back with the person.
	revision, err := resourcestore.Revision(ctx, tx)
	if err != nil {
		return err
	}
	return d.revokePerson(ctx, tx, m.GetTenant(), m.GetName(), revision)
}

// readable refuses grants whose conditions no call could meet, because they cannot be read.
func readable(o resource.Object, grants []*identityv1.Grant) error {
	for i, g := range grants {
		if c := terms.Of(g); c != nil {
			if _, err := terms.Read(c); err != nil {
				return fault.Invalid("%s was refused: spec.grants[%d]: %s.", resource.Key(o), i, err).With("kind", o.GetKind()).With("name", o.GetMetadata().GetName())
			}
		}
	}
	return nil
}

// nested refuses a group that lies within itself, or among too many others. What it is applied together with is in the transaction already.
func nested(ctx context.Context, tx *sqlstore.Tx, g *identityv1.Group) error {
	if len(g.GetSpec().GetGroups()) == 0 {
		return nil // it can close no circle and make no chain longer
	}
	tenant, name := g.GetMetadata().GetTenant(), g.GetMetadata().GetName()
	groups, err := resourcestore.OfTenant(ctx, tx, "Group", tenant)
	if err != nil {
		return err
	}
	var all membership.Tenant
	for _, o := range groups {
		if one, ok := o.(*identityv1.Group); ok {
			all.PutGroup(one.GetMetadata().GetName(), one.GetSpec())
		}
	}
	if circle := all.Cycle(name); circle != nil {
		return fault.Invalid("%s was refused: the groups would lie within one another in a circle: %s. Take one of them out of spec.groups of the one before it.",
			resource.Key(g), strings.Join(circle, " → ")).With("kind", "Group").With("name", name)
	}
	if depth := all.Depth(name); depth > membership.Deepest {
		return fault.Invalid("%s was refused: %d groups would lie within one another, at most %d may. Name the inner groups in an outer one directly.",
			resource.Key(g), depth, membership.Deepest).With("kind", "Group").With("name", name)
	}
	return nil
}

func recordAll(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object, record Record) error {
	for _, o := range changed {
		m := o.GetMetadata()
		old, err := resourcestore.PreviousHash(ctx, tx, o.GetKind(), m.GetTenant(), m.GetName())
		if err != nil {
			return err
		}
		action := "updated"
		if m.GetVersion() == 1 {
			action = "created"
		}
		if err := record(Changed{Object: o, Before: resourcestore.Before(ctx, o), Action: action, OldHash: old, NewHash: m.GetHash()}); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a resource. A tenant must be empty of people, groups, roles and agents. A deleted person's tokens end for good.
func (d *Directory) Delete(ctx context.Context, kind, tenant, name string, record Record) (int64, error) {
	if bootstrap(kind, tenant, name) {
		return 0, fault.New(faultv1.Reason_REASON_CONFLICT,
			"The tenant %s and its person %s cannot be deleted: nobody could administer the platform any more.", SystemTenant, SystemPerson)
	}
	revision, err := d.resources.Delete(ctx, kind, tenant, name, func(ctx context.Context, tx *sqlstore.Tx, gone []resource.Object) error {
		switch kind {
		case "Tenant":
			count, err := resourcestore.Holds(ctx, tx, name)
			if err != nil {
				return err
			}
			if count > 0 {
				return fault.New(faultv1.Reason_REASON_CONFLICT, "Tenant %s was not deleted: %d people, groups, roles or agents are in it. Delete them first.", name, count)
			}
		case "Person":
			revision, err := resourcestore.Revision(ctx, tx)
			if err != nil {
				return err
			}
			if err := d.revokePerson(ctx, tx, tenant, name, revision); err != nil {
				return err
			}
		}
		return record(Changed{Object: gone[0], Action: "deleted", OldHash: gone[0].GetMetadata().GetHash()})
	})
	if err != nil {
		return 0, err
	}
	d.catchUp(ctx)
	return revision, nil
}

// RevokePerson ends every token of a person that was issued until now.
func (d *Directory) RevokePerson(ctx context.Context, tenant, name string, record func() error) (revision int64, err error) {
	err = d.write(ctx, func(tx *sqlstore.Tx, at int64) error {
		revision = at
		if _, err := resourcestore.Read(ctx, tx, "Person", tenant, name); err != nil {
			return err
		}
		if err := d.revokePerson(ctx, tx, tenant, name, at); err != nil {
			return err
		}
		return record()
	})
	return revision, err
}

// RevokeToken ends one token. Which tokens exist is not known, so that any id is taken.
func (d *Directory) RevokeToken(ctx context.Context, tenant, id string, record func() error) (revision int64, err error) {
	err = d.write(ctx, func(tx *sqlstore.Tx, at int64) error {
		revision = at
		if err := d.keep(ctx, tx, token.Revocation{Tenant: tenant, TokenID: id, Before: d.now()}, at); err != nil {
			return err
		}
		return record()
	})
	return revision, err
}

// revokePerson ends what was issued until now. A token that was issued since the last revocation may be dated up to a second ahead (see
// token.Revocations); it ends, too.
func (d *Directory) revokePerson(ctx context.Context, tx *sqlstore.Tx, tenant, person string, revision int64) error {
	before := d.now()
	var last string
	row := tx.QueryRow(ctx, "SELECT before_at FROM revocations WHERE tenant = ? AND token_id = '' AND person = ?", tenant, person)
	if err := row.Scan(&last); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("reading a revocation: %w", err)
	}
	if last != "" {
		at, err := sqlstore.ParseTime(last)
		if err != nil {
			return fmt.Errorf("reading a revocation: %w", err)
		}
		if ahead := token.Floor(at).Add(time.Nanosecond); ahead.After(before) {
			before = ahead
		}
	}
	return d.keep(ctx, tx, token.Revocation{Tenant: tenant, Person: person, Before: before}, revision)
}

func (d *Directory) keep(ctx context.Context, tx *sqlstore.Tx, r token.Revocation, revision int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO revocations (tenant, token_id, person, before_at, until_at, revision) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, token_id, person) DO UPDATE SET before_at = excluded.before_at, until_at = excluded.until_at, revision = excluded.revision`,
		r.Tenant, r.TokenID, r.Person, sqlstore.Time(r.Before), sqlstore.Time(until(d.now())), revision)
	if err != nil {
		return fmt.Errorf("keeping a revocation: %w", err)
	}
	return nil
}

// Rotate makes a new signing key and returns its id.
func (d *Directory) Rotate(ctx context.Context, record func(id string) error) (id string, err error) {
	err = d.write(ctx, func(tx *sqlstore.Tx, _ int64) error {
		if id, err = d.seal.Rotate(ctx, tx, d.now(), until(d.now())); err != nil {
			return err
		}
		return record(id)
	})
	return id, err
}

// Bootstrap makes sure that the first administrator exists.
func (d *Directory) Bootstrap(ctx context.Context, record Record) error {
	var missing []resource.Object
	if _, err := d.Get(ctx, "Tenant", "", SystemTenant); fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		missing = append(missing, &identityv1.Tenant{
			ApiVersion: resource.APIVersion, Kind: "Tenant", Metadata: &resourcev1.Metadata{Name: SystemTenant},
			Spec: &identityv1.TenantSpec{DisplayName: "Headgate's own administrators"},
		})
	} else if err != nil {
		return err
	}
	if _, err := d.Get(ctx, "Person", SystemTenant, SystemPerson); fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		missing = append(missing, &identityv1.Person{
			ApiVersion: resource.APIVersion, Kind: "Person", Metadata: &resourcev1.Metadata{Name: SystemPerson, Tenant: SystemTenant},
			Spec: &identityv1.PersonSpec{DisplayName: "Bootstrap administrator"},
		})
	} else if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	_, _, err := d.Apply(ctx, missing, false, record)
	return err
}

func bootstrap(kind, tenant, name string) bool {
	return kind == "Tenant" && name == SystemTenant || kind == "Person" && tenant == SystemTenant && name == SystemPerson
}
