package edge_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/rpc/rpctest"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// hostile is an upstream that writes its answers by hand. It answers the first tool call with an attack and everything else as it should.
type hostile struct {
	t      *testing.T
	ln     net.Listener
	attack func(id string) string
	all    sync.WaitGroup

	mu       sync.Mutex
	attacked net.Conn
	id       string // of the call that was attacked
	conns    []net.Conn
	calls    int
}

func newHostile(t *testing.T, secured *tls.Config, attack func(id string) string) *hostile {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &hostile{t: t, ln: ln, attack: attack}
	s.all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if secured != nil {
				c = tls.Server(c, secured)
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.all.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.all.Wait()
	})
	return s
}

func (s *hostile) serve(c net.Conn) {
	defer c.Close()
	from := bufio.NewReader(c)
	for {
		q, err := http.ReadRequest(from)
		if err != nil {
			return
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, s.answer(c, body)); err != nil {
			return
		}
	}
}

func (s *hostile) answer(c net.Conn, body []byte) string {
	method, _ := mcp.Text(body, "method")
	id := string(mcp.Get(body, "id"))
	switch method {
	case "server/discover":
		return fine(id, `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","resultType":"complete"}`)
	case "tools/list":
		return fine(id, `{"tools":[`+echoTool+`],"resultType":"complete"}`)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.attacked == nil {
		s.attacked, s.id = c, id
		return s.attack(id)
	}
	return fine(id, string(textResult(string(mcp.Get(body, "params", "arguments")), `,"resultType":"complete"}`)))
}

// speak answers unasked, on the connection of the attack.
func (s *hostile) speak() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := io.WriteString(s.attacked, smuggled(s.id))
	must(s.t, err)
}

func (s *hostile) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// fine is a whole good answer.
func fine(id, result string) string {
	body := `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// own is what the attacked call itself is answered with.
func own(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + string(textResult("own", `,"resultType":"complete"}`)) + `}`
}

// smuggled are answers to the calls that come next, in case that the id of a call can be guessed from the one before.
func smuggled(id string) string {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return ""
	}
	return fine(strconv.FormatUint(n+1, 10), string(textResult("SMUGGLED", `,"resultType":"complete"}`)))
}

const jsonHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// splits are answers to one call in which a lenient reader finds an answer to the next. Those of good are answers that are in order and are followed
// by what is not.
func splits() (good, bad map[string]func(id string) string) {
	sized := func(fields string, before ...string) func(id string) string {
		return func(id string) string {
			return strings.Join(before, "") + jsonHead + strings.ReplaceAll(fields, "LENGTH", strconv.Itoa(len(own(id)))) + "\r\n" + own(id) + smuggled(id)
		}
	}
	chunked := func(fields, size, end string) func(id string) string {
		return func(id string) string {
			size := strings.ReplaceAll(size, "SIZE", fmt.Sprintf("%x", len(own(id))))
			return jsonHead + fields + "\r\n" + size + "\r\n" + own(id) + "\r\n" + end + smuggled(id)
		}
	}
	const length = "Content-Length: LENGTH\r\n"
	good = map[string]func(id string) string{
		"another answer behind it":     sized(length),
		"another answer behind chunks": chunked(chunks, "SIZE", "0\r\n\r\n"),
		"another behind trailers":      chunked(chunks, "SIZE", "0\r\nX-A: b\r\n\r\n"),
		"another behind hints":         sized(length, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"another behind a stream": func(id string) string {
			event := "data: " + own(id) + "\n\n"
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n%s", chunks, len(event), event, smuggled(id))
		},
		"empty lines behind it": func(id string) string {
			return fine(id, string(textResult("own", `,"resultType":"complete"}`))) + "\r\n\r\n"
		},
	}
	bad = map[string]func(id string) string{
		"a length and chunks":          sized(length + chunks),
		"chunks and a length":          sized(chunks + length),
		"chunks behind a length of 0":  chunked("Content-Length: 0\r\n"+chunks, "SIZE", "0\r\n\r\n"),
		"two lengths":                  sized(length + "Content-Length: 1\r\n"),
		"the same length twice":        sized(length + length),
		"a list of lengths":            sized("Content-Length: LENGTH, LENGTH\r\n"),
		"a length with a sign":         sized("Content-Length: +LENGTH\r\n"),
		"a length in hex":              sized("Content-Length: 0xLENGTH\r\n"),
		"a negative length":            sized("Content-Length: -1\r\n"),
		"an unknown coding":            chunked("Transfer-Encoding: xchunked\r\n", "SIZE", "0\r\n\r\n"),
		"two codings":                  chunked("Transfer-Encoding: gzip, chunked\r\n", "SIZE", "0\r\n\r\n"),
		"the coding that is none":      sized(length + "Transfer-Encoding: identity\r\n"),
		"a coding with a vertical tab": sized(length + "Transfer-Encoding: \x0bchunked\r\n"),
		"chunks in HTTP/1.0": func(id string) string {
			return strings.Replace(chunked(chunks, "SIZE", "0\r\n\r\n")(id), "1.1", "1.0", 1)
		},
		"a folded length":               sized("X-A: b\r\n " + length),
		"a folded coding":               sized(length + "Transfer-Encoding:\r\n\tchunked\r\n"),
		"LF at the end of a line":       sized(length + "X-A: b\nContent-Length: 0\r\n"),
		"LF at the end of all lines":    func(id string) string { return strings.ReplaceAll(sized(length)(id), "\r\n", "\n") },
		"a bare CR":                     sized(length + "X-A: b\rContent-Length: 0\r\n"),
		"NUL in a value":                sized(length + "X-A: \x00\r\n"),
		"a header without a colon":      sized(length + "X-A\r\n"),
		"a blank before a colon":        sized("Content-Length : LENGTH\r\n"),
		"a blank in a name":             sized(length + "Content Length: 0\r\n"),
		"two content types":             sized(length + "Content-Type: text/event-stream\r\n"),
		"two sessions":                  sized(length + "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n"),
		"a header beyond all bounds":    sized(length + "X-A: " + strings.Repeat("a", 64<<10) + "\r\n"),
		"headers beyond all bounds":     sized(length + strings.Repeat("X-A: b\r\n", 10_000)),
		"an empty line before":          sized(length, "\r\n"),
		"another protocol's status":     func(id string) string { return strings.Replace(sized(length)(id), "HTTP/1.1", "HTTP/2.0", 1) },
		"a status of four digits":       func(id string) string { return strings.Replace(sized(length)(id), "200", "2000", 1) },
		"a status that is none":         func(id string) string { return strings.Replace(sized(length)(id), "200", "6 0", 1) },
		"hints without end":             sized(length, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000)),
		"an unclear hint":               sized(length, "HTTP/1.1 100 Continue\r\nX-A: b\r\n c: d\r\n\r\n"),
		"a switch of protocols":         sized(length, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
		"no content, with another":      func(id string) string { return "HTTP/1.1 204 No Content\r\n\r\n" + smuggled(id) },
		"no content, with a length":     func(id string) string { return "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n" + smuggled(id) },
		"not modified, with another":    func(id string) string { return "HTTP/1.1 304 Not Modified\r\n\r\n" + smuggled(id) },
		"a chunk's size that is none":   chunked(chunks, "zz", "0\r\n\r\n"),
		"a chunk's size with a sign":    chunked(chunks, "+SIZE", "0\r\n\r\n"),
		"a chunk's size beyond numbers": chunked(chunks, "FFFFFFFFFFFFFFFFF", "0\r\n\r\n"),
		"a chunk longer than said":      chunked(chunks, "1", "0\r\n\r\n"),
		"a chunk's line with LF":        chunked(chunks, "SIZE;a\nb", "0\r\n\r\n"),
		"trailers with a length":        chunked(chunks, "SIZE", "0\r\nContent-Length: 5\r\n\r\n"),
	}
	return good, bad
}

// both are ana and bob, who may call everything of a hostile server.
func both(t *testing.T, url string, change func(*trustv1.ServerState)) (ana, bob *client) {
	w := newWorld(t)
	for _, name := range []string{"ana", "bob"} {
		w.person(name, nil)
		w.grant("person/"+name, "echo", "*", "call")
	}
	w.server("echo", url, []string{echoTool}, change)
	h := start(t, w, nil)
	return h.client("ana", "/mcp/echo", true), h.client("bob", "/mcp/echo", true)
}

// next calls as the one who comes after the attack, and wants his own answer.
func next(t *testing.T, s *hostile, bob *client) {
	t.Helper()
	for i := range 3 {
		mine := fmt.Sprintf(`{"n":%d}`, i)
		if r := bob.call("echo", mine); r.text() != mine {
			t.Errorf("bob got %s", r.body)
		}
	}
	if got := s.called(); got != 4 {
		t.Errorf("the server heard %d calls, not 4", got)
	}
}

func TestT19NoAnswerOfAServerIsTakenForTheAnswerToTheNextCall(t *testing.T) {
	good, bad := splits()
	all := maps.Clone(good)
	maps.Copy(all, bad)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			s := newHostile(t, nil, all[name])
			ana, bob := both(t, "http://"+s.ln.Addr().String()+"/mcp", nil)
			r := ana.call("echo", `{}`)
			if good[name] != nil && r.text() != "own" || good[name] == nil && !r.refused() || strings.Contains(string(r.body), "SMUGGLED") {
				t.Errorf("ana got %s", r.body)
			}
			next(t, s, bob)
		})
	}
}

func TestT19WhatAServerSaysUnaskedIsTakenForNoAnswer(t *testing.T) {
	a := rpctest.NewAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.Issue(t, "server"))
	must(t, err)
	ca, err := os.ReadFile(a.File)
	must(t, err)
	for name, secured := range map[string]*tls.Config{
		"plain": nil, "TLS 1.3": {Certificates: []tls.Certificate{pair}}, "TLS 1.2": {Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostile(t, secured, func(id string) string { return fine(id, string(textResult("own", `,"resultType":"complete"}`))) })
			url := "http://" + s.ln.Addr().String() + "/mcp"
			if secured != nil {
				url = "https://" + s.ln.Addr().String() + "/mcp"
			}
			ana, bob := both(t, url, func(state *trustv1.ServerState) {
				if secured != nil {
					state.Server.Spec.Ca = string(ca)
				}
			})
			if r := ana.call("echo", `{}`); r.text() != "own" {
				t.Errorf("ana got %s", r.body)
			}
			s.speak()
			next(t, s, bob)
		})
	}
}

func TestAConnectionOverTLSIsUsedAgain(t *testing.T) {
	a := rpctest.NewAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.Issue(t, "server"))
	must(t, err)
	ca, err := os.ReadFile(a.File)
	must(t, err)
	s := newHostile(t, &tls.Config{Certificates: []tls.Certificate{pair}}, func(id string) string {
		return fine(id, string(textResult("own", `,"resultType":"complete"}`)))
	})
	ana, _ := both(t, "https://"+s.ln.Addr().String()+"/mcp", func(state *trustv1.ServerState) { state.Server.Spec.Ca = string(ca) })
	for i := range 20 {
		if r := ana.call("echo", `{}`); r.refused() || r.text() == "" {
			t.Fatalf("call %d: %s", i, r.body)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) != 1 {
		t.Errorf("%d connections for calls one after the other", len(s.conns))
	}
}
