package demo

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const orderSchema = `
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, country TEXT NOT NULL, since TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), product TEXT NOT NULL,
	quantity INTEGER NOT NULL, cents INTEGER NOT NULL, ordered TEXT NOT NULL);
CREATE INDEX orders_by_customer ON orders (customer_id);`

// Bounds of one statement.
const (
	maxRows      = 1000
	maxQueryTime = 2 * time.Second
)

type statement struct {
	Query string `json:"query"`
}

type queryResult struct {
	Columns   []string         `json:"columns"`
	Rows      []map[string]any `json:"rows"`
	Count     int              `json:"count"`
	Changed   int64            `json:"changed"`
	Truncated bool             `json:"truncated"`
}

// orders is the database. Its connection can write: that analysts only read is policy, not the server's doing.
type orders struct{ db *sql.DB }

func buildSQL(s *Server, m *server.MCPServer) error {
	o := orders{s.db}
	m.AddTools(tool("query", "Run SQL",
		"Runs SQL on the order database. Tables: customers (id, name, email, country, since), orders (id, customer_id, product, quantity, cents, ordered). "+
			"Returns at most 1,000 rows.", destroys, o.query,
		mcp.WithString("query", mcp.Required(), mcp.MinLength(1), mcp.MaxLength(16384), mcp.Description("The statement."))))
	return seed(s.db, orderSchema, fillOrders)
}

// fillOrders writes the same 2,000 customers and 8,000 orders each time.
func fillOrders(tx *sql.Tx) error {
	products := [...]string{"anvil", "rocket skates", "giant magnet", "bird seed", "spring", "tunnel paint", "tornado kit"}
	start := time.Date(2024, time.January, 1, 9, 0, 0, 0, time.UTC)
	customer, err := tx.Prepare("INSERT INTO customers (id, name, email, country, since) VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer func() { _ = customer.Close() }()
	for id := 1; id <= 2000; id++ {
		p := person(id)
		if _, err := customer.Exec(id, p.name, p.email, p.country, start.AddDate(0, 0, -id*37%900).Format(time.DateOnly)); err != nil {
			return err
		}
	}
	order, err := tx.Prepare("INSERT INTO orders (id, customer_id, product, quantity, cents, ordered) VALUES (?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer func() { _ = order.Close() }()
	for id := 1; id <= 8000; id++ {
		quantity := 1 + id*31%5
		_, err := order.Exec(id, 1+id*7919%2000, products[id*13/7%len(products)], quantity, quantity*(995+100*(id*53%90)),
			start.Add(time.Duration(id)*2*time.Hour).Format(time.RFC3339))
		if err != nil {
			return err
		}
	}
	return nil
}

// query runs a statement on the one connection. A transaction that it leaves open is rolled back.
func (o orders) query(ctx context.Context, args statement) (out queryResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxQueryTime)
	defer cancel()
	conn, err := o.db.Conn(ctx)
	if err != nil {
		return out, err
	}
	defer func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // an error when nothing is open, as it should be
		err = join(err, conn.Close())
	}()
	before, err := changes(ctx, conn)
	if err != nil {
		return out, err
	}
	if err := o.read(ctx, conn, args.Query, &out); err != nil {
		return out, err
	}
	after, err := changes(ctx, conn)
	out.Changed = after - before
	return out, err
}

func changes(ctx context.Context, conn *sql.Conn) (n int64, err error) {
	return n, conn.QueryRowContext(ctx, "SELECT total_changes()").Scan(&n)
}

func (o orders) read(ctx context.Context, conn *sql.Conn, query string, out *queryResult) error {
	found, err := conn.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("the database says: %w", err)
	}
	defer func() { _ = found.Close() }()
	columns, err := found.Columns()
	if err != nil {
		return err
	}
	out.Columns, out.Rows = append([]string{}, columns...), []map[string]any{}
	for found.Next() {
		if len(out.Rows) == maxRows {
			out.Truncated = true
			break
		}
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			return err
		}
		row := make(map[string]any, len(columns))
		for i, name := range columns {
			if blob, ok := values[i].([]byte); ok {
				values[i] = hex.EncodeToString(blob)
			}
			row[name] = values[i]
		}
		out.Rows = append(out.Rows, row)
	}
	out.Count = len(out.Rows)
	if err := found.Err(); err != nil {
		return fmt.Errorf("the database says: %w", err)
	}
	return nil
}
