package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/token"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/identity/internal/keys"
)

// delta is what changed in the database since the revision of memory.
type delta struct {
	revision    int64
	upserts     []resource.Object
	deletions   []resourcestore.Deleted
	revocations []token.Revocation
	keys        keys.Set
	keysJSON    string
}

// Follow brings memory to the state of the database and tells the replicas what changed.
func (d *Directory) Follow(ctx context.Context) error {
	d.following.Lock()
	defer d.following.Unlock()
	asked := d.now()
	change, err := d.read(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.heard = asked
	if change == nil {
		d.mu.Unlock()
		return nil
	}
	for _, gone := range change.deletions {
		d.view.remove(key{gone.Kind, gone.Tenant, gone.Name})
	}
	for _, o := range change.upserts {
		d.view.put(o)
	}
	newKeys := change.keysJSON != d.keysJSON
	d.keys, d.keysJSON, d.revision = change.keys, change.keysJSON, change.revision
	d.revoked.Add(change.revocations...)
	d.mu.Unlock()

	message, err := change.message(newKeys)
	if err != nil {
		return err
	}
	d.hub.Publish(message)
	return nil
}

// read returns nil when nothing changed.
func (d *Directory) read(ctx context.Context) (*delta, error) {
	var change *delta
	err := d.db.ReadTx(ctx, func(tx *sqlstore.Tx) error {
		revision, err := resourcestore.Revision(ctx, tx)
		if err != nil || revision == d.revision { // only Follow writes it
			return err
		}
		change = &delta{revision: revision}
		if change.upserts, change.deletions, err = resourcestore.Since(ctx, tx, d.revision); err != nil {
			return err
		}
		if change.revocations, err = revocationsSince(ctx, tx, d.revision); err != nil {
			return err
		}
		if change.keys, err = d.seal.Load(ctx, tx, d.now()); err != nil {
			return err
		}
		change.keysJSON, err = change.keys.JSON()
		return err
	})
	return change, err
}

func revocationsSince(ctx context.Context, tx *sqlstore.Tx, revision int64) (all []token.Revocation, err error) {
	rows, err := tx.Query(ctx, "SELECT tenant, token_id, person, before_at, until_at FROM revocations WHERE revision > ?", revision)
	if err != nil {
		return nil, fmt.Errorf("reading revocations: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r token.Revocation
		var before, until string
		if err := rows.Scan(&r.Tenant, &r.TokenID, &r.Person, &before, &until); err != nil {
			return nil, fmt.Errorf("reading revocations: %w", err)
		}
		if r.Before, err = sqlstore.ParseTime(before); err != nil {
			return nil, fmt.Errorf("reading revocations: %w", err)
		}
		if r.Until, err = sqlstore.ParseTime(until); err != nil {
			return nil, fmt.Errorf("reading revocations: %w", err)
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading revocations: %w", err)
	}
	return all, nil
}

func (c *delta) message(newKeys bool) (*identityv1.WatchResponse, error) {
	m := &identityv1.WatchResponse{Revision: c.revision, Revocations: protoRevocations(c.revocations)}
	if newKeys {
		m.Keys = c.keysJSON
	}
	for _, gone := range c.deletions {
		m.Deletions = append(m.Deletions, &identityv1.Deletion{Kind: gone.Kind, Tenant: gone.Tenant, Name: gone.Name})
	}
	var err error
	m.Upserts, err = wrap(c.upserts)
	return m, err
}

func wrap(objects []resource.Object) ([]*identityv1.Resource, error) {
	all := make([]*identityv1.Resource, 0, len(objects))
	for _, o := range objects {
		r := &identityv1.Resource{}
		if err := resource.Wrap(o, r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func protoRevocations(revocations []token.Revocation) []*identityv1.Revocation {
	all := make([]*identityv1.Revocation, 0, len(revocations))
	for _, r := range revocations {
		p := &identityv1.Revocation{Tenant: r.Tenant, TokenId: r.TokenID, Person: r.Person, Until: timestamppb.New(r.Until)}
		if r.Person != "" {
			p.Before = timestamppb.New(r.Before)
		}
		all = append(all, p)
	}
	return all
}

// snapshot is the whole directory for a new subscriber.
func (d *Directory) snapshot(context.Context) (*identityv1.WatchResponse, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.fresh(); err != nil {
		return nil, err
	}
	objects := make([]resource.Object, 0, len(d.view.objects))
	for _, o := range d.view.objects {
		objects = append(objects, o)
	}
	upserts, err := wrap(objects)
	if err != nil {
		return nil, err
	}
	return &identityv1.WatchResponse{
		Snapshot: true, Revision: d.revision, Upserts: upserts, Keys: d.keysJSON, Revocations: protoRevocations(d.revoked.All()),
	}, nil
}

// heartbeat is silent while memory may be behind the database, so that replicas go stale rather than wrong.
func (d *Directory) heartbeat() (*identityv1.WatchResponse, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return &identityv1.WatchResponse{Revision: d.revision}, d.fresh() == nil
}

// Tidy forgets what has expired: revocations, retired keys, sign-ins that were not finished.
func (d *Directory) Tidy(ctx context.Context) error {
	now := d.now()
	d.revoked.Prune(now)
	dropped := int64(0)
	err := d.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		for _, table := range []string{"DELETE FROM revocations WHERE until_at <= ?", "DELETE FROM oauth_requests WHERE expires_at <= ?"} {
			if _, err := tx.Exec(ctx, table, sqlstore.Time(now)); err != nil {
				return fmt.Errorf("forgetting what has expired: %w", err)
			}
		}
		var err error
		if dropped, err = keys.Prune(ctx, tx, now); err != nil || dropped == 0 {
			return err
		}
		_, err = resourcestore.Bump(ctx, tx) // replicas must learn that a key is gone
		return err
	})
	if err == nil && dropped > 0 {
		d.catchUp(ctx)
	}
	return err
}

// The revocation of a token is kept as long as the longest token could hold: its own end is not known.
func until(now time.Time) time.Time { return now.Add(LongestToken) }
