package front

import (
	"strings"
	"testing"
)

func TestT19ARequestIsFramedAlikeWhereverReadsEnd(t *testing.T) {
	const fields = "Host: h\r\nContent-Length: 0\r\n\r\n"
	const chunks = "POST /mcp HTTP/1.1\r\nTransfer-Encoding: \tChunked\r\n\r\n"
	const next = "POST /mcp HTTP/1.1\n"
	const refused = "POST /mcp HTTP/1.1\x00"
	for raw, want := range map[string]string{
		"POST /mcp HTTP/1.1\r\n" + fields:                                                "",
		"\r\n\r\nPOST /mcp HTTP/1.1\r\n" + fields:                                        "",
		"POST /mcp HTTP/1.1\r\nX: HTTP/1.1\r\ncontent-length: 3\r\n\r\n{\n}":             "",
		"POST /mcp HTTP/1.1\n" + fields:                                                  "POST /mcp HTTP/1.1\x00" + fields,
		"GET /mcp\n" + fields:                                                            "GET /mcp\x00" + fields,
		"\nPOST /mcp HTTP/1.1\r\n" + fields:                                              "\x00POST /mcp HTTP/1.1\r\n" + fields,
		"\n\nPOST /mcp HTTP/1.1\r\n" + fields:                                            "\x00\nPOST /mcp HTTP/1.1\r\n" + fields,
		"\r\n\nPOST /mcp HTTP/1.1\r\n" + fields:                                          "\r\n\x00POST /mcp HTTP/1.1\r\n" + fields,
		"\rPOST /mcp HTTP/1.1\r\n" + fields:                                              "\r\x00OST /mcp HTTP/1.1\r\n" + fields,
		strings.Repeat("\r\n", 9) + "POST ":                                              strings.Repeat("\r\n", 8) + "\x00\nPOST ",
		"POST /mcp HTTP/1.1\r\n" + fields + next:                                         "POST /mcp HTTP/1.1\r\n" + fields + refused,
		"POST /mcp HTTP/1.1\r\nContent-Length: \t0002 \r\n\r\n{}" + next:                 "POST /mcp HTTP/1.1\r\nContent-Length: \t0002 \r\n\r\n{}" + refused,
		"POST /mcp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}\n" + next:                     "POST /mcp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}\x00" + next,
		chunks + "2\r\n{}\r\n0\r\n\r\n" + next:                                           chunks + "2\r\n{}\r\n0\r\n\r\n" + refused,
		chunks + "1;a=\"b\"\r\n{\r\n01\r\n}\r\n0;e\r\n\r\n" + next:                       chunks + "1;a=\"b\"\r\n{\r\n01\r\n}\r\n0;e\r\n\r\n" + refused,
		chunks + "2\r\n{}\r\n0\r\n\n" + next:                                             chunks + "2\r\n{}\r\n0\r\n",
		chunks + "2\r\n{}\r\n0\r\nX: a\r\n\r\n":                                          chunks + "2\r\n{}\r\n0\r\n",
		chunks + "2 \r\n{}\r\n":                                                          chunks + "2",
		chunks + "2\t\r\n{}\r\n":                                                         chunks + "2",
		chunks + " 2\r\n{}\r\n":                                                          chunks,
		chunks + "2\n{}\r\n":                                                             chunks + "2",
		chunks + "2\rx{}\r\n":                                                            chunks + "2\r",
		chunks + "2\r\n{}\n0\r\n\r\n":                                                    chunks + "2\r\n{}",
		chunks + "2\r\n{}0\r\n\r\n":                                                      chunks + "2\r\n{}",
		chunks + "2;a\nb\r\n{}\r\n":                                                      chunks + "2;a",
		chunks + "2;" + strings.Repeat("a", 400):                                         chunks + "2;" + strings.Repeat("a", 255),
		chunks + "0000000000000002\r\n":                                                  chunks + "000000000000000",
		"POST /mcp HTTP/1.1\r\nContent-Length: " + strings.Repeat("0", 90) + "2\r\n\r\n": "POST /mcp HTTP/1.1\r\nContent-Length: " + strings.Repeat("0", 90) + "2\r",
		// What head.Unclear refuses is let through to it.
		"POST /mcp HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}" + next: "",
		"POST /mcp HTTP/1.1\r\nHost: h\nX: y\r\n\r\n" + next:                                     "",
		"POST /mcp HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + next:                  "",
	} {
		if want == "" {
			want = raw
		}
		for size := 1; size <= len(raw); size++ {
			var f framing
			var got strings.Builder
			for from := 0; from < len(raw); from += size {
				part := []byte(raw[from:min(from+size, len(raw))])
				good := f.take(part)
				got.Write(part[:good])
				if good < len(part) {
					break
				}
			}
			if got.String() != want {
				t.Fatalf("%q in reads of %d bytes comes out as %q", raw, size, got.String())
			}
		}
	}
}
