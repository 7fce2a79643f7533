package head_test

import (
	"strings"
	"testing"

	"headgate.dev/services/edge/internal/head"
)

func TestUnclearSeesWhatReadersDisagreeOn(t *testing.T) {
	for fields, says := range map[string]string{
		"": "", "\r\n": "",
		"Host: h\r\nContent-Length: 2\r\n\r\n":                                      "",
		"Host: h\r\nTransfer-Encoding: Chunked \r\n\r\n":                            "",
		"Host: h\r\nX-Content-Length: 2\r\nContent-Length: 2\r\n\r\n":               "",
		"Host: h\r\n\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n":    "",
		"Host: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n":        "more than one way",
		"Transfer-Encoding: chunked\r\ncontent-length: 2\r\n\r\n":                   "more than one way",
		"Host: h\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\n":                 "more than one way",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n":          "more than one way",
		"Transfer-Encoding: identity\r\n\r\n":                                       "not chunked",
		"Transfer-Encoding: gzip, chunked\r\n\r\n":                                  "not chunked",
		"Transfer-Encoding: \x0bchunked\r\n\r\n":                                    "not chunked",
		"Transfer-Encoding:\r\n\r\n":                                                "not chunked",
		"Host: h\r\nX: a\r\n b\r\n\r\n":                                             "folded",
		"Host: h\r\nX: a\r\n\tb\r\n\r\n":                                            "folded",
		"Host: h\nX: a\r\n\r\n":                                                     "CRLF",
		"Host: h\r\nX: a\n\r\n":                                                     "CRLF",
		"Host: h\r\n\n":                                                             "CRLF",
		"Host: h\r\nX: a\rb\r\n\r\n":                                                "CRLF",
		"Host: h\r\nX: a\r\r\n\r\n":                                                 "CRLF",
		"Host: h\r\nX: a":                                                           "CRLF",
		"Host: h\r\nContent-Length : 2\r\n\r\n":                                     "clear name",
		"Host: h\r\nContent Length: 2\r\n\r\n":                                      "clear name",
		"Host: h\r\nContent-Length\t: 2\r\n\r\n":                                    "clear name",
		"Host: h\r\nno colon\r\n\r\n":                                               "clear name",
		"Host: h\r\n: no name\r\n\r\n":                                              "clear name",
		"Content-Type: text/event-stream\r\ncontent-type: application/json\r\n\r\n": "Content-Type",
		"Expect: 100-Continue\r\nConnection: keep-alive, X-A\r\nX_A: b\r\n\r\n":     "",
		"Expect: 200-ok\r\n\r\n":                                                    "expects something else",
		"Expect: 100-continue\r\nexpect: 100-continue\r\n\r\n":                      "more than one Expect",
		"Connection: close, mcp-session-id\r\n\r\n":                                 "Connection header",
		"Transfer_Encoding: chunked\r\n\r\n":                                        "take for another",
		"Mcp_Method: tools/list\r\n\r\n":                                            "take for another",
		"Host: h\r\nHOST: i\r\n\r\n":                                                "Host",
		"Mcp-Session-Id: a\r\nMCP-Session-ID: b\r\n\r\n":                            "Mcp-Session-Id",
	} {
		if got := head.Unclear([]byte(fields)); (got == "") != (says == "") || !strings.Contains(got, says) {
			t.Errorf("%q: %q", fields, got)
		}
	}
}

func TestAHeadIsCutOnlyWhenItIsWhole(t *testing.T) {
	for raw, want := range map[string][2]string{
		"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\n\r\n": {"HTTP/1.1 200 OK\r\n", "A: b\r\n\r\n"},
		"HTTP/1.1 200 OK\nA: b\n\nbody":               {"HTTP/1.1 200 OK\n", "A: b\n\n"},
		"HTTP/1.1 200 OK\r\n\r\n":                     {"HTTP/1.1 200 OK\r\n", "\r\n"},
		"\r\n\r\n":                                    {"\r\n", "\r\n"},
	} {
		first, fields, ok := head.Cut([]byte(raw))
		if !ok || string(first) != want[0] || string(fields) != want[1] {
			t.Errorf("%q: %q %q %v", raw, first, fields, ok)
		}
		whole := len(first) + len(fields)
		for n := range whole {
			if _, _, ok := head.Cut([]byte(raw[:n])); ok {
				t.Errorf("%q is cut after %d bytes", raw, n)
			}
		}
	}
}
