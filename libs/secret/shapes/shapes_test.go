package shapes_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/secret/shapes"
)

func TestT19SecretsAreKnownByTheirShape(t *testing.T) {
	s := shapes.New()
	for _, one := range [][2]string{
		{"key sk-ant-api03-AAAABBBBCCCCDDDD postgres://u:hunter22@db/x", "key * postgres://u:*@db/x"},
		{"ghp_aaaabbbbccccddddeeee,gho_aaaabbbbccccddddeeee github_pat_11AAAA_bbbbccccdddd", "*,* *"},
		{"xoxb-1234-5678-abcdefgh xoxp-1234-5678-abcdefgh glpat-AAAAbbbbCCCCdddd", "* * *"},
		{"AKIAIOSFODNN7EXAMPLE ASIAIOSFODNN7EXAMPLE AIzaSyA-aaaabbbbccccdddd", "* * *"},
		{"jwt=eyJhbGciOiJub25l.eyJzdWIiOiJhbmEi.c2ln;", "jwt=*;"},
		{"jwe=eyJhbGciOiJub25l.eyJzdWIiOiJhbmEi.c2ln.bW9yZQ.dGFn;", "jwe=*;"},
		{`"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----" x`, `"*" x`},
		{"-----BEGIN PGP PRIVATE KEY BLOCK-----\nMIIE", "*"},
		{"redis://:p@ss/w0rd@h and https://u:%40x@h/?q=1", "redis://:*@h and https://u:*@h/?q=1"},
		{"http://h:80/@scope,postgres://u:hunter22@db/x", "http://h:80/@scope,postgres://u:*@db/x"},
		{"postgres://u:#S3cret@db redis://:/pw@h x://u:?x@h", "postgres://u:*@db redis://:*@h x://u:*@h"},
		{"postgres://u:123/abc@h https://h:808012/a@b", "postgres://u:*@h https://h:*@b"},
		{"mongodb://h1:27017,h2:27017/db and 'amqp://a:b@c'\n\"ws://h:1?@\" https://:x@y://z", "mongodb://h1:27017,h2:27017/db and 'amqp://a:*@c'\n\"ws://h:1?@\" https://:*@y://z"},
		{"http://localhost:3000/@scope/pkg", "http://localhost:3000/@scope/pkg"},
		{"http://localhost:3000 says hello to ana@bank.example", "http://localhost:3000 says hello to ana@bank.example"},
		{"task-management-of-the-bank disk-0123456789abcdef sk-short AKIA", "task-management-of-the-bank disk-0123456789abcdef sk-short AKIA"},
		{"-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"},
	} {
		if got := s.Redact(one[0], "*"); got != one[1] {
			t.Errorf("%q became %q, not %q", one[0], got, one[1])
		}
	}
}

func TestPrivateKeysBeginAndEnd(t *testing.T) {
	s := shapes.New()
	const begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
	for line, opens := range map[string]bool{"at 1: " + begin: true, begin + "MII" + end: false, end + begin: true, begin + end + begin + "M": true, "x": false} {
		if s.Opens(line) != opens {
			t.Errorf("%q opens a key: %v", line, !opens)
		}
	}
	if rest, ok := s.Closes("MII" + end + " bye"); !ok || ("MII" + end + " bye")[rest:] != " bye" {
		t.Error(rest, ok)
	}
	if _, ok := s.Closes("MII"); ok {
		t.Error("a key ended")
	}
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"://u:p@h", "://:1/://u:p@@", "a://:2,@x", "-----BEGIN PRIVATE KEY-----", "sk-aaaabbbbccccdddd"} {
		f.Add(seed)
	}
	s := shapes.New()
	f.Fuzz(func(t *testing.T, text string) {
		once := s.Redact(text+" postgres://u:hunter22@db/x", "*")
		if strings.Contains(once, "hunter22") && !strings.Contains(text, "hunter22") {
			t.Errorf("%q", once)
		}
	})
}

// A piece with as many beginnings of URLs as it likes is gone through once: each of these would take a minute otherwise.
func TestT22ManyURLsInOnePieceTakeNoLonger(t *testing.T) {
	s := shapes.New()
	for _, part := range []string{"://:1/", "http://:1/", "://", ":", "://a"} {
		text := strings.Repeat(part, (1<<17)/len(part)) + "@"
		if got := s.Redact(text, "*"); !strings.HasSuffix(got, "@") || s.Redact(text+"h x://u:hunter22@db", "*") == "" {
			t.Errorf("%.20q: %d bytes", got, len(got))
		}
	}
}
