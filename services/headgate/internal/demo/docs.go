package demo

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

//go:embed pages/*.md
var pages embed.FS

const docSchema = `CREATE VIRTUAL TABLE pages USING fts5 (id UNINDEXED, title, text, tokenize = 'porter unicode61');`

type page struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

type hit struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Excerpt string `json:"excerpt"`
}

type hits struct {
	Pages []hit `json:"pages"`
}

// handbook is a searchable set of pages.
type handbook struct{ db *sql.DB }

func buildDocs(s *Server, m *server.MCPServer) error {
	h := handbook{s.db}
	m.AddTools(
		tool("search_docs", "Search the handbook", "Finds pages of the handbook by words.", reads, h.search,
			mcp.WithString("query", mcp.Required(), mcp.MinLength(1), mcp.MaxLength(200), mcp.Description("Words.")),
			mcp.WithInteger("limit", mcp.Min(1), mcp.Max(20), mcp.Description("At most so many; 5 without it."))),
		tool("read_doc", "Read a page", "Reads one page of the handbook.", reads, h.read,
			mcp.WithString("id", mcp.Required(), mcp.Pattern(`^[a-z0-9-]{1,64}$`), mcp.Description("The page's id, as search_docs says it."))),
	)
	return seed(s.db, docSchema, fillPages)
}

func fillPages(tx *sql.Tx) error {
	files, err := pages.ReadDir("pages")
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := pages.ReadFile(path.Join("pages", file.Name()))
		if err != nil {
			return err
		}
		title, text, _ := strings.Cut(strings.TrimPrefix(string(raw), "# "), "\n")
		id := strings.TrimSuffix(file.Name(), ".md")
		if _, err := tx.Exec("INSERT INTO pages (id, title, text) VALUES (?, ?, ?)", id, title, strings.TrimSpace(text)); err != nil {
			return err
		}
	}
	return nil
}

type docQuery struct {
	Query string `json:"query"`
	Limit int    `json:"limit"`
}

func (h handbook) search(ctx context.Context, q docQuery) (out hits, err error) {
	if q.Limit == 0 {
		q.Limit = 5
	}
	// Each word in quotes: what a person types is not the index's query language.
	var words []string
	for word := range strings.FieldsSeq(q.Query) {
		words = append(words, `"`+strings.ReplaceAll(word, `"`, `""`)+`"`)
	}
	out.Pages, err = rows(ctx, h.db, func(scan func(...any) error) (p hit, err error) {
		return p, scan(&p.ID, &p.Title, &p.Excerpt)
	}, "SELECT id, title, snippet(pages, 2, '', '', '…', 24) FROM pages WHERE pages MATCH ? ORDER BY rank LIMIT ?", strings.Join(words, " OR "), q.Limit)
	return out, err
}

type docID struct {
	ID string `json:"id"`
}

func (h handbook) read(ctx context.Context, args docID) (out page, err error) {
	err = h.db.QueryRowContext(ctx, "SELECT id, title, text FROM pages WHERE id = ?", args.ID).Scan(&out.ID, &out.Title, &out.Text)
	if errors.Is(err, sql.ErrNoRows) {
		return out, fmt.Errorf("there is no page %s", args.ID)
	}
	return out, err
}
