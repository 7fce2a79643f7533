package sqlstore

import (
	"context"
	"database/sql"
)

// Statement is one that each connection parses once and keeps, for what is done very often. Safe for concurrent use.
type Statement struct{ sql *sql.Stmt }

// Prepare parses a statement. The caller closes it before the database.
func (db *DB) Prepare(ctx context.Context, query string) (*Statement, error) {
	prepared, err := db.sql.PrepareContext(ctx, rebind(db.driver, query))
	if err != nil {
		return nil, err
	}
	return &Statement{sql: prepared}, nil
}

// Close frees what connections keep of the statement. One that was never prepared has nothing to free.
func (s *Statement) Close() error {
	if s == nil {
		return nil
	}
	return s.sql.Close()
}

// InTx is a statement within a transaction. It is good only as long as that.
type InTx struct{ sql *sql.Stmt }

// Prepared is the statement for this transaction. An error in preparing it for the transaction's connection is returned by Exec.
func (tx *Tx) Prepared(ctx context.Context, s *Statement) InTx {
	return InTx{sql: tx.sql.StmtContext(ctx, s.sql)}
}

// Exec runs the statement.
func (s InTx) Exec(ctx context.Context, args ...any) (sql.Result, error) {
	return s.sql.ExecContext(ctx, args...)
}
