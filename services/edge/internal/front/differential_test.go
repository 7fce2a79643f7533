package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// FuzzT19TwoReadersReadOneRequest holds the door to what another reader makes of the same bytes.
func FuzzT19TwoReadersReadOneRequest(f *testing.F) {
	for _, raw := range requests() {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, differ := agree(raw); differ != nil {
			t.Error(differ)
		}
	})
}

// pieces are what requests are made of, good and bad, in the order of the wire; each request takes one of each list, mostly the first.
func pieces() [][]string {
	fields := []string{
		"", "", "Content-Length: 2\r\n", "Content-Length: 2\r\n", "content-length:2\r\n", "Content-Length: 02\r\n", "Content-Length: +2\r\n",
		"Content-Length: 2 \t\r\n", "Content-Length: 2, 2\r\n", "Content-Length: 0x2\r\n", "Content-Length: -2\r\n", "Content-Length:\r\n",
		"Content-Length: 2\n", "Content-Length : 2\r\n", "Content Length: 2\r\n", "Content-Length: 14\r\n", "Content-Length:\r\n 2\r\n",
		"Content-Length: 99999999999999999999\r\n", "X: a\r\n\tContent-Length: 2\r\n", "X: a\rContent-Length: 2\r\n", "X\x00: 2\r\n", "X: \x00\r\n",
		"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n", "transfer-encoding:CHUNKED\r\n", "Transfer-Encoding: xchunked\r\n",
		"Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding: \"chunked\"\r\n",
		"Transfer-Encoding:\x0bchunked\r\n", "Transfer-Encoding: chunked\x0c\r\n", "Transfer-Encoding\t: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding: chunked\n", "Transfer-Encoding:\tchunked\r\n", "X: y\nTransfer-Encoding: chunked\r\n", "Transfer_Encoding: chunked\r\n",
		"Connection: close\r\n", "Connection: keep-alive, Content-Length\r\n", "Expect: 100-continue\r\n", "Expect: x\r\n", "Trailer: X\r\n",
		"Upgrade: h2c\r\nConnection: Upgrade\r\n", "Authorization: Bearer a\r\n", "Authorization: Bearer b\r\n", "Authorization :Bearer c\r\n",
		"Host: i\r\n", "Content-Type: application/json\r\n", "Content-Type: text/plain\r\n", "Mcp-Method: a\r\n", "mcp-method: b\r\n", ": x\r\n", "x\r\n",
		"Content-Type: multipart/form-data; boundary=x\r\n", "Cookie: a=b\r\n", "\xff: x\r\n", "X: \xff\r\n", "X: " + strings.Repeat("a", 5000) + "\r\n",
	}
	return [][]string{
		{"", "", "", "", "\r\n", "\n\r\n", " "},
		{"POST", "POST", "POST", "GET", "post", "HEAD", "OPTIONS", "P(ST", "CONNECT", "DELETE"},
		{" /mcp", " /mcp", " /mcp", " /mcp/echo", " /mcp?a=/b", " /mcp?%zz", " /mcp#a", " //mcp", " /mcp/%65cho", " /mcp/../mcp", " http://h/mcp", " *", " mcp", " ",
			" /mcp\x01", " /mcp/echo?a\xffb", "  /mcp", "\t/mcp", " /mcp/echo;x", " /mcp/", " h:80"},
		{" HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.0\r\n", " HTTP/1.1\n", " HTTP/2.0\r\n", " HTTP/1.2\r\n", "\r\n", " http/1.1\r\n", " HTTP/1.1 \r\n"},
		{"Host: h\r\n", "Host: h\r\n", "Host: h\r\n", "", "Host:\r\n", "Host: h\n", "Host: a@h\r\n", "Host: h:99999\r\n", "Host: h h\r\n", "host : h\r\n"},
		fields, fields, fields,
		{"\r\n", "\r\n", "\r\n", "\n", "\r\r\n", " \r\n"},
		{"", "{}", "{}", "2\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\r\n\r\n", "2;a=b\r\n{}\r\n0\r\n\r\n", "2 ;a\r\n{}\r\n0\r\n\r\n", "2 \r\n{}\r\n0\r\n\r\n",
			"0x2\r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n", "2\n{}\n0\n\n", "2\r\n{}0\r\n\r\n", "2\r\n{}\r\n0\r\nA: b\r\n\r\n", "2\r\n{}\r\n0\r\nHost: i\r\n\r\n",
			"2\r\n{}\r\n0\r\n\n", "2;\na\r\n{}\r\n0\r\n\r\n", "2;a\rb\r\n{}\r\n0\r\n\r\n", "0000000000000000000002\r\n{}\r\n0\r\n\r\n", "\r\n2\r\n{}\r\n0\r\n\r\n",
			"2\r\n{}\r\n00\r\n\r\n", "2\r\n{}\r\n0;x\r\n\r\n", "2\r\n{}\r\n0\r\n A: b\r\n\r\n"},
		{"", "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "\r\n\r\n"},
	}
}

func TestT19RequestsOfGoodAndBadPiecesAreReadAlikeByTwoReaders(t *testing.T) {
	lists := pieces()
	dice := rand.New(rand.NewPCG(19, 1))
	taken, bodies := 0, 0
	for range 40_000 {
		var raw []byte
		for _, list := range lists {
			piece := list[0]
			if dice.IntN(3) == 0 {
				piece = list[dice.IntN(len(list))]
			}
			raw = append(raw, piece...)
		}
		good, differ := agree(raw)
		if differ != nil {
			t.Errorf("%q: %v", raw, differ)
		}
		if good != nil {
			taken++
			bodies += min(len(good.Body), 1)
		}
	}
	if taken < 5_000 || bodies < 300 {
		t.Errorf("only %d of the requests were taken, %d with a body: the pieces are too bad to say anything", taken, bodies)
	}
}

// agree holds the door to another reader: a request that it takes, net/http takes too, as the same request, and the next one begins at the same
// byte. It answers with what the door takes, and where the two differ.
func agree(raw []byte) (taken *guard.Inbound, differ error) {
	if len(raw) > 8<<10 {
		return nil, nil // beyond it, net/http refuses bodies in very small chunks
	}
	raw = bytes.Clone(raw)
	good := new(framing).take(raw)
	var ctx fasthttp.RequestCtx
	ours := bufio.NewReaderSize(bytes.NewReader(raw[:good]), headerRoom)
	in := read(ours, &ctx)
	if in == nil {
		return nil, nil
	}
	// Before a request line, the library passes over empty lines, as RFC 9112, 2.2 has it; net/http does not.
	theirs := bufio.NewReaderSize(bytes.NewReader(bytes.TrimLeft(raw, "\r\n")), headerRoom)
	req, err := http.ReadRequest(theirs)
	if err != nil {
		return in, fmt.Errorf("net/http does not take it: %w", err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return in, fmt.Errorf("net/http does not take its body: %w", err)
	}
	here, err := io.ReadAll(ours)
	there, also := io.ReadAll(theirs)
	pairs := [][2]string{
		{in.Verb, req.Method}, {in.Endpoint, req.URL.Path}, {in.Host, req.Host}, {string(in.Body), string(body)}, {string(here), string(there)},
		{in.ContentType, strings.Join(req.Header.Values("Content-Type"), " and ")}, {in.Bearer, bearer(strings.Join(req.Header.Values("Authorization"), " and "))},
	}
	for _, name := range []string{mcp.HeaderProtocolVersion, mcp.HeaderMethod, mcp.HeaderName} {
		pairs = append(pairs, [2]string{strings.Join(in.Headers.Values(name), " and "), strings.Join(req.Header.Values(name), " and ")})
	}
	for _, pair := range pairs {
		if pair[0] != pair[1] {
			return in, fmt.Errorf("%q here is %q there", pair[0], pair[1])
		}
	}
	return in, errors.Join(err, also)
}
