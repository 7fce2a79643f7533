package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Claim is one connection's claim to serve one server.
type Claim struct{ Tenant, Connection, Server string }

// Claim records which connections serve which servers. A server has one connection: a second one is refused. Claims made together may trade servers.
func (v *Vault) Claim(ctx context.Context, tx *sqlstore.Tx, claims []Claim) error {
	for _, c := range claims {
		if err := v.Release(ctx, tx, c.Tenant, c.Connection); err != nil {
			return err
		}
	}
	for _, c := range claims {
		holder, found, err := v.ConnectionOf(ctx, tx, c.Tenant, c.Server)
		if err != nil {
			return err
		}
		if found {
			return fault.New(faultv1.Reason_REASON_CONFLICT,
				"Connection %s cannot serve %s: connection %s does already, and a server has one. Change or delete that one first. Nothing was applied.",
				c.Connection, c.Server, holder).
				With("kind", "Connection").With("name", c.Connection)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO connection_servers (tenant, server, connection) VALUES (?, ?, ?)", c.Tenant, c.Server, c.Connection); err != nil {
			return fmt.Errorf("writing the server of %s: %w", c.Connection, err)
		}
	}
	return nil
}

// Release takes a connection's claim back. None is no error.
func (v *Vault) Release(ctx context.Context, tx *sqlstore.Tx, tenant, connection string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM connection_servers WHERE tenant = ? AND connection = ?", tenant, connection); err != nil {
		return fmt.Errorf("deleting the server of %s: %w", connection, err)
	}
	return nil
}

// ConnectionOf names the connection that serves a server; false when there is none.
func (v *Vault) ConnectionOf(ctx context.Context, from Reader, tenant, server string) (connection string, found bool, err error) {
	row := from.QueryRow(ctx, "SELECT connection FROM connection_servers WHERE tenant = ? AND server = ?", tenant, server)
	switch err := row.Scan(&connection); {
	case errors.Is(err, sql.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("reading the connection of %s: %w", server, err)
	}
	return connection, true, nil
}
