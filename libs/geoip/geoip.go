// Package geoip says in which country an address is, by a database file in MaxMind's format that an operator provides (GeoLite2-Country, GeoIP2,
// DB-IP and others). The file is read again when it changes.
package geoip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/oschwald/maxminddb-golang/v2"

	"headgate.dev/libs/certfile"
	"headgate.dev/libs/fault"
)

// maxBytes bounds a database: the largest of countries have some ten megabytes, the largest of cities a hundred.
const maxBytes = 512 << 20

// Config says where the database is.
type Config struct {
	// File is a database in MaxMind's format that has country.iso_code. Empty means none: then no country is known.
	File string `yaml:"file"`
}

// Database knows countries. A nil one knows none. Safe for concurrent use.
type Database struct {
	held *certfile.Held[*maxminddb.Reader]
}

// Open reads the database for the first time; nil without a file.
func (c Config) Open(log *slog.Logger) (*Database, error) {
	if c.File == "" {
		return nil, nil
	}
	held, err := certfile.Open(log, func() (*maxminddb.Reader, error) { return read(c.File) }, c.File)
	if err != nil {
		return nil, fault.Invalid("geoip.file %s cannot be used: %s. Give a database of countries in MaxMind's format (.mmdb).", c.File, err)
	}
	return &Database{held}, nil
}

// read takes the whole file into memory: a mapped one that is written over in place would change under a reader, or kill the process when it shrinks.
func read(name string) (*maxminddb.Reader, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return nil, errors.New("it is no file, or too large")
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	db, err := maxminddb.OpenBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("it is not in MaxMind's format: %w", err)
	}
	if err := db.Verify(); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return db, nil
}

// Country is the ISO 3166 code of the country that an address is in, two capitals; empty when it is not known.
func (d *Database) Country(address string) string {
	if d == nil {
		return ""
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	found := d.held.Now().Lookup(ip.Unmap().WithZone(""))
	var code string
	if err := found.DecodePath(&code, "country", "iso_code"); err != nil || len(code) != 2 {
		return ""
	}
	if code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return ""
	}
	return code
}
