// Package store keeps in SQL what must survive a restart: what servers showed, what was approved of it, and the kills in force.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/trust/internal/pin"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema, numbered from 100.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// Key names a server.
type Key struct{ Tenant, Name string }

// About is what a server says of itself. It decides nothing.
type About struct {
	Versions     []string
	ServerInfo   string
	Capabilities string
	SeenAt       time.Time
}

// State is all that is kept of one server.
type State struct {
	Pins  pin.Server
	About About
}

// Target is what a kill stops.
type Target struct{ Tenant, Kind, Name string }

// Kill is one stop in force.
type Kill struct {
	Target Target
	Reason string
	By     string
	At     time.Time
}

// reader is what reading needs: a database or a transaction of it.
type reader interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Save writes the state of one server in place of the one before. All definitions go into one document: they are always read and written together, and
// ten thousand rows would keep a kill waiting.
func Save(ctx context.Context, tx *sqlstore.Tx, key Key, s State) error {
	definitions, err := encode(s.Pins.Definitions)
	if err != nil {
		return fmt.Errorf("writing the definitions of %s: %w", key.Name, err)
	}
	if err := Remove(ctx, tx, key); err != nil {
		return err
	}
	quarantine := pin.Quarantine{}
	if s.Pins.Quarantine != nil {
		quarantine = *s.Pins.Quarantine
	}
	_, err = tx.Exec(ctx, `INSERT INTO server_states (tenant, server, url, approved_url, ever_approved, quarantined, quarantine_reason, quarantined_by, looked,
		instructions, seen_instructions, instructions_problem, versions, server_info, capabilities, seen_at, definitions)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		key.Tenant, key.Name, s.Pins.URL, s.Pins.ApprovedURL, s.Pins.Ever, s.Pins.Quarantine != nil, quarantine.Reason, quarantine.By, s.Pins.Looked,
		blob(s.Pins.Instructions), blob(s.Pins.SeenInstructions), s.Pins.InstructionsProblem, strings.Join(s.About.Versions, " "),
		blob(s.About.ServerInfo), blob(s.About.Capabilities), moment(s.About.SeenAt), definitions)
	if err != nil {
		return fmt.Errorf("writing the state of %s: %w", key.Name, err)
	}
	return nil
}

// Remove forgets one server and all its pins. None is no error.
func Remove(ctx context.Context, tx *sqlstore.Tx, key Key) error {
	if _, err := tx.Exec(ctx, "DELETE FROM server_states WHERE tenant = ? AND server = ?", key.Tenant, key.Name); err != nil {
		return fmt.Errorf("removing the state of %s: %w", key.Name, err)
	}
	return nil
}

// PutKill writes a kill. One that is there already stays as it is.
func PutKill(ctx context.Context, tx *sqlstore.Tx, k Kill) error {
	_, err := tx.Exec(ctx, `INSERT INTO kills (tenant, kind, name, reason, killed_by, killed_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, kind, name) DO NOTHING`,
		k.Target.Tenant, k.Target.Kind, k.Target.Name, k.Reason, k.By, moment(k.At))
	if err != nil {
		return fmt.Errorf("writing a kill: %w", err)
	}
	return nil
}

// RemoveKill takes a kill back. None is no error.
func RemoveKill(ctx context.Context, tx *sqlstore.Tx, t Target) error {
	if _, err := tx.Exec(ctx, "DELETE FROM kills WHERE tenant = ? AND kind = ? AND name = ?", t.Tenant, t.Kind, t.Name); err != nil {
		return fmt.Errorf("removing a kill: %w", err)
	}
	return nil
}

// Load reads the states of all servers.
func Load(ctx context.Context, from reader) (map[Key]State, error) {
	states := map[Key]State{}
	err := each(ctx, from, `SELECT tenant, server, url, approved_url, ever_approved, quarantined, quarantine_reason, quarantined_by, looked, instructions,
		seen_instructions, instructions_problem, versions, server_info, capabilities, seen_at, definitions FROM server_states`, func(rows *sql.Rows) error {
		var key Key
		var s State
		var quarantined bool
		var quarantine pin.Quarantine
		var instructions, seen, versions, info, capabilities, at, definitions string
		err := rows.Scan(&key.Tenant, &key.Name, &s.Pins.URL, &s.Pins.ApprovedURL, &s.Pins.Ever, &quarantined, &quarantine.Reason, &quarantine.By, &s.Pins.Looked,
			&instructions, &seen, &s.Pins.InstructionsProblem, &versions, &info, &capabilities, &at, &definitions)
		if err != nil {
			return err
		}
		if quarantined {
			s.Pins.Quarantine = &quarantine
		}
		s.About.Versions = strings.Fields(versions)
		d := decoder{}
		s.Pins.Instructions, s.Pins.SeenInstructions = d.text(instructions), d.text(seen)
		s.About.ServerInfo, s.About.Capabilities, s.About.SeenAt = d.text(info), d.text(capabilities), d.moment(at)
		s.Pins.Definitions = d.definitions(definitions)
		states[key] = s
		return d.err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the states of servers: %w", err)
	}
	return states, nil
}

// Kills reads the kills in force.
func Kills(ctx context.Context, from reader) ([]Kill, error) {
	var kills []Kill
	err := each(ctx, from, "SELECT tenant, kind, name, reason, killed_by, killed_at FROM kills ORDER BY tenant, kind, name", func(rows *sql.Rows) error {
		var k Kill
		var at string
		if err := rows.Scan(&k.Target.Tenant, &k.Target.Kind, &k.Target.Name, &k.Reason, &k.By, &at); err != nil {
			return err
		}
		d := decoder{}
		k.At = d.moment(at)
		kills = append(kills, k)
		return d.err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the kills: %w", err)
	}
	return kills, nil
}

func each(ctx context.Context, from reader, query string, take func(*sql.Rows) error) (err error) {
	rows, err := from.Query(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
