package pathtext_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/policy/pathtext"
)

func TestPaths(t *testing.T) {
	for text, want := range map[string]pathtext.Path{
		"/srv/a.PDF":          {Clean: "/srv/a.PDF", Absolute: true, Plain: true, Name: "a.PDF", Extension: ".pdf"},
		"/srv/../etc/passwd":  {Clean: "/etc/passwd", Absolute: true, Name: "passwd"},
		"reports//./q1.csv":   {Clean: "reports/q1.csv", Name: "q1.csv", Extension: ".csv"},
		"/../../etc":          {Clean: "/etc", Absolute: true, Name: "etc"},
		"/srv/reports/":       {Clean: "/srv/reports", Absolute: true, Plain: true, Name: "reports"},
		"/srv/résumé.tar.gz":  {Clean: "/srv/résumé.tar.gz", Absolute: true, Plain: true, Name: "résumé.tar.gz", Extension: ".gz"},
		"a/../b":              {Clean: "b", Name: "b"},
		"/":                   {Clean: "/", Absolute: true, Plain: true, Name: "/"},
		"/srv/..hidden/x.txt": {Clean: "/srv/..hidden/x.txt", Absolute: true, Plain: true, Name: "x.txt", Extension: ".txt"},
	} {
		if got, err := pathtext.Read(text); err != nil || *got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "../x", "a/../../x", "..", "~/x", "~root", `C:\x`, "c:/x", `a\b`, "/srv/%2e%2e/etc", "/a\x00b", "//server/share", "/a\nb", "/\xff", strings.Repeat("a", 5000),
	} {
		if got, err := pathtext.Read(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestUnder(t *testing.T) {
	for _, c := range []struct {
		path, root string
		under      bool
	}{
		{"/srv/reports/a", "/srv/reports", true}, {"/srv/reports", "/srv/reports/", true}, {"/srv/reports-old/a", "/srv/reports", false},
		{"/srv/reports/../x", "/srv/reports", false}, {"/x", "/", true}, {"a/b", "a", true}, {"a/b", ".", true}, {"/srv/../srv/reports/a", "/srv/reports", true},
	} {
		p, err := pathtext.Read(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Under(c.root); err != nil || got != c.under {
			t.Errorf("%s under %s: %v %v", c.path, c.root, got, err)
		}
	}
	p, err := pathtext.Read("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/srv", "~", ""} {
		if under, err := p.Under(root); err == nil {
			t.Errorf("a under %q: %v", root, under)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("/srv/../etc/passwd")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := pathtext.Read(text)
		if err != nil {
			return
		}
		for part := range strings.SplitSeq(p.Clean, "/") {
			if part == ".." {
				t.Errorf("%q leads out: %+v", text, p)
			}
		}
		if again, err := pathtext.Read(p.Clean); err == nil && again.Clean != p.Clean {
			t.Errorf("%q is %q and then %q", text, p.Clean, again.Clean)
		}
	})
}
