// Package store keeps in SQL what must survive a restart: what servers showed, what was approved of it, and the kills in force.
package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/base64"
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

// Save writes the state of one server in place of the one before.
func Save(ctx context.Context, tx *sqlstore.Tx, key Key, s State) error {
	if err := Remove(ctx, tx, key); err != nil {
		return err
	}
	quarantine := pin.Quarantine{}
	if s.Pins.Quarantine != nil {
		quarantine = *s.Pins.Quarantine
	}
	_, err := tx.Exec(ctx, `INSERT INTO server_states (tenant, server, url, approved_url, ever_approved, quarantined, quarantine_reason, quarantined_by, looked,
		instructions, seen_instructions, instructions_problem, versions, server_info, capabilities, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		key.Tenant, key.Name, s.Pins.URL, s.Pins.ApprovedURL, s.Pins.Ever, s.Pins.Quarantine != nil, quarantine.Reason, quarantine.By, s.Pins.Looked,
		blob(s.Pins.Instructions), blob(s.Pins.SeenInstructions), s.Pins.InstructionsProblem, strings.Join(s.About.Versions, " "),
		blob(s.About.ServerInfo), blob(s.About.Capabilities), moment(s.About.SeenAt))
	if err != nil {
		return fmt.Errorf("writing the state of %s: %w", key.Name, err)
	}
	for i, d := range s.Pins.Definitions {
		var approved pin.Approval
		var seen pin.Shown
		if d.Approved != nil {
			approved = *d.Approved
		}
		if d.Seen != nil {
			seen = *d.Seen
		}
		_, err := tx.Exec(ctx, `INSERT INTO definitions (tenant, server, position, name, approved_hash, approved, approved_by, approved_at, seen_hash, seen, problem)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, key.Tenant, key.Name, i, blob(d.Name), approved.Hash, blob(string(approved.Raw)), approved.By, moment(approved.At),
			seen.Hash, blob(string(seen.Raw)), seen.Problem)
		if err != nil {
			return fmt.Errorf("writing a definition of %s: %w", key.Name, err)
		}
	}
	return nil
}

// Remove forgets one server and all its pins. None is no error.
func Remove(ctx context.Context, tx *sqlstore.Tx, key Key) error {
	for _, table := range []string{"server_states", "definitions"} {
		if _, err := tx.Exec(ctx, "DELETE FROM "+table+" WHERE tenant = ? AND server = ?", key.Tenant, key.Name); err != nil {
			return fmt.Errorf("removing the state of %s: %w", key.Name, err)
		}
	}
	return nil
}

// PutKill writes a kill. One that is there already stays as it is.
func PutKill(ctx context.Context, tx *sqlstore.Tx, k Kill) error {
	_, err := tx.Exec(ctx, "INSERT INTO kills (tenant, kind, name, reason, killed_by, killed_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, kind, name) DO NOTHING",
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
		seen_instructions, instructions_problem, versions, server_info, capabilities, seen_at FROM server_states`, func(rows *sql.Rows) error {
		var key Key
		var s State
		var quarantined bool
		var quarantine pin.Quarantine
		var instructions, seen, versions, info, capabilities, at string
		err := rows.Scan(&key.Tenant, &key.Name, &s.Pins.URL, &s.Pins.ApprovedURL, &s.Pins.Ever, &quarantined, &quarantine.Reason, &quarantine.By, &s.Pins.Looked,
			&instructions, &seen, &s.Pins.InstructionsProblem, &versions, &info, &capabilities, &at)
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
		states[key] = s
		return d.err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the states of servers: %w", err)
	}
	return states, loadDefinitions(ctx, from, states)
}

func loadDefinitions(ctx context.Context, from reader, states map[Key]State) error {
	err := each(ctx, from, `SELECT tenant, server, name, approved_hash, approved, approved_by, approved_at, seen_hash, seen, problem FROM definitions
		ORDER BY tenant, server, position`, func(rows *sql.Rows) error {
		var key Key
		var name, approved, at, raw string
		var a pin.Approval
		var seen pin.Shown
		if err := rows.Scan(&key.Tenant, &key.Name, &name, &a.Hash, &approved, &a.By, &at, &seen.Hash, &raw, &seen.Problem); err != nil {
			return err
		}
		d := decoder{}
		definition := pin.Definition{Name: d.text(name)}
		if a.Hash != "" {
			a.Raw, a.At = []byte(d.text(approved)), d.moment(at)
			definition.Approved = &a
		}
		if seen.Hash != "" {
			seen.Name, seen.Raw = definition.Name, []byte(d.text(raw))
			definition.Seen = &seen
		}
		s := states[key]
		s.Pins.Definitions = append(s.Pins.Definitions, definition)
		states[key] = s
		return d.err
	})
	if err != nil {
		return fmt.Errorf("reading definitions: %w", err)
	}
	return nil
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

// blob is what a server wrote, in a form that every database keeps to the byte: PostgreSQL's text takes no NUL.
func blob(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return sqlstore.Time(t)
}

// decoder remembers the first thing that could not be read.
type decoder struct{ err error }

func (d *decoder) text(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	d.err = errors.Join(d.err, err)
	return string(raw)
}

func (d *decoder) moment(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := sqlstore.ParseTime(text)
	d.err = errors.Join(d.err, err)
	return t
}
