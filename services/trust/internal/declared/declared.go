// Package declared judges Server resources beyond what their message says: an address that a request can go to or a program that can be started, and
// nothing that hides in it.
package declared

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy/dataclass"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

const (
	longestCall = 30 * time.Minute
	mostLabel   = 63
	// mostPlaceLabel is that of one with a place of results.
	mostPlaceLabel = 256
)

// Check refuses a server that could not be reached or called as it is declared.
func Check(s *trustv1.Server) error {
	spec := s.GetSpec()
	for _, rule := range []func(*trustv1.ServerSpec) (field, why string){address, program, timeout, authorities, labels} {
		if field, why := rule(spec); why != "" {
			return fault.Invalid("Server %s: %s %s.", s.GetMetadata().GetName(), field, why).
				With("kind", "Server").With("name", s.GetMetadata().GetName()).With("field", field)
		}
	}
	return nil
}

func address(spec *trustv1.ServerSpec) (field, why string) {
	field = "spec.url"
	if IsProgram(spec) {
		return "", ""
	}
	u, err := url.Parse(spec.GetUrl())
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return field, "is not an address. Write http://HOST:PORT/PATH or https://HOST/PATH"
	case u.Scheme != "http" && u.Scheme != "https":
		return field, "must begin with http:// or https://"
	case u.User != nil:
		return field, "holds a user name or password. Put the credential into a Connection, where it is sealed"
	case u.Fragment != "" || strings.Contains(spec.GetUrl(), "#"):
		return field, "holds a fragment, which is never sent"
	case strings.HasSuffix(u.Host, ":") || u.Port() == "0":
		return field, "has a colon but no port"
	}
	if literal, err := netip.ParseAddr(u.Hostname()); err == nil {
		if why := egress.Refused(literal); why != "" {
			return field, "is at " + literal.String() + ", which " + why + ". Nothing is sent there, whoever declares it"
		}
	}
	return field, ""
}

func program(spec *trustv1.ServerSpec) (field, why string) {
	if !IsProgram(spec) {
		return "", ""
	}
	command := spec.GetStdio().GetCommand()
	switch {
	case len(command) == 0 || command[0] == "":
		return "spec.stdio.command", "names no program"
	case slices.ContainsFunc(command, unsayable) || unsayable(spec.GetStdio().GetDirectory()):
		return "spec.stdio.command", "holds a NUL, which no argument can have"
	}
	for name, value := range spec.GetStdio().GetEnv() {
		if unsayable(value) {
			return "spec.stdio.env." + name, "holds a NUL, which no variable can have"
		}
	}
	return "", ""
}

// unsayable reports whether a text cannot be given to a program.
func unsayable(text string) bool { return strings.ContainsRune(text, 0) }

// IsProgram reports whether a server is a program of an edge's machine. Only an edge can look at it.
func IsProgram(spec *trustv1.ServerSpec) bool { return spec.GetStdio() != nil }

func timeout(spec *trustv1.ServerSpec) (field, why string) {
	if spec.GetTimeout() == "" {
		return "", ""
	}
	d, err := time.ParseDuration(spec.GetTimeout())
	if err != nil || d <= 0 || d > longestCall {
		return "spec.timeout", "must be a duration of at most 30m, as 30s"
	}
	return "", ""
}

func authorities(spec *trustv1.ServerSpec) (field, why string) {
	if spec.GetCa() == "" {
		return "", ""
	}
	field = "spec.ca"
	if !strings.HasPrefix(spec.GetUrl(), "https://") {
		return field, "names authorities, but spec.url is not https"
	}
	rest := []byte(strings.TrimSpace(spec.GetCa()))
	for len(rest) > 0 {
		block, next := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return field, "holds something else than certificates in PEM"
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return field, "holds a certificate that cannot be read"
		}
		rest = next
	}
	return "", ""
}

func labels(spec *trustv1.ServerSpec) (field, why string) {
	bad := func(label string) bool {
		return label == "" || len(label) > mostLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_.:/") != ""
	}
	if slices.ContainsFunc(spec.GetLabels(), bad) {
		return "spec.labels", "holds a label that is not 1 to 63 of a-z, 0-9, hyphen, underscore, dot, colon and slash"
	}
	for tool, of := range spec.GetToolLabels() {
		if !mcp.ToolName(tool) {
			return "spec.toolLabels", "names a tool with characters that no tool's name has"
		}
		for _, label := range of.GetLabels() {
			place, is := dataclass.PlaceOf(label)
			if !is && bad(label) {
				return "spec.toolLabels", "holds a label that is not 1 to 63 of a-z, 0-9, hyphen, underscore, dot, colon and slash"
			}
			if is && (place.Check() != nil || bad(place.Class) || len(label) > mostPlaceLabel || !printable(label)) {
				return "spec.toolLabels", "holds a label of a place in results that is not a class and a JSON pointer of at most 256 bytes, as data:health@/structuredContent/diagnosis"
			}
		}
	}
	return "", ""
}

// printable reports whether a text has no control characters and is UTF-8.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) })
}

// Labels are those of one tool: its server's and its own, sorted.
func Labels(spec *trustv1.ServerSpec, tool string) []string {
	all := slices.Concat(spec.GetLabels(), spec.GetToolLabels()[tool].GetLabels())
	slices.Sort(all)
	return slices.Compact(all)
}

// Place names where a server is, or which program it is and what it is given. Approvals hold for one place only.
func Place(spec *trustv1.ServerSpec) string {
	if !IsProgram(spec) {
		return spec.GetUrl()
	}
	p := spec.GetStdio()
	hash := sha256.New()
	say := func(texts ...string) { // each with its length, so that no two programs are said alike
		for _, text := range texts {
			_, _ = fmt.Fprintf(hash, "%d:%s", len(text), text) // a hash takes everything
		}
		_, _ = fmt.Fprint(hash, ";")
	}
	say(p.GetCommand()...)
	for _, name := range slices.Sorted(maps.Keys(p.GetEnv())) {
		say(name, p.GetEnv()[name])
	}
	say()
	say(p.GetInherit()...)
	say(p.GetDirectory())
	return Address(spec) + " (sha256:" + hex.EncodeToString(hash.Sum(nil)) + ")"
}

// Address is how records name where a server is: host and port, or "stdio:" and the name of a program.
func Address(spec *trustv1.ServerSpec) string {
	if command := spec.GetStdio().GetCommand(); len(command) > 0 {
		return mcp.StdioAddress(command[0])
	}
	return Host(spec.GetUrl())
}

// Host is host and port that requests to the server go to; the port is always there.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
