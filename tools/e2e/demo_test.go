package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	mcpgo "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgoproto "github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/libs/policy/sqltext/sqltexttest"
	"headgate.dev/tools/e2e/product"
)

// company is the demo as headgate dev starts it, and the folder in which its servers keep their state.
type company struct {
	*product.Product
	state string
}

// TestDemo lets the demo's people work through clients that we did not write: what the README promises of them holds.
func TestDemo(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	c := &company{Product: product.Start(t, product.Dev, "", "--data", data), state: filepath.Join(data, "demo")}
	for _, part := range []struct {
		name string
		run  func(*testing.T, *company)
	}{
		{"a support agent closes a normal ticket and not a high one", ticketDesk},
		{"an analyst reads the database and does not write it", orderDatabase},
		{"a contractor reads the handbook and sees nothing else", contractor},
		{"a junior engineer looks and a senior one deploys", deployments},
		{"nobody deletes all customers, and who tries raises an alert", deletions},
		{"a list is clamped and a card is masked", changedCalls},
		{"an agent has no more right than its person and its own grants", delegated},
		{"a poisoned tool is not served, and says why", poisonedTool},
		{"a hostile server learns nothing and hides nothing", hostileResults},
		{"a server that drifts loses the tool until a person approved it", drifts},
		{"the seed passes its own tests and is what is in force", seedInForce},
		{"a decision is explained, and a policy is tried on recorded calls", explained},
		{"what a repository declares is changed by it alone, and pruned", owned},
		{"the command line answers with the documented codes", demoCommands},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
	}
}

// worker is a client of a person: what it lists, and what a call answers.
type worker interface {
	list() ([]string, error)
	call(tool string, args map[string]any) (product.Answer, error)
}

// kinds are the clients that each case is tried with.
func kinds() []string {
	return []string{"go-sdk 2025-11-25", "go-sdk 2026-07-28", "mcp-go 2025-11-25", "mcp-go 2026-07-28", "stdio 2025-11-25", "stdio 2026-07-28"}
}

// as opens an endpoint with a kind of client and a token.
func (c *company) as(t *testing.T, kind, token, server string) worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	library, version, _ := strings.Cut(kind, " ")
	if library == "go-sdk" || library == "stdio" {
		var way mcp.Transport = &mcp.StreamableClientTransport{Endpoint: c.MCP(server), HTTPClient: &http.Client{Transport: bearer{token}}}
		if library == "stdio" {
			way = &mcp.CommandTransport{Command: bridge(t, c.Product, server, "HEADGATE_TOKEN="+token)}
		}
		client := mcp.NewClient(&mcp.Implementation{Name: library, Version: "1"}, &mcp.ClientOptions{})
		session, err := client.Connect(ctx, way, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = session.Close() })
		return officialWorker{ctx, session}
	}
	client, err := mcpgo.NewStreamableHttpClient(c.MCP(server), transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Start(ctx); err != nil {
		t.Fatal(err)
	}
	hello := mcpgoproto.InitializeRequest{}
	hello.Params.ProtocolVersion, hello.Params.ClientInfo = version, mcpgoproto.Implementation{Name: "mcp-go", Version: "1"}
	if _, err := client.Initialize(ctx, hello); err != nil {
		t.Fatal(err)
	}
	return mcpGoWorker{ctx, client}
}

type officialWorker struct {
	ctx     context.Context
	session *mcp.ClientSession
}

func (w officialWorker) list() ([]string, error) {
	list, err := w.session.ListTools(w.ctx, nil)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}

func (w officialWorker) call(tool string, args map[string]any) (product.Answer, error) {
	result, err := w.session.CallTool(w.ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return product.Answer{}, err
	}
	return answered(result)
}

type mcpGoWorker struct {
	ctx    context.Context
	client *mcpgo.Client
}

func (w mcpGoWorker) list() ([]string, error) {
	list, err := w.client.ListTools(w.ctx, mcpgoproto.ListToolsRequest{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}

func (w mcpGoWorker) call(tool string, args map[string]any) (product.Answer, error) {
	request := mcpgoproto.CallToolRequest{}
	request.Params.Name, request.Params.Arguments = tool, args
	result, err := w.client.CallTool(w.ctx, request)
	if err != nil {
		return product.Answer{}, err
	}
	return answered(result)
}

// answered reads a library's result as the JSON that it stands for.
func answered(result any) (answer product.Answer, err error) {
	if answer.Body, err = json.Marshal(result); err != nil {
		return answer, err
	}
	answer.Reply.Result = &product.Result{}
	return answer, json.Unmarshal(answer.Body, answer.Reply.Result)
}

// each tries a case with every kind of client.
func (c *company) each(t *testing.T, person, server string, run func(t *testing.T, i int, w worker)) {
	t.Helper()
	for i, kind := range kinds() {
		t.Run(person+" with "+kind, func(t *testing.T) { run(t, i, c.as(t, kind, c.Token(person), server)) })
	}
}

// allowed calls a tool that has to answer, refused one that a rule must stop, absent one that must look as if it were not there.
func allowed(t *testing.T, w worker, tool string, args map[string]any) string {
	t.Helper()
	answer, err := w.call(tool, args)
	if err != nil || !answer.OK() {
		t.Fatalf("%s %v: %v %s", tool, args, err, answer.Body)
	}
	return string(answer.Body)
}

func refused(t *testing.T, w worker, tool string, args map[string]any, effect, rule string) string {
	t.Helper()
	answer, err := w.call(tool, args)
	if d := answer.Decision(); err != nil || answer.OK() || d.Effect != effect || d.Rule != rule || !strings.Contains(answer.Text(), rule) {
		t.Fatalf("%s %v is not refused by %s: %v %s", tool, args, rule, err, answer.Body)
	}
	return answer.Text()
}

func absent(t *testing.T, w worker, tool string, args map[string]any) {
	t.Helper()
	if answer, err := w.call(tool, args); err == nil || !strings.Contains(err.Error(), "Unknown tool: "+tool) && !strings.Contains(err.Error(), "unknown tool") {
		t.Errorf("%s is there: %v %s", tool, err, answer.Body)
	}
}

func lists(t *testing.T, w worker, want ...string) {
	t.Helper()
	got, err := w.list()
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the list is %v (%v), not %v", got, err, want)
	}
}

func ticketDesk(t *testing.T, c *company) {
	const rule = "tickets/high-priority-needs-a-supervisor"
	c.each(t, "sam", "tickets", func(t *testing.T, i int, w worker) {
		lists(t, w, "close_ticket", "comment_ticket", "get_ticket", "list_tickets")
		allowed(t, w, "list_tickets", map[string]any{"status": "open"})
		normal, high := fmt.Sprintf("T-%d", 1+2*i), fmt.Sprintf("T-%d", 2+2*i)
		if got := allowed(t, w, "get_ticket", map[string]any{"id": normal}); !strings.Contains(got, `"priority":"normal"`) {
			t.Errorf("ticket %s: %s", normal, got)
		}
		if got := allowed(t, w, "close_ticket", map[string]any{"id": normal, "resolution": "Done."}); !strings.Contains(got, `"status":"closed"`) {
			t.Errorf("ticket %s is not closed: %s", normal, got)
		}
		// The agent may say what it likes: the gate reads the ticket itself.
		refused(t, w, "close_ticket", map[string]any{"id": high, "resolution": "priority: normal, the supervisor agreed"}, "escalate", rule)
		allowed(t, w, "comment_ticket", map[string]any{"id": high, "text": "This ticket has priority normal."})
		refused(t, w, "close_ticket", map[string]any{"id": high}, "escalate", rule)
		if answer, err := w.call("close_ticket", map[string]any{"id": high, "priority": "normal"}); err != nil || answer.OK() || answer.Decision().Effect != "block" {
			t.Errorf("an argument that the tool does not know passed: %v %s", err, answer.Body)
		}
		if answer, err := w.call("close_ticket", map[string]any{"id": "T-999"}); err != nil || answer.OK() || answer.Decision().Effect != "block" {
			t.Errorf("a ticket whose priority cannot be read was closed: %v %s", err, answer.Body)
		}
		if got := allowed(t, w, "get_ticket", map[string]any{"id": high}); !strings.Contains(got, `"status":"open"`) {
			t.Errorf("ticket %s is not open any more: %s", high, got)
		}
	})
	c.each(t, "sue", "tickets", func(t *testing.T, i int, w worker) {
		allowed(t, w, "close_ticket", map[string]any{"id": fmt.Sprintf("T-%d", 2+2*i)})
	})
}

// writes are ways to change a database that look like a read to something, or are one in another dialect.
func writes() []string {
	return []string{
		"DELETE FROM orders", "delete\nfrom orders", "UPDATE orders SET cents = 0", "INSERT INTO orders VALUES (9001, 1, 'x', 1, 1, 'now')",
		"REPLACE INTO orders VALUES (1, 1, 'x', 1, 1, 'now')", "DROP TABLE orders", "CREATE TABLE mine (a)", "CREATE TEMP TABLE mine AS SELECT 1",
		"ALTER TABLE orders RENAME TO old", "CREATE TRIGGER t AFTER INSERT ON orders BEGIN DELETE FROM orders; END", "CREATE VIEW v AS SELECT 1", "VACUUM", "REINDEX",
		"VACUUM INTO 'copy.db'", "ANALYZE", "PRAGMA user_version = 5", "PRAGMA writable_schema = 1", "ATTACH DATABASE 'other.db' AS other", "TRUNCATE orders",
		"SELECT 1; DELETE FROM orders", "SELECT 1;;;; DROP TABLE orders", "BEGIN; DELETE FROM orders; COMMIT", "SAVEPOINT a", "EXPLAIN ANALYZE DELETE FROM orders",
		"WITH x AS (SELECT 1) DELETE FROM orders", "WITH d AS (DELETE FROM orders RETURNING id) SELECT * FROM d", "SELECT * FROM [DELETE FROM orders RETURNING id]",
		"SELECT 1 FROM orders WHERE id = (DELETE FROM orders RETURNING 1)", "SELECT * INTO mine FROM orders", "SELECT * FROM orders FOR UPDATE",
		"/* SELECT */ DELETE FROM orders", "-- SELECT\nDELETE FROM orders",
		// Two parsers read these differently: nested comments, strings that escape, dollars that quote, a NUL that ends the text.
		"SELECT 1 /* /* */ ; DELETE FROM orders -- */", `SELECT b'\' FROM (SELECT 1 AS b); DELETE FROM orders; --'`,
		`SELECT e'\' FROM (SELECT 1 AS e); DELETE FROM orders; --'`, `SELECT '\'; DELETE FROM orders; --'`, "SELECT $$; DELETE FROM orders; --$$",
		"SELECT $a$; DELETE FROM orders; --$a$", "SELECT 1\x00; DELETE FROM orders", "SELECT 1 --\r; DELETE FROM orders", "\ufeffDELETE FROM orders",
		"DELETE\u00a0FROM\u00a0orders", "ＤＥＬＥＴＥ FROM orders", "SELECT load_extension('x')", "SELECT writefile('x', 'y')", "SELECT nextval('s')",
		"PREPARE p AS DELETE FROM orders", "EXECUTE p", "DO $$ BEGIN DELETE FROM orders; END $$", "COPY orders TO 'x'", "please delete all orders", ";",
	}
}

// attacks are the statements that the judge of SQL is tried with, on a table of the demo's, whose server speaks SQLite.
func attacks() []string {
	table := regexp.MustCompile(`\bt\b`)
	var all []string
	for _, one := range slices.Concat(sqltexttest.Attacks(), sqltexttest.SQLiteAttacks()) {
		// What is not UTF-8 cannot be written in JSON, and the tool's schema wants at least one character.
		if utf8.ValidString(one) && one != "" && !slices.Contains(sqltexttest.HarmlessInSQLite(), one) {
			all = append(all, table.ReplaceAllString(one, "orders"))
		}
	}
	return all
}

func orderDatabase(t *testing.T, c *company) {
	before := c.files(t, "sql.db")
	c.each(t, "ana", "sql", func(t *testing.T, _ int, w worker) {
		lists(t, w, "query")
		got := allowed(t, w, "query", map[string]any{"query": "SELECT country, count(*) AS n FROM customers GROUP BY country ORDER BY country"})
		if !strings.Contains(got, `"country":"BR"`) {
			t.Errorf("the database answered %s", got)
		}
		for _, query := range writes() {
			refused(t, w, "query", map[string]any{"query": query}, "block", "orders/nobody-writes")
		}
		for _, query := range attacks() {
			answer, err := w.call("query", map[string]any{"query": query})
			if d := answer.Decision(); err != nil || answer.OK() || d.Effect != "block" || d.Rule != "orders/nobody-writes" {
				t.Errorf("%q is not blocked by orders/nobody-writes: %s %v", query, answer.Body, err)
			}
		}
		if got := allowed(t, w, "query", map[string]any{"query": "SELECT count(*) AS n FROM orders"}); !strings.Contains(got, `"n":8000`) {
			t.Errorf("there are not 8,000 orders: %s", got)
		}
	})
	if c.files(t, "sql.db") != before {
		t.Error("the files of the database changed")
	}
}

// files is a hash of a demo server's state on disk.
func (c *company) files(t *testing.T, name string) string {
	t.Helper()
	h := sha256.New()
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(filepath.Join(c.state, name+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(h, "%d %s", len(content), content); err != nil {
			t.Fatal(err)
		}
	}
	return string(h.Sum(nil))
}

func contractor(t *testing.T, c *company) {
	c.each(t, "carl", "", func(t *testing.T, _ int, w worker) { lists(t, w, "docs.read_doc", "docs.search_docs") })
	c.each(t, "carl", "docs", func(t *testing.T, _ int, w worker) {
		lists(t, w, "read_doc", "search_docs")
		allowed(t, w, "search_docs", map[string]any{"query": "contractor"})
		allowed(t, w, "read_doc", map[string]any{"id": "contractors"})
	})
	for _, server := range []string{"crm", "nowhere"} {
		c.each(t, "carl", server, func(t *testing.T, _ int, w worker) {
			lists(t, w)
			absent(t, w, "list_customers", map[string]any{})
		})
	}
	for _, modern := range eras() {
		there, nowhere := c.Client("carl", "crm", modern), c.Client("carl", "nowhere", modern)
		if a, b := there.List(), nowhere.List(); a.Status != b.Status || string(a.Body) != string(b.Body) {
			t.Errorf("modern %v: a hidden server lists %d %s, a missing one %d %s", modern, a.Status, a.Body, b.Status, b.Body)
		}
		if a, b := there.Call("list_customers", nil), nowhere.Call("list_customers", nil); a.Status != b.Status || string(a.Body) != string(b.Body) {
			t.Errorf("modern %v: a hidden tool answers %d %s, a missing one %d %s", modern, a.Status, a.Body, b.Status, b.Body)
		}
	}
}

func deployments(t *testing.T, c *company) {
	c.each(t, "jun", "deploy", func(t *testing.T, _ int, w worker) {
		lists(t, w, "status")
		allowed(t, w, "status", map[string]any{"service": "shop"})
		absent(t, w, "deploy", map[string]any{"service": "shop", "version": "1.6.0", "env": "staging"})
		absent(t, w, "rollback", map[string]any{"service": "shop", "env": "staging"})
	})
	c.each(t, "sen", "deploy", func(t *testing.T, i int, w worker) {
		lists(t, w, "deploy", "rollback", "status")
		version := fmt.Sprintf("1.7.%d", i)
		if got := allowed(t, w, "deploy", map[string]any{"service": "shop", "version": version, "env": "production"}); !strings.Contains(got, version) {
			t.Errorf("deploy answered %s", got)
		}
		refused(t, w, "deploy", map[string]any{"service": "shop", "version": version + "-rc.1", "env": "production"}, "block", "deployments/no-candidates-in-production")
		if got := allowed(t, w, "status", map[string]any{"service": "shop", "env": "production"}); !strings.Contains(got, version) || strings.Contains(got, "rc.1") {
			t.Errorf("what runs is %s", got)
		}
	})
}
