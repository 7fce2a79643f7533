// Package geoiptest makes small databases in MaxMind's format for tests, by the format's own description (MaxMind DB 2.0).
package geoiptest

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"headgate.dev/libs/wholefile"
)

// separator stands between the tree and the data, marker before the metadata.
const (
	separator = 16
	marker    = "\xab\xcd\xefMaxMind.com"
)

// types of the format that are written here.
const (
	typeText   = 2
	typeUint16 = 5
	typeUint32 = 6
	typeMap    = 7
	typeUint64 = 9
	typeArray  = 11
)

// node is one bit of an address: the next nodes, or the country that begins there.
type node struct {
	next    [2]*node
	country [2]string
}

// Replace writes such a database in the place of a file.
func Replace(file string, of map[string]string) error {
	raw, err := Countries(of)
	if err != nil {
		return err
	}
	return wholefile.Replace(file, raw, 0o600)
}

// Countries is a database in which each network, of IPv4, is in a country. Networks must not overlap.
func Countries(of map[string]string) ([]byte, error) {
	root := &node{}
	for network, country := range of {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, err
		}
		root.put(prefix, country)
	}
	nodes := []*node{root}
	at := map[*node]int{root: 0}
	for i := 0; i < len(nodes); i++ {
		for _, next := range nodes[i].next {
			if next != nil {
				at[next] = len(nodes)
				nodes = append(nodes, next)
			}
		}
	}
	var data []byte
	places := map[string]int{}
	var tree []byte
	for _, n := range nodes {
		for side := range 2 {
			record := len(nodes) // nothing is known
			switch {
			case n.next[side] != nil:
				record = at[n.next[side]]
			case n.country[side] != "":
				place, there := places[n.country[side]]
				if !there {
					place = len(data)
					places[n.country[side]] = place
					data = append(data, located(n.country[side])...)
				}
				record = len(nodes) + separator + place
			}
			tree = append(tree, byte(record>>16), byte(record>>8), byte(record))
		}
	}
	return slices.Concat(tree, make([]byte, separator), data, []byte(marker), metadata(len(nodes))), nil
}

func (n *node) put(prefix netip.Prefix, country string) {
	address := prefix.Addr().As4()
	for i := range prefix.Bits() {
		side := address[i/8] >> (7 - i%8) & 1
		if i == prefix.Bits()-1 {
			n.country[side] = country
			return
		}
		if n.next[side] == nil {
			n.next[side] = &node{}
		}
		n = n.next[side]
	}
}

func located(country string) []byte {
	return slices.Concat(head(typeMap, 1), text("country"), head(typeMap, 1), text("iso_code"), text(country))
}

func metadata(nodes int) []byte {
	return slices.Concat(head(typeMap, 9),
		text("node_count"), number(typeUint32, uint64(nodes)), text("record_size"), number(typeUint16, 24), text("ip_version"), number(typeUint16, 4),
		text("database_type"), text("Headgate-Test-Country"), text("languages"), head(typeArray, 0), text("binary_format_major_version"), number(typeUint16, 2),
		text("binary_format_minor_version"), number(typeUint16, 0), text("build_epoch"), number(typeUint64, 1_767_225_600),
		text("description"), head(typeMap, 1), text("en"), text("countries of a test"))
}

// head is the control byte of a value whose size, or number of members, is below 29, and the second byte of the types that need one.
func head(kind, size int) []byte {
	if kind > 7 {
		return []byte{byte(size), byte(kind - 7)}
	}
	return []byte{byte(kind<<5 | size)}
}

func text(s string) []byte { return append(head(typeText, len(s)), s...) }

func number(kind int, n uint64) []byte {
	raw := strings.TrimLeft(string(binary.BigEndian.AppendUint64(nil, n)), "\x00")
	return append(head(kind, len(raw)), raw...)
}
