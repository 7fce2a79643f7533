package guard

import (
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// TestT3NoTwoServersHaveTheSameURIs goes through all short names of the characters that are written in another way, and their neighbours.
func TestT3NoTwoServersHaveTheSameURIs(t *testing.T) {
	names := []string{"a"}
	for at := 0; at < len(names) && len(names[at]) < 7; at++ {
		for _, next := range []string{".", "_", "-", "a", "d", "u"} {
			names = append(names, names[at]+next)
		}
	}
	of := map[string]string{}
	for _, name := range names {
		if last := name[len(name)-1]; last == '.' || last == '_' || last == '-' {
			continue // no name ends so
		}
		prefix := uriPrefix(name)
		if other, taken := of[prefix]; taken {
			t.Fatalf("%s and %s are both %s", name, other, prefix)
		}
		of[prefix] = name
		if strings.Count(prefix, "+") != 1 || strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz0123456789.-+") != "" {
			t.Fatalf("%s of %s is no scheme", prefix, name)
		}
	}
	for name, want := range map[string]string{"acts": "hg.acts+", "a.b": "hg.a.b+", "a_b": "hg.a..b+", "a..b": "hg.a...dd.b+", "a._b_c": "hg.a...du.b..c+"} {
		if got := uriPrefix(name); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
		servers := []*Server{{Name: "a"}, {Name: "b"}, {Name: name}}
		if s, uri, ok := ownURI(servers, visibleURI(name, "memo://x")); !ok || s.Name != name || uri != "memo://x" {
			t.Errorf("%s is not found by its URI", name)
		}
	}
}

// TestT3NoTwoServersHaveTheSameNames holds every pair of a server and one of its own names, of all that are valid and short, to a visible name of its own
// that leads back to the pair: prompts and tools, resources, and pages of the ui scheme. Servers' own names may have dots; names of servers have none.
func TestT3NoTwoServersHaveTheSameNames(t *testing.T) {
	var servers []*Server
	for _, name := range words("ab_-.", 4) {
		if first, last := name[0], name[len(name)-1]; Nameable(name) && strings.IndexByte("_-", first) < 0 && strings.IndexByte("_-", last) < 0 {
			servers = append(servers, &Server{Name: name})
		}
	}
	own := words("a._:/+", 3)
	type pair struct{ server, name string }
	of := map[string]pair{}
	take := func(kind, visible string, p pair) {
		if other, taken := of[kind+visible]; taken && other != p {
			t.Fatalf("%v and %v are both %s", other, p, visible)
		}
		of[kind+visible] = p
	}
	for _, s := range servers {
		for _, name := range own {
			p := pair{s.Name, name}
			visible := prefixedText(s.Name, name)
			take("name ", visible, p)
			if got, back, ok := ownName(servers, visible); !ok || got != s || back != name {
				t.Fatalf("%v is %s, which is found to be %s of %v", p, visible, back, got)
			}
			for _, scheme := range []string{"", "ui://", "hg.a+", "ui:"} {
				p := pair{s.Name, scheme + name}
				uri := visibleURI(s.Name, scheme+name)
				take("uri ", uri, p)
				if got, back, ok := ownURI(servers, uri); !ok || got != s || back != scheme+name {
					t.Fatalf("%v is %s, which is found to be %s of %v", p, uri, back, got)
				}
			}
		}
	}
	t.Logf("%d servers, %d visible names", len(servers), len(of))
}

// prefixedText is what a prompt of a server is called among those of all.
func prefixedText(server, name string) string {
	visible, _ := mcp.Text(prefixedNames([]byte(`{"name":`+string(mcp.Quote(name))+`}`), server), "name")
	return visible
}

// words are all texts of some letters up to a length.
func words(letters string, most int) []string {
	out := []string{""}
	for at := 0; at < len(out); at++ {
		if len(out[at]) == most {
			break
		}
		for _, letter := range letters {
			out = append(out, out[at]+string(letter))
		}
	}
	return out[1:]
}
