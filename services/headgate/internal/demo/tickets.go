package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const ticketSchema = `
CREATE TABLE tickets (id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL, priority TEXT NOT NULL CHECK (priority IN ('normal', 'high')),
	status TEXT NOT NULL CHECK (status IN ('open', 'closed')), owner TEXT NOT NULL, customer TEXT NOT NULL, opened TEXT NOT NULL,
	resolution TEXT NOT NULL DEFAULT '');
CREATE TABLE comments (ticket TEXT NOT NULL REFERENCES tickets (id), at TEXT NOT NULL, text TEXT NOT NULL);`

// ticketSeeds alternate so that T-1 is normal and T-2 is high.
var ticketSeeds = [...]struct{ title, body, customer string }{
	{"Printer on the third floor prints blank pages", "Changed the toner twice already.", "Northwind"},
	{"All payments fail since 09:40", "Checkout answers 502 for every customer in the EU.", "Contoso"},
	{"Wrong VAT number on the March invoice", "Please send a corrected one.", "Fabrikam"},
	{"Data of another customer is visible in the report", "Page 3 of the weekly export shows names that are not ours.", "Adventure Works"},
	{"How do I change the language of the portal?", "The menu is in German.", "Litware"},
	{"Warehouse scanners lose their connection", "Forty people cannot work.", "Tailspin Toys"},
	{"Second monitor for the new colleague", "She starts on Monday.", "Northwind"},
	{"Backup of the ledger has not run for three days", "The job says success, the bucket is empty.", "Woodgrove Bank"},
	{"Newsletter was sent twice", "Not urgent, but customers noticed.", "Proseware"},
	{"Login as another user is possible with an old link", "Link attached. It must not be shared.", "Contoso"},
	{"Add the holiday calendar of 2027", "For the shift planner.", "Fourth Coffee"},
	{"Delivery addresses are cut after 30 characters", "Parcels come back.", "Wingtip Toys"},
}

type ticket struct {
	ID         string          `json:"id"`
	Title      string          `json:"title"`
	Priority   string          `json:"priority"`
	Status     string          `json:"status"`
	Owner      string          `json:"owner"`
	Customer   string          `json:"customer"`
	Opened     string          `json:"opened"`
	Body       string          `json:"body,omitempty"`
	Resolution string          `json:"resolution,omitempty"`
	Comments   []ticketComment `json:"comments,omitempty"`
}

type ticketComment struct {
	At   string `json:"at"`
	Text string `json:"text"`
}

type ticketList struct {
	Tickets []ticket `json:"tickets"`
	Total   int      `json:"total"`
}

// tickets is the ticket desk.
type tickets struct{ db *sql.DB }

func buildTickets(s *Server, m *server.MCPServer) error {
	t := tickets{s.db}
	id := mcp.WithString("id", mcp.Required(), mcp.Description("The ticket's id, as T-1."), mcp.Pattern(`^T-[0-9]{1,9}$`))
	m.AddTools(
		tool("list_tickets", "List tickets", "Lists tickets, oldest first, without their text.", reads, t.list,
			mcp.WithString("status", mcp.Enum("open", "closed"), mcp.Description("Only tickets of this status.")),
			mcp.WithString("priority", mcp.Enum("normal", "high"), mcp.Description("Only tickets of this priority.")),
			mcp.WithInteger("limit", mcp.Min(1), mcp.Max(100), mcp.Description("At most so many; 20 without it."))),
		tool("get_ticket", "Read a ticket", "Reads one ticket with its text and comments.", reads, t.get, id),
		tool("close_ticket", "Close a ticket", "Closes one open ticket.", writes, t.close, id,
			mcp.WithString("resolution", mcp.MaxLength(2000), mcp.Description("What solved it."))),
		tool("comment_ticket", "Comment on a ticket", "Adds a comment to one ticket.", writes, t.comment, id,
			mcp.WithString("text", mcp.Required(), mcp.MinLength(1), mcp.MaxLength(2000), mcp.Description("The comment."))),
	)
	return seed(s.db, ticketSchema, fillTickets)
}

func fillTickets(tx *sql.Tx) error {
	owners := [...]string{"sam", "sue"}
	start := time.Date(2026, time.November, 2, 8, 0, 0, 0, time.UTC)
	for i := range 36 {
		from, priority, status := ticketSeeds[i%len(ticketSeeds)], "normal", "open"
		if i%2 == 1 {
			priority = "high"
		}
		if i >= 24 {
			status = "closed"
		}
		_, err := tx.Exec(`INSERT INTO tickets (id, title, body, priority, status, owner, customer, opened) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			fmt.Sprintf("T-%d", i+1), from.title, from.body, priority, status, owners[i/2%2], from.customer,
			start.Add(time.Duration(i)*7*time.Hour).Format(time.RFC3339))
		if err != nil {
			return err
		}
	}
	return nil
}

type ticketFilter struct {
	Status   string `json:"status"`
	Priority string `json:"priority"`
	Limit    int    `json:"limit"`
}

func (t tickets) list(ctx context.Context, f ticketFilter) (ticketList, error) {
	if f.Limit == 0 {
		f.Limit = 20
	}
	var where []string
	var args []any
	for _, c := range [...]struct{ column, value string }{{"status", f.Status}, {"priority", f.Priority}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	filter := ""
	if len(where) > 0 {
		filter = " WHERE " + strings.Join(where, " AND ")
	}
	var out ticketList
	if err := t.db.QueryRowContext(ctx, "SELECT count(*) FROM tickets"+filter, args...).Scan(&out.Total); err != nil {
		return out, err
	}
	var err error
	out.Tickets, err = rows(ctx, t.db, func(scan func(...any) error) (one ticket, err error) {
		return one, scan(&one.ID, &one.Title, &one.Priority, &one.Status, &one.Owner, &one.Customer, &one.Opened)
	}, "SELECT id, title, priority, status, owner, customer, opened FROM tickets"+filter+" ORDER BY opened LIMIT ?", append(args, f.Limit)...)
	return out, err
}

type ticketID struct {
	ID string `json:"id"`
}

func (t tickets) get(ctx context.Context, args ticketID) (ticket, error) {
	var one ticket
	err := t.db.QueryRowContext(ctx, "SELECT id, title, priority, status, owner, customer, opened, body, resolution FROM tickets WHERE id = ?", args.ID).
		Scan(&one.ID, &one.Title, &one.Priority, &one.Status, &one.Owner, &one.Customer, &one.Opened, &one.Body, &one.Resolution)
	if errors.Is(err, sql.ErrNoRows) {
		return ticket{}, fmt.Errorf("there is no ticket %s", args.ID)
	}
	if err != nil {
		return ticket{}, err
	}
	one.Comments, err = rows(ctx, t.db, func(scan func(...any) error) (c ticketComment, err error) {
		return c, scan(&c.At, &c.Text)
	}, "SELECT at, text FROM comments WHERE ticket = ? ORDER BY rowid", args.ID)
	return one, err
}

type ticketClosing struct {
	ID         string `json:"id"`
	Resolution string `json:"resolution"`
}

func (t tickets) close(ctx context.Context, args ticketClosing) (ticket, error) {
	done, err := t.db.ExecContext(ctx, "UPDATE tickets SET status = 'closed', resolution = ? WHERE id = ? AND status = 'open'", args.Resolution, args.ID)
	if err != nil {
		return ticket{}, err
	}
	one, err := t.get(ctx, ticketID{args.ID})
	if err != nil {
		return ticket{}, err
	}
	if changed, err := done.RowsAffected(); err != nil || changed == 0 {
		return ticket{}, fmt.Errorf("the ticket %s is closed already", args.ID)
	}
	return one, nil
}

type ticketRemark struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

func (t tickets) comment(ctx context.Context, args ticketRemark) (ticket, error) {
	if _, err := t.get(ctx, ticketID{args.ID}); err != nil {
		return ticket{}, err
	}
	_, err := t.db.ExecContext(ctx, "INSERT INTO comments (ticket, at, text) VALUES (?, ?, ?)", args.ID, time.Now().UTC().Format(time.RFC3339), args.Text)
	if err != nil {
		return ticket{}, err
	}
	return t.get(ctx, ticketID{args.ID})
}
