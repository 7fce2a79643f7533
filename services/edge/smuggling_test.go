package edge_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// attempt is what a client writes on one connection and what must come of it.
type attempt struct {
	raw string
	// statuses are of the answers, in order.
	statuses []int
	// open says that the connection goes on afterwards. Where the next request begins is certain only then.
	open bool
	// calls is how many tool calls the upstream hears.
	calls int
}

// wire writes requests by hand.
type wire struct {
	host, body, auth, length, common string
}

func (w *wire) post(target string, fields ...string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: " + w.host + "\r\n" + w.common + w.auth + strings.Join(fields, "")
}

// plain is one good call; its fields may be more than it needs.
func (w *wire) plain(fields ...string) string {
	return w.post("/mcp/echo", append(fields, w.length, "\r\n", w.body)...)
}

// at is a good call with another target.
func (w *wire) at(target string) string { return w.post(target, w.length, "\r\n", w.body) }

// chunked is a good call in chunks, whose fields and framing may be other than good.
func (w *wire) chunked(size, ending string, fields ...string) string {
	return w.post("/mcp/echo", strings.Join(fields, "")+"\r\n"+size+"\r\n"+w.body+"\r\n"+ending)
}

func refused(raw string, status int) attempt {
	return attempt{raw: raw, statuses: []int{status}}
}

// served is a call that has one meaning, for all its looks.
func served(raw string) attempt {
	return attempt{raw: raw, statuses: []int{200}, open: true, calls: 1}
}

// elsewhere is a clear request for what is not there.
func elsewhere(raw string, status int) attempt {
	return attempt{raw: raw, statuses: []int{status}, open: true}
}

const chunks = "Transfer-Encoding: chunked\r\n"

// lengths are attempts to say where a request ends in a way that readers disagree on.
func (w *wire) lengths() map[string]attempt {
	size := fmt.Sprintf("%x", len(w.body))
	number := fmt.Sprint(len(w.body))
	length := func(value string) attempt {
		return refused(w.post("/mcp/echo", "Content-Length:"+value+"\r\n\r\n", w.body), 400)
	}
	coding := func(value string) attempt {
		return refused(w.chunked(size, "0\r\n\r\n", "Transfer-Encoding:"+value+"\r\n"), 400)
	}
	framing := func(size, ending string) attempt { return refused(w.chunked(size, ending, chunks), 400) }
	return map[string]attempt{
		"a length":                          served(w.plain()),
		"chunks":                            served(w.chunked(size, "0\r\n\r\n", chunks)),
		"chunks in another case":            served(w.chunked(strings.ToUpper(size), "0\r\n\r\n", "transfer-encoding: Chunked\r\n")),
		"chunks with extensions":            served(w.chunked(size+";a=b;c=\"d\"", "0;e\r\n\r\n", chunks)),
		"a length with zeros before it":     served(w.post("/mcp/echo", "Content-Length: 000"+number+"\r\n\r\n", w.body)),
		"a length with blanks around it":    served(w.post("/mcp/echo", "Content-Length: \t"+number+" \t\r\n\r\n", w.body)),
		"no length":                         refusedOpen(w.post("/mcp/echo", "\r\n"), 400),
		"a length and chunks":               refused(w.chunked(size, "0\r\n\r\n", w.length, chunks), 400),
		"chunks and a length":               refused(w.chunked(size, "0\r\n\r\n", chunks, w.length), 400),
		"chunks and a length of nothing":    refused(w.chunked(size, "0\r\n\r\n", chunks, "Content-Length: 0\r\n"), 400),
		"two lengths":                       refused(w.plain("Content-Length: 1\r\n"), 400),
		"the same length twice":             refused(w.plain(w.length), 400),
		"the same length in another case":   refused(w.plain(strings.ToLower(w.length)), 400),
		"a list of lengths":                 length(" " + number + ", " + number),
		"a length with a sign":              length(" +" + number),
		"a negative length":                 length(" -1"),
		"a length in hex":                   length(" 0x" + size),
		"a length with a blank within":      length(" 1 " + number),
		"a length with a fraction":          length(" " + number + ".0"),
		"a length that is none":             length(" x"),
		"an empty length":                   length(""),
		"a length beyond numbers":           length(" 99999999999999999999"),
		"chunks twice":                      refused(w.chunked(size, "0\r\n\r\n", chunks, chunks), 400),
		"an unknown coding":                 coding(" xchunked"),
		"another coding before":             coding(" gzip, chunked"),
		"another coding after":              coding(" chunked, identity"),
		"chunks in a list":                  coding(" chunked, chunked"),
		"the coding that is none":           coding(" identity"),
		"a coding in quotes":                coding(" \"chunked\""),
		"a coding with a vertical tab":      coding(" \x0bchunked"),
		"a coding with a form feed":         coding(" chunked\x0c"),
		"a coding with a parameter":         coding(" chunked;a=b"),
		"an empty coding":                   coding(""),
		"a blank before a coding's colon":   refused(w.chunked(size, "0\r\n\r\n", "Transfer-Encoding : chunked\r\n"), 400),
		"a tab before a coding's colon":     refused(w.chunked(size, "0\r\n\r\n", "Transfer-Encoding\t: chunked\r\n"), 400),
		"a coding on a second line":         refused(w.chunked(size, "0\r\n\r\n", "Transfer-Encoding:\r\n chunked\r\n"), 400),
		"a tab before the coding":           served(w.chunked(size, "0\r\n\r\n", "Transfer-Encoding:\tchunked\r\n")),
		"chunks in HTTP/1.0":                refused(strings.Replace(w.chunked(size, "0\r\n\r\n", chunks), "HTTP/1.1", "HTTP/1.0", 1), 400),
		"a chunk's size with 0x":            framing("0x"+size, "0\r\n\r\n"),
		"a chunk's size with a sign":        framing("+"+size, "0\r\n\r\n"),
		"a chunk's size that is none":       framing("z", "0\r\n\r\n"),
		"an empty chunk's size":             framing("", "0\r\n\r\n"),
		"a chunk's size beyond numbers":     framing("FFFFFFFFFFFFFFFFF", "0\r\n\r\n"),
		"a chunk that is longer than said":  framing("1", "0\r\n\r\n"),
		"a chunk's line that ends with LF":  framing(size+"\n"+w.body+"\r\n0\r\n\r\n", ""),
		"an extension with LF":              framing(size+";a\nb", "0\r\n\r\n"),
		"an extension with a bare CR":       framing(size+";a\rb", "0\r\n\r\n"),
		"LF after the last chunk":           framing(size, "0\r\n\n"),
		"a request after LF as a last line": framing(size, "0\r\n\n"+w.plain()),
		"a byte after the last chunk":       framing(size, "0\r\nX"+w.plain()),
		"a trailer that LF ends":            framing(size, "0\r\nX: a\n\r\n"),
		"a blank after a chunk's size":      framing(size+" ", "0\r\n\r\n"),
		"a tab after a chunk's size":        framing(size+"\t", "0\r\n\r\n"),
		"a blank before a chunk's size":     framing(" "+size, "0\r\n\r\n"),
		"an extension without end":          framing(size+";"+strings.Repeat("a", 2<<20), "0\r\n\r\n"),
		"a length by another name":          refused(w.plain("Content_Length: 1\r\n"), 400),
		"a coding by another name":          refused(w.plain("Transfer_Encoding: chunked\r\n"), 400),
		"a host by another name":            refused(w.plain("X-A: b\r\nhost_: h\r\nMcp_Session_Id: x\r\n"), 400),
		"an expectation of something else":  refused(w.plain("Expect: x\r\n"), 400),
		"two expectations":                  {raw: w.plain("Expect: 100-continue\r\nExpect: 100-continue\r\n"), statuses: []int{100, 400}},
		"a length for one hop":              refused(w.plain("Connection: Content-Length\r\n"), 400),
		"a token for one hop":               refused(w.plain("Connection: close, Authorization\r\n"), 400),
		"trailers with a length":            framing(size, "0\r\nContent-Length: 5\r\n\r\n"),
		"trailers with a token":             framing(size, "0\r\n"+w.auth+"\r\n"),
		"trailers with a coding":            framing(size, "0\r\n"+chunks+"\r\n"),
		"trailers of any other name":        framing(size, "0\r\nMcp-Method: tools/call\r\n\r\n"),
		"trailers that are announced":       refused(w.chunked(size, "0\r\n\r\n", chunks, "Trailer: X-A\r\n"), 400),
	}
}

// refusedOpen is a request that is refused for what is in it, on a connection that is in order.
func refusedOpen(raw string, status int) attempt {
	return attempt{raw: raw, statuses: []int{status}, open: true}
}

// lines are attempts with lines that readers cut differently.
func (w *wire) lines() map[string]attempt {
	return map[string]attempt{
		"LF at the end of all lines":        refused(strings.ReplaceAll(w.post("/mcp/echo", w.length, "\r\n"), "\r\n", "\n")+w.body+"\r\n\r\n", 400),
		"LF at the end of one line":         refused(w.plain("X-A: b\n"), 400),
		"LF before a coding":                refused(w.plain("X-A: b\nTransfer-Encoding: chunked\r\n"), 400),
		"LF at the end of the head":         refused(w.post("/mcp/echo", w.length, "\n", w.body+"\r\n\r\n"), 400),
		"LF at the end of the request line": refused(strings.Replace(w.plain(), "\r\n", "\n", 1), 400),
		"LF at the end of an HTTP/1.0 line": refused(strings.Replace(strings.Replace(w.plain(), "1.1\r\n", "1.0\r\n", 1), "\r\n", "\n", 1), 400),
		"empty lines before the request":    served("\r\n\r\n" + w.plain()), // as RFC 9112, 2.2 has it
		"an empty line that is LF alone":    refused("\n"+w.plain(), 400),
		"empty lines that are LF alone":     refused("\n\n"+w.plain(), 400),
		"an empty line of LF after one":     refused("\r\n\n"+w.plain(), 400),
		"empty lines without end":           refused(strings.Repeat("\r\n", 5000)+w.plain(), 400),
		"LF between two requests":           {raw: w.plain() + "\n" + w.plain(), statuses: []int{200, 400}, calls: 1},
		"LF at the next request line":       {raw: w.plain() + strings.Replace(w.plain(), "\r\n", "\n", 1), statuses: []int{200, 400}, calls: 1},
		"LF at the end of a body":           served(w.post("/mcp/echo", fmt.Sprintf("Content-Length: %d\r\n", len(w.body)+1), "\r\n", w.body+"\n")),
		"a bare CR in a value":              refused(w.plain("X-A: b\rTransfer-Encoding: chunked\r\n"), 400),
		"a bare CR before the line's end":   refused(w.plain("X-A: b\r\r\n"), 400),
		"a folded header":                   refused(w.plain("X-A: b\r\n c: d\r\n"), 400),
		"a header folded with a tab":        refused(w.plain("X-A:\r\n\tb\r\n"), 400),
		"a folded length":                   refused(w.plain("X-A: b\r\n Content-Length: 1\r\n"), 400),
		"a folded first line":               refused("POST /mcp/echo HTTP/1.1\r\n Host: "+w.host+"\r\n"+w.common+w.auth+w.length+"\r\n"+w.body, 400),
		"NUL in a value":                    refused(w.plain("X-A: b\x00c\r\n"), 400),
		"NUL in a name":                     refused(w.plain("X-\x00A: b\r\n"), 400),
		"a character in a name":             refused(w.plain("X(A): b\r\n"), 400),
		"a blank in a name":                 refused(w.plain("Content Length: 1\r\n"), 400),
		"a blank before a colon":            refused(w.post("/mcp/echo", "Content-Length : 2\r\n\r\n", w.body), 400),
		"a header without a colon":          refused(w.plain("Transfer-Encoding chunked\r\n"), 400),
		"a header without a name":           refused(w.plain(": b\r\n"), 400),
		"a header beyond 32 KiB":            refused(w.plain("X-A: "+strings.Repeat("a", 40<<10)+"\r\n"), 400),
		"headers beyond 32 KiB":             refused(w.plain(strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 40)), 400),
		"a target beyond 32 KiB":            refused(w.at("/mcp/echo?"+strings.Repeat("a", 40<<10)), 400),
		"two hosts":                         refused(w.plain("Host: "+w.host+"\r\n"), 400),
		"no host":                           refused(strings.Replace(w.plain(), "Host: "+w.host+"\r\n", "", 1), 400),
		"an empty host":                     refused(strings.Replace(w.plain(), "Host: "+w.host, "Host:", 1), 400),
		"a host with a user":                elsewhere(strings.Replace(w.plain(), "Host: ", "Host: user@", 1), 403),
		"a host with another port":          elsewhere(strings.Replace(w.plain(), "Host: "+w.host, "Host: "+w.host+"0", 1), 403),
		"a host with a port that is none":   refused(strings.Replace(w.plain(), "Host: "+w.host, "Host: 127.0.0.1:x", 1), 400),
		"two tokens":                        refused(w.plain(w.auth), 400),
		"two tokens in other cases":         refused(w.plain("authorization: Bearer other\r\n"), 400),
		"two content types":                 refused(w.plain("Content-Type: text/plain\r\n"), 400),
		"the same content type twice":       refused(w.plain("content-type: application/json\r\n"), 400),
		"two origins":                       elsewhere(w.plain("Origin: http://"+w.host+"\r\nOrigin: http://"+w.host+"\r\n"), 403),
		"two sessions":                      refused(w.plain("Mcp-Session-Id: a\r\nMCP-Session-ID: b\r\n"), 400),
		"two revisions":                     elsewhere(w.plain("MCP-Protocol-Version: 2025-06-18\r\n"), 400),
	}
}

// targets are attempts to be asked for one path and to be heard as asking for another, or to speak another protocol.
func (w *wire) targets() map[string]attempt {
	second := w.plain()
	hidden := w.post("/mcp/echo", fmt.Sprintf("Content-Length: %d\r\n\r\n", len(second)), second)
	return map[string]attempt{
		"a query, which means nothing":  served(w.at("/mcp/echo?tenant=globex")),
		"absolute form":                 refused(w.at("http://"+w.host+"/mcp/echo"), 400),
		"absolute form of another host": refused(w.at("http://evil.example/mcp/echo"), 400),
		"absolute form without a host":  refused(w.at("http:///mcp/echo"), 400),
		"another scheme":                refused(w.at("file:///mcp/echo"), 400),
		"authority form":                refused("CONNECT "+w.host+" HTTP/1.1\r\nHost: "+w.host+"\r\n\r\n", 400),
		"an asterisk":                   refused("OPTIONS * HTTP/1.1\r\nHost: "+w.host+"\r\n\r\n", 400),
		"a posted asterisk":             refused(w.at("*"), 400),
		"no slash":                      refused(w.at("mcp/echo"), 400),
		"a line break in the path":      refused(w.at("/mcp/echo%0d%0aHost:%20evil"), 400),
		"a character in percent":        refused(w.at("/mcp/%65cho"), 400),
		"a slash in percent":            refused(w.at("/mcp%2fecho"), 400),
		"NUL in percent":                refused(w.at("/mcp/echo%00"), 400),
		"percent that is none":          elsewhere(w.at("/mcp/echo%zz"), 404),
		"two slashes":                   refused(w.at("//mcp/echo"), 400),
		"two slashes within":            refused(w.at("/mcp//echo"), 400),
		"dots":                          refused(w.at("/mcp/../mcp/echo"), 400),
		"dots in percent":               refused(w.at("/mcp/%2e%2e/mcp/echo"), 400),
		"a dot":                         refused(w.at("/mcp/./echo"), 400),
		"a slash at the end":            elsewhere(w.at("/mcp/echo/"), 404),
		"a parameter":                   elsewhere(w.at("/mcp/echo;x"), 404),
		"a backslash":                   elsewhere(w.at("/mcp\\echo"), 404),
		"another case":                  elsewhere(w.at("/MCP/echo"), 404),
		"a fragment":                    refused(w.at("/mcp/echo#x"), 400),
		"a control character":           refused(w.at("/mcp/echo\x01"), 400),
		"two blanks":                    refused(w.at(" /mcp/echo"), 400),
		"HTTP/0.9":                      refused("GET /mcp/echo\r\n\r\n", 400),
		"HTTP/1.0":                      {raw: strings.Replace(w.plain(), "HTTP/1.1", "HTTP/1.0", 1), statuses: []int{200}, calls: 1},
		"HTTP/1.0 that stays":           served(strings.Replace(w.plain("Connection: keep-alive\r\n"), "HTTP/1.1", "HTTP/1.0", 1)),
		"HTTP/1.2":                      refused(strings.Replace(w.plain(), "HTTP/1.1", "HTTP/1.2", 1), 400),
		"HTTP/2.0 in a line":            refused(strings.Replace(w.plain(), "HTTP/1.1", "HTTP/2.0", 1), 400),
		"another protocol":              refused(strings.Replace(w.plain(), "HTTP/1.1", "HTTPS/1.1", 1), 400),
		"a protocol in another case":    refused(strings.Replace(w.plain(), "HTTP/1.1", "http/1.1", 1), 400),
		"the preface of HTTP/2":         refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
		"an upgrade that is not taken":  served(w.plain("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")),
		"a method in another case":      elsewhere(strings.Replace(w.plain(), "POST", "post", 1), 405),
		"a method that is none":         refused(strings.Replace(w.plain(), "POST", "P(ST", 1), 400),
		"a request hidden in a body":    elsewhere(hidden, 400),
		"two requests":                  {raw: w.plain() + w.plain(), statuses: []int{200, 200}, open: true, calls: 2},
		"a bad one after a good one":    {raw: w.plain() + w.plain(w.length) + w.plain(), statuses: []int{200, 400}, calls: 1},
		"a call after a length twice":   refused(w.plain(w.length)+w.plain(), 400),
		"elsewhere, unclear":            refused("POST /nowhere HTTP/1.1\r\nHost: "+w.host+"\r\nContent Length: 5\r\n\r\n"+w.plain(), 400),
		"a probe, unclear":              refused("GET /livez HTTP/1.1\r\nHost: "+w.host+"\r\nX: y\nContent-Length: 5\r\n\r\n"+w.plain(), 400),
		"a probe with chunks":           {raw: "GET /livez HTTP/1.1\r\nHost: " + w.host + "\r\n" + chunks + "\r\n2\r\n{}\r\n0\r\n\r\n" + w.plain(), statuses: []int{200, 200}, open: true, calls: 1},
		"a probe with a body":           {raw: "GET /livez HTTP/1.1\r\nHost: " + w.host + "\r\n" + w.length + "\r\n" + w.body + w.plain(), statuses: []int{200, 200}, open: true, calls: 1},
	}
}

func TestSmugglingIsRefused(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", false)
	ana.call("echo", `{}`)
	body, _ := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
	w := &wire{
		host: strings.TrimPrefix(h.base, "http://"), body: body, auth: "Authorization: Bearer " + ana.token + "\r\n",
		length: fmt.Sprintf("Content-Length: %d\r\n", len(body)),
		common: "Content-Type: application/json\r\nAccept: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\n",
	}
	all := w.lengths()
	maps.Copy(all, w.lines())
	maps.Copy(all, w.targets())
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) { attack(t, u, w, all[name]) })
	}
}

// attack makes an attempt on a connection of its own.
func attack(t *testing.T, u *upstream, w *wire, a attempt) {
	calls, heard := len(u.called()), len(u.everything())
	conn, err := net.Dial("tcp", w.host)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, a.raw)
	must(t, err)
	answers := bufio.NewReader(conn)
	for i, status := range a.statuses {
		if got := answer(t, answers); got != status {
			t.Fatalf("answer %d has status %d, not %d", i+1, got, status)
		}
	}
	if got := len(u.called()) - calls; got != a.calls {
		t.Errorf("%d calls reached the upstream, not %d", got, a.calls)
	}
	if a.calls == 0 && len(u.everything()) != heard {
		t.Error("the upstream heard of it")
	}
	if !a.open {
		if left, err := io.ReadAll(answers); len(left) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection goes on with %q, %v", left, err)
		}
		return
	}
	_, err = io.WriteString(conn, w.plain())
	must(t, err)
	if got := answer(t, answers); got != http.StatusOK {
		t.Errorf("the next request on the connection is answered with %d", got)
	}
	if got := len(u.called()) - calls; got != a.calls+1 {
		t.Errorf("%d calls reached the upstream in all, not %d", got, a.calls+1)
	}
}

// answer reads one answer whole.
func answer(t *testing.T, from *bufio.Reader) int {
	t.Helper()
	res, err := http.ReadResponse(from, nil)
	must(t, err)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	must(t, err)
	return res.StatusCode
}
