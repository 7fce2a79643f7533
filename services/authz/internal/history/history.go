// Package history keeps every version of every policy, with who made it and when. Rows are added in the transaction of the change and never changed.
package history

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema beside that of resourcestore.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

const usualPage = 100

// History reads what was kept. Safe for concurrent use.
type History struct{ db *sqlstore.DB }

// New returns the history in a database that has the Migrations.
func New(db *sqlstore.DB) *History { return &History{db} }

// Add keeps one change of a policy, as it is after it; for one that is deleted, as it was.
func Add(ctx context.Context, tx *sqlstore.Tx, p *authzv1.Policy, change *authzv1.PolicyVersion) error {
	document, err := protojson.Marshal(p)
	if err != nil {
		return fmt.Errorf("keeping a version of policy %s: %w", p.GetMetadata().GetName(), err)
	}
	m := p.GetMetadata()
	var last int64 // writers of policies wait for each other, so nobody else takes the next one
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(sequence), 0) FROM policy_history WHERE tenant = ? AND name = ?", m.GetTenant(), m.GetName()).Scan(&last); err != nil {
		return fmt.Errorf("keeping a version of policy %s: %w", m.GetName(), err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO policy_history (tenant, name, sequence, version, action, hash, previous_hash, author, changed_at, rolled_back_to, document)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.GetTenant(), m.GetName(), last+1, change.GetVersion(), change.GetAction(), change.GetHash(), change.GetPreviousHash(), change.GetAuthor(),
		sqlstore.Time(change.GetAt().AsTime()), change.GetRolledBackTo(), string(document))
	if err != nil {
		return fmt.Errorf("keeping a version of policy %s: %w", m.GetName(), err)
	}
	return nil
}

// List reads a page of a policy's versions, the newest first; fault NOT_FOUND when there never was such a policy.
func (h *History) List(ctx context.Context, tenant, name string, size int32, token string) (page []*authzv1.PolicyVersion, next string, err error) {
	before := int64(math.MaxInt64)
	if token != "" {
		if before, err = strconv.ParseInt(token, 10, 64); err != nil {
			return nil, "", fault.Invalid("The page token is not one that a list gave. Start again without it.")
		}
	}
	if size == 0 {
		size = usualPage
	}
	rows, err := h.db.Query(ctx, `SELECT sequence, version, action, hash, previous_hash, author, changed_at, rolled_back_to FROM policy_history
		WHERE tenant = ? AND name = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?`, tenant, name, before, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing versions of policy %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var sequence int64
		var at string
		v := &authzv1.PolicyVersion{}
		if err := rows.Scan(&sequence, &v.Version, &v.Action, &v.Hash, &v.PreviousHash, &v.Author, &at, &v.RolledBackTo); err != nil {
			return nil, "", fmt.Errorf("listing versions of policy %s: %w", name, err)
		}
		if len(page) == int(size) {
			next = strconv.FormatInt(before, 10)
			break
		}
		changed, err := sqlstore.ParseTime(at)
		if err != nil {
			return nil, "", fmt.Errorf("listing versions of policy %s: %w", name, err)
		}
		v.At, before = timestamppb.New(changed), sequence
		page = append(page, v)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("listing versions of policy %s: %w", name, err)
	}
	if len(page) == 0 && token == "" {
		return nil, "", fault.NotFound("There never was a Policy %s in tenant %s.", name, tenant)
	}
	return page, next, nil
}

// Get reads a policy as it was in a version, the last of that number; fault NOT_FOUND when there was none.
func (h *History) Get(ctx context.Context, tenant, name string, version int64) (*authzv1.Policy, error) {
	var document string
	row := h.db.QueryRow(ctx, `SELECT document FROM policy_history WHERE tenant = ? AND name = ? AND version = ? AND action <> 'deleted'
		ORDER BY sequence DESC LIMIT 1`, tenant, name, version)
	if err := row.Scan(&document); errors.Is(err, sql.ErrNoRows) {
		return nil, fault.NotFound("Policy %s of tenant %s has no version %d. headgate policy history lists those that are kept.", name, tenant, version)
	} else if err != nil {
		return nil, fmt.Errorf("reading policy %s: %w", name, err)
	}
	p := &authzv1.Policy{}
	if err := protojson.Unmarshal([]byte(document), p); err != nil {
		return nil, fmt.Errorf("reading policy %s: %w", name, err)
	}
	return p, nil
}
