package demo

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// CRMHeader is the header that the CRM wants its key in. It is refused without: what an agent sends is not good enough.
const CRMHeader = "X-Crm-Key"

const crmSchema = `
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, phone TEXT NOT NULL, country TEXT NOT NULL,
	note TEXT NOT NULL DEFAULT '', card TEXT NOT NULL DEFAULT '');`

type customer struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Phone   string `json:"phone"`
	Country string `json:"country"`
	Note    string `json:"note"`
	Card    string `json:"card"`
}

type customerList struct {
	Customers []customer `json:"customers"`
	Total     int        `json:"total"`
}

type deletion struct {
	Deleted int64 `json:"deleted"`
}

// crm knows the customers.
type crm struct{ db *sql.DB }

func buildCRM(s *Server, m *server.MCPServer) error {
	c := crm{s.db}
	s.Secret = newSecret()
	id := mcp.WithString("id", mcp.Required(), mcp.Pattern(`^C-[0-9]{1,9}$`), mcp.Description("The customer's id, as C-1."))
	m.AddTools(
		tool("list_customers", "List customers", "Lists customers by id.", reads, c.list,
			mcp.WithString("country", mcp.Pattern(`^[A-Z]{2}$`), mcp.Description("Only customers of this country.")),
			mcp.WithInteger("limit", mcp.Min(1), mcp.Max(10000), mcp.Description("At most so many; 20 without it."))),
		tool("get_customer", "Read a customer", "Reads one customer.", reads, c.get, id),
		tool("update_customer", "Change a customer", "Changes what is given of one customer.", writes, c.update, id,
			mcp.WithString("email", mcp.MaxLength(200), mcp.Description("The new e-mail address.")),
			mcp.WithString("phone", mcp.MaxLength(40), mcp.Description("The new telephone number.")),
			mcp.WithString("note", mcp.MaxLength(2000), mcp.Description("The new note.")),
			mcp.WithString("card", mcp.MaxLength(40), mcp.Description("The number of the card that the customer pays with."))),
		tool("delete_customer", "Delete a customer", "Deletes one customer for good.", destroys, c.remove, id),
		tool("delete_all_customers", "Delete all customers", "Deletes every customer for good.", destroys, c.removeAll),
	)
	return seed(s.db, crmSchema, func(tx *sql.Tx) error {
		for id := 1; id <= 300; id++ {
			p := person(id)
			_, err := tx.Exec("INSERT INTO customers (id, name, email, phone, country, card) VALUES (?, ?, ?, ?, ?, ?)",
				id, p.name, p.email, p.phone, p.country, fmt.Sprintf("***%04d", id*97%10000))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// guarded lets only requests with the server's credential through, if it has one to ask for.
func (s *Server) guarded(next http.Handler) http.Handler {
	if s.Name != "crm" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(CRMHeader)), []byte(s.Secret)) != 1 {
			http.Error(w, "the header "+CRMHeader+" does not hold the key of this CRM", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

const customerColumns = "'C-' || id, name, email, phone, country, note, card"

func scanCustomer(scan func(...any) error) (c customer, err error) {
	return c, scan(&c.ID, &c.Name, &c.Email, &c.Phone, &c.Country, &c.Note, &c.Card)
}

type customerFilter struct {
	Country string `json:"country"`
	Limit   int    `json:"limit"`
}

func (c crm) list(ctx context.Context, f customerFilter) (out customerList, err error) {
	if f.Limit == 0 {
		f.Limit = 20
	}
	err = c.db.QueryRowContext(ctx, "SELECT count(*) FROM customers WHERE ? = '' OR country = ?", f.Country, f.Country).Scan(&out.Total)
	if err != nil {
		return out, err
	}
	out.Customers, err = rows(ctx, c.db, scanCustomer,
		"SELECT "+customerColumns+" FROM customers WHERE ? = '' OR country = ? ORDER BY id LIMIT ?", f.Country, f.Country, f.Limit)
	return out, err
}

type customerID struct {
	ID string `json:"id"`
}

func (c crm) get(ctx context.Context, args customerID) (customer, error) {
	one, err := scanCustomer(c.db.QueryRowContext(ctx, "SELECT "+customerColumns+" FROM customers WHERE 'C-' || id = ?", args.ID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return one, fmt.Errorf("there is no customer %s", args.ID)
	}
	return one, err
}

type customerChange struct {
	ID    string  `json:"id"`
	Email *string `json:"email"`
	Phone *string `json:"phone"`
	Note  *string `json:"note"`
	Card  *string `json:"card"`
}

func (c crm) update(ctx context.Context, u customerChange) (customer, error) {
	_, err := c.db.ExecContext(ctx, `UPDATE customers SET email = coalesce(?, email), phone = coalesce(?, phone), note = coalesce(?, note),
		card = coalesce(?, card) WHERE 'C-' || id = ?`, u.Email, u.Phone, u.Note, u.Card, u.ID)
	if err != nil {
		return customer{}, err
	}
	return c.get(ctx, customerID{u.ID})
}

func (c crm) remove(ctx context.Context, args customerID) (deletion, error) {
	if _, err := c.get(ctx, args); err != nil {
		return deletion{}, err
	}
	return c.delete(ctx, "DELETE FROM customers WHERE 'C-' || id = ?", args.ID)
}

type nothing struct{}

func (c crm) removeAll(ctx context.Context, _ nothing) (deletion, error) {
	return c.delete(ctx, "DELETE FROM customers")
}

func (c crm) delete(ctx context.Context, statement string, args ...any) (out deletion, err error) {
	done, err := c.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return out, err
	}
	out.Deleted, err = done.RowsAffected()
	return out, err
}
