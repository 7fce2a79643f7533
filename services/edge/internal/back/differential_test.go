package back

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

	"headgate.dev/libs/mcp"
)

// FuzzT19TwoReadersReadOneAnswer holds what is taken for an answer to what another reader makes of the same bytes.
func FuzzT19TwoReadersReadOneAnswer(f *testing.F) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\nHTTP",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n{}",
		"HTTP/1.1 200 OK\nX: a\n b\nContent-Length: 2\n\n{}",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, differ := agree(raw); differ != nil {
			t.Error(differ)
		}
	})
}

// pieces are what answers are made of, good and bad, in the order of the wire; each answer takes one of each list, mostly the first.
func pieces() [][]string {
	fields := []string{
		"", "Content-Length: 2\r\n", "content-length:2 \r\n", "Content-Length: +2\r\n", "Content-Length: 2, 2\r\n", "Content-Length: 0x2\r\n", "Content-Length: 02\r\n",
		"Content-Length: 0\r\n", "Content-Length:\r\n", "Content-Length : 2\r\n", "Content Length: 2\r\n", "Content-Length: 2\n", "Content-Length:\r\n 2\r\n",
		"Transfer-Encoding: chunked\r\n", "transfer-encoding:CHUNKED\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding:\x0bchunked\r\n", "Transfer-Encoding: chunked\n", "X: a\r\n\tTransfer-Encoding: chunked\r\n", "X: a\rContent-Length: 0\r\n",
		"Connection: close\r\n", "Connection: keep-alive\r\n", "Connection: Upgrade\r\nUpgrade: x\r\n", "Trailer: X\r\n", "Set-Cookie: a=b\r\n", "Server: x\r\n",
		"Content-Type: text/plain\r\n", "Content-Encoding: gzip\r\n", "X: \xff\r\n", "X: \x00\r\n", ": x\r\n", "x\r\n", "Mcp-Session-Id: a\r\n",
	}
	return [][]string{
		{"", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", "\r\n", "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 102\r\n\r\n"},
		{"HTTP/1.1 200 OK\r\n", "HTTP/1.1 200\r\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 204 No Content\r\n", "HTTP/1.1 304 Not Modified\r\n",
			"HTTP/2.0 200 OK\r\n", "HTTP/1.1  200 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 200 O\rK\r\n", "HTTP/1.1 200 OK\n", "HTTP/1.1 101 Switching Protocols\r\n", "HTTP/1.1 600 X\r\n"},
		fields, fields, fields,
		{"\r\n", "\r\n", "\n", "\r\r\n"},
		{"{}", "", "2\r\n{}\r\n0\r\n\r\n", "2;a\r\n{}\r\n0\r\n\r\n", "2 \r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n", "2\n{}\n0\n\n", "2\r\n{}0\r\n\r\n", "2\r\n{}\r\n0\r\nA: b\r\n\r\n",
			"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n", "2\r\n{}\r\n0\r\n\n", "2;a\nb\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n"},
		{"", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "\r\n"},
	}
}

func TestT19AnswersOfGoodAndBadPiecesAreReadAlikeByTwoReaders(t *testing.T) {
	lists := pieces()
	dice := rand.New(rand.NewPCG(19, 2))
	taken := 0
	for range 40_000 {
		var raw []byte
		for _, list := range lists {
			piece := list[0]
			if dice.IntN(3) == 0 {
				piece = list[dice.IntN(len(list))]
			}
			raw = append(raw, piece...)
		}
		ours, differ := agree(raw)
		if differ != nil {
			t.Errorf("%q: %v", raw, differ)
		}
		if ours != nil {
			taken++
		}
	}
	if taken < 5_000 {
		t.Errorf("only %d of the answers were taken: the pieces are too bad to say anything", taken)
	}
}

// agree holds what is taken for an answer to another reader: net/http takes it too, as the same answer, and the next one begins at the same byte. It
// answers with what is taken, and where the two differ.
func agree(raw []byte) (taken *response, differ error) {
	u := &upstream{limits: mcp.ReplyLimits()}
	u.limits.Bytes = 1 << 16
	c := &conn{reader: bufio.NewReaderSize(bytes.NewReader(raw), headerRoom)}
	ours, err := u.read(c)
	if err != nil || ours.events != nil || len(raw) > 8<<10 {
		return nil, nil
	}
	reader := bufio.NewReaderSize(bytes.NewReader(raw), headerRoom)
	theirs, err := http.ReadResponse(reader, &http.Request{Method: http.MethodPost})
	for err == nil && theirs.StatusCode < 200 {
		theirs, err = http.ReadResponse(reader, &http.Request{Method: http.MethodPost})
	}
	if err != nil {
		return ours, fmt.Errorf("net/http does not take it: %w", err)
	}
	defer theirs.Body.Close()
	body, err := io.ReadAll(theirs.Body)
	if err != nil {
		return ours, fmt.Errorf("net/http does not take its body: %w", err)
	}
	here, err := io.ReadAll(c.reader)
	there, also := io.ReadAll(reader)
	for _, pair := range [][2]string{
		{fmt.Sprint(ours.status), fmt.Sprint(theirs.StatusCode)}, {string(ours.body), string(body)}, {string(here), string(there)},
		{ours.session, strings.Join(theirs.Header.Values(mcp.HeaderSessionID), " and ")},
		{kind(ours), strings.Join(theirs.Header.Values("Content-Type"), " and ")},
	} {
		if pair[0] != pair[1] {
			return ours, fmt.Errorf("%q here is %q there", pair[0], pair[1])
		}
	}
	return ours, errors.Join(err, also)
}

// kind is the Content-Type; the library makes one up where there is none.
func kind(r *response) string {
	for name, value := range r.http.Header.All() {
		if string(name) == "Content-Type" && string(value) != "text/plain; charset=utf-8" {
			return string(value)
		}
	}
	return ""
}
