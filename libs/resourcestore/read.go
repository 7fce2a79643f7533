package resourcestore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/sqlstore"
)

const (
	defaultPage = 100
	largestPage = 1000
)

// Reader is what reading needs: a database or a transaction of it.
type Reader interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// Get reads one resource; fault NOT_FOUND when it is not there.
func (s *Store) Get(ctx context.Context, kind, tenant, name string) (resource.Object, error) {
	return Read(ctx, s.db, kind, tenant, name)
}

// Read is Get within a transaction.
func Read(ctx context.Context, from Reader, kind, tenant, name string) (resource.Object, error) {
	var document string
	row := from.QueryRow(ctx, "SELECT document FROM resources WHERE kind = ? AND tenant = ? AND name = ?", kind, tenant, name)
	if err := row.Scan(&document); errors.Is(err, sql.ErrNoRows) {
		if tenant == "" {
			return nil, fault.NotFound("There is no %s %s.", kind, name)
		}
		return nil, fault.NotFound("There is no %s %s in tenant %s.", kind, name, tenant)
	} else if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", kind, name, err)
	}
	return decode(kind, document)
}

// PreviousHash is the hash that a resource had before its last change; empty when that created it.
func PreviousHash(ctx context.Context, from Reader, kind, tenant, name string) (string, error) {
	var hash string
	row := from.QueryRow(ctx, "SELECT previous_hash FROM resources WHERE kind = ? AND tenant = ? AND name = ?", kind, tenant, name)
	if err := row.Scan(&hash); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading the hash of %s %s: %w", kind, name, err)
	}
	return hash, nil
}

// List reads a page of one kind's resources, by tenant and name. An empty tenant means all tenants; size 0 means 100. next is empty on the last page.
func (s *Store) List(ctx context.Context, kind, tenant string, size int32, token string) (page []resource.Object, next string, err error) {
	afterTenant, afterName, err := readPageToken(token)
	if err != nil {
		return nil, "", err
	}
	if size <= 0 {
		size = defaultPage
	}
	size = min(size, largestPage)
	query, args := "SELECT document FROM resources WHERE kind = ? AND (tenant > ? OR (tenant = ? AND name > ?))", []any{kind, afterTenant, afterTenant, afterName}
	if tenant != "" {
		query, args = query+" AND tenant = ?", append(args, tenant)
	}
	page, err = collect(ctx, s.db, kind, query+" ORDER BY tenant, name LIMIT ?", append(args, size+1)...)
	if err != nil {
		return nil, "", err
	}
	if len(page) > int(size) {
		page = page[:size]
		last := page[size-1].GetMetadata()
		next = base64.RawURLEncoding.EncodeToString([]byte(last.GetTenant() + "/" + last.GetName()))
	}
	return page, next, nil
}

func readPageToken(token string) (tenant, name string, err error) {
	if token == "" {
		return "", "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	tenant, name, ok := strings.Cut(string(raw), "/")
	if err != nil || !ok {
		return "", "", fault.Invalid("The page token is not one that a list gave. Start again without it.")
	}
	return tenant, name, nil
}

// All reads every resource of every tenant, in the order in which kinds can be applied, and the revision of that state.
func (s *Store) All(ctx context.Context) (objects []resource.Object, revision int64, err error) {
	err = s.db.ReadTx(ctx, func(tx *sqlstore.Tx) error {
		objects, revision, err = ReadAll(ctx, tx)
		return err
	})
	return objects, revision, err
}

// ReadAll is All within a transaction.
func ReadAll(ctx context.Context, from Reader) (objects []resource.Object, revision int64, err error) {
	if revision, err = Revision(ctx, from); err != nil {
		return nil, 0, err
	}
	for _, kind := range resource.Kinds() {
		of, err := collect(ctx, from, kind, "SELECT document FROM resources WHERE kind = ? ORDER BY tenant, name", kind)
		if err != nil {
			return nil, 0, err
		}
		objects = append(objects, of...)
	}
	return objects, revision, nil
}

// OfTenant reads one kind's resources of a tenant, by name.
func OfTenant(ctx context.Context, from Reader, kind, tenant string) ([]resource.Object, error) {
	return collect(ctx, from, kind, "SELECT document FROM resources WHERE kind = ? AND tenant = ? ORDER BY name", kind, tenant)
}

// Deleted names a resource that is gone.
type Deleted struct{ Kind, Tenant, Name string }

// Since reads what changed after a revision: resources as they are now, in the order in which kinds can be applied, and what is gone. Revision 0 gives
// everything. With several processes on one database, this is how one learns of the others' changes.
func Since(ctx context.Context, from Reader, revision int64) (upserts []resource.Object, deletions []Deleted, err error) {
	for _, kind := range resource.Kinds() {
		of, err := collect(ctx, from, kind, "SELECT document FROM resources WHERE kind = ? AND revision > ? ORDER BY tenant, name", kind, revision)
		if err != nil {
			return nil, nil, err
		}
		upserts = append(upserts, of...)
	}
	rows, err := from.Query(ctx, "SELECT kind, tenant, name FROM resource_deletions WHERE revision > ? ORDER BY revision", revision)
	if err != nil {
		return nil, nil, fmt.Errorf("listing deletions: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d Deleted
		if err := rows.Scan(&d.Kind, &d.Tenant, &d.Name); err != nil {
			return nil, nil, fmt.Errorf("listing deletions: %w", err)
		}
		deletions = append(deletions, d)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("listing deletions: %w", err)
	}
	return upserts, deletions, nil
}

// Holds counts the resources of a tenant.
func Holds(ctx context.Context, from Reader, tenant string) (count int, err error) {
	if err := from.QueryRow(ctx, "SELECT count(*) FROM resources WHERE tenant = ?", tenant).Scan(&count); err != nil {
		return 0, fmt.Errorf("counting what is in tenant %s: %w", tenant, err)
	}
	return count, nil
}

// Revision is the number of changes so far.
func Revision(ctx context.Context, from Reader) (revision int64, err error) {
	if err := from.QueryRow(ctx, "SELECT revision FROM resource_revision WHERE id = 1").Scan(&revision); err != nil {
		return 0, fmt.Errorf("reading the revision: %w", err)
	}
	return revision, nil
}

func collect(ctx context.Context, from Reader, kind, query string, args ...any) (objects []resource.Object, err error) {
	rows, err := from.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var document string
		if err := rows.Scan(&document); err != nil {
			return nil, fmt.Errorf("listing %s: %w", kind, err)
		}
		object, err := decode(kind, document)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind, err)
	}
	return objects, nil
}

func decode(kind, document string) (resource.Object, error) {
	object, ok := resource.New(kind)
	if !ok {
		return nil, fault.Invalid("There is no kind %q.", kind)
	}
	if err := protojson.Unmarshal([]byte(document), object); err != nil {
		return nil, fmt.Errorf("reading a stored %s: %w", kind, err)
	}
	return object, nil
}
