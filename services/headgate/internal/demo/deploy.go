package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const deploySchema = `
CREATE TABLE releases (id INTEGER PRIMARY KEY, service TEXT NOT NULL, env TEXT NOT NULL, version TEXT NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL);
CREATE INDEX releases_by_place ON releases (service, env, id);`

type release struct {
	Service  string `json:"service"`
	Env      string `json:"env"`
	Version  string `json:"version"`
	At       string `json:"at"`
	Kind     string `json:"kind"`
	Previous string `json:"previous,omitempty"`
}

type releaseList struct {
	Releases []release `json:"releases"`
}

type place struct {
	Service string `json:"service"`
	Env     string `json:"env"`
}

type deployment struct {
	Service string `json:"service"`
	Version string `json:"version"`
	Env     string `json:"env"`
}

// fleet knows what runs where.
type fleet struct{ db *sql.DB }

func buildDeploy(s *Server, m *server.MCPServer) error {
	f := fleet{s.db}
	service := func(more ...mcp.PropertyOption) mcp.ToolOption {
		return mcp.WithString("service", append(more, mcp.Enum("shop", "payments", "search", "mailer"), mcp.Description("The service."))...)
	}
	env := func(more ...mcp.PropertyOption) mcp.ToolOption {
		return mcp.WithString("env", append(more, mcp.Enum("staging", "production"), mcp.Description("The environment."))...)
	}
	m.AddTools(
		tool("status", "What runs where", "Says which version of which service runs in which environment.", reads, f.status, service(), env()),
		tool("deploy", "Deploy", "Deploys a version of a service.", destroys, f.deploy, service(mcp.Required()), env(mcp.Required()),
			mcp.WithString("version", mcp.Required(), mcp.Pattern(`^[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$`), mcp.Description("The version, as 1.2.3 or 1.2.3-rc.1."))),
		tool("rollback", "Roll back", "Goes back to the version before.", destroys, f.rollback, service(mcp.Required()), env(mcp.Required())),
	)
	return seed(s.db, deploySchema, func(tx *sql.Tx) error {
		at := time.Date(2026, time.November, 16, 10, 0, 0, 0, time.UTC)
		for i, name := range [...]string{"shop", "payments", "search", "mailer"} {
			for j, env := range [...]string{"production", "staging"} {
				for k := range 2 {
					_, err := tx.Exec("INSERT INTO releases (service, env, version, at, kind) VALUES (?, ?, ?, ?, 'deploy')",
						name, env, fmt.Sprintf("%d.%d.%d", i+1, 4+j, k), at.Add(time.Duration(8*i+2*j+k)*time.Hour).Format(time.RFC3339))
					if err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

func (f fleet) status(ctx context.Context, at place) (out releaseList, err error) {
	out.Releases, err = rows(ctx, f.db, func(scan func(...any) error) (r release, err error) {
		return r, scan(&r.Service, &r.Env, &r.Version, &r.At, &r.Kind)
	}, `SELECT service, env, version, at, kind FROM releases WHERE id IN (SELECT max(id) FROM releases GROUP BY service, env)
		AND (? = '' OR service = ?) AND (? = '' OR env = ?) ORDER BY service, env`, at.Service, at.Service, at.Env, at.Env)
	return out, err
}

func (f fleet) deploy(ctx context.Context, d deployment) (release, error) {
	current, err := f.current(ctx, d.Service, d.Env, 0)
	if err != nil {
		return release{}, err
	}
	if current == d.Version {
		return release{}, fmt.Errorf("%s %s runs in %s already", d.Service, d.Version, d.Env)
	}
	return f.record(ctx, release{Service: d.Service, Env: d.Env, Version: d.Version, Kind: "deploy", Previous: current})
}

func (f fleet) rollback(ctx context.Context, at place) (release, error) {
	current, err := f.current(ctx, at.Service, at.Env, 0)
	if err != nil {
		return release{}, err
	}
	before, err := f.current(ctx, at.Service, at.Env, 1)
	if err != nil {
		return release{}, err
	}
	return f.record(ctx, release{Service: at.Service, Env: at.Env, Version: before, Kind: "rollback", Previous: current})
}

// current answers the version that runs, or the one so many releases ago.
func (f fleet) current(ctx context.Context, service, env string, ago int) (v string, err error) {
	err = f.db.QueryRowContext(ctx, "SELECT version FROM releases WHERE service = ? AND env = ? ORDER BY id DESC LIMIT 1 OFFSET ?", service, env, ago).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%s has no such release in %s", service, env)
	}
	return v, err
}

func (f fleet) record(ctx context.Context, r release) (release, error) {
	r.At = time.Now().UTC().Format(time.RFC3339)
	_, err := f.db.ExecContext(ctx, "INSERT INTO releases (service, env, version, at, kind) VALUES (?, ?, ?, ?, ?)", r.Service, r.Env, r.Version, r.At, r.Kind)
	return r, err
}
