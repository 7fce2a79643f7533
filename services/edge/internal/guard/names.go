package guard

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"headgate.dev/libs/mcp"
)

// At the endpoint of all servers a name says whose it is: server.name for tools and prompts, hg.server+uri for resources, and ui://server/… for
// those of the ui scheme, which clients know by it. At the endpoint of one server, names are the server's own.

const (
	uriMark = "hg."
	uiMark  = "ui://"
)

// visibleURI is a resource's URI, or the template of one, as clients of all servers know it.
func visibleURI(server, uri string) string {
	if rest, ok := strings.CutPrefix(uri, uiMark); ok {
		return uiMark + server + "/" + rest
	}
	return uriPrefix(server) + uri
}

// uriPrefix makes a scheme of a server's name (RFC 3986, 3.1), another one for each name. The one character of names that schemes do not have, the
// underscore, is written as two dots. Where dots and underscores stand together, three dots begin their letters, d and u, and one dot ends them.
func uriPrefix(server string) string {
	var out strings.Builder
	out.WriteString(uriMark)
	for server != "" {
		name := len(server) - len(strings.TrimLeft(server, "._"))
		switch run := server[:name]; run {
		case "", ".":
			out.WriteString(run)
		case "_":
			out.WriteString("..")
		default:
			out.WriteString("..." + strings.NewReplacer(".", "d", "_", "u").Replace(run) + ".")
		}
		server = server[name:]
		end := strings.IndexAny(server, "._")
		if end < 0 {
			end = len(server)
		}
		out.WriteString(server[:end])
		server = server[end:]
	}
	out.WriteByte('+')
	return out.String()
}

// ownURI finds the server of a visible URI, and the server's own; false when it is none of theirs.
func ownURI(servers []*Server, visible string) (server *Server, uri string, ok bool) {
	for _, s := range servers {
		prefix, back := uriPrefix(s.Name), ""
		if strings.HasPrefix(visible, uiMark) {
			prefix, back = uiMark+s.Name+"/", uiMark
		}
		if rest, found := strings.CutPrefix(visible, prefix); found {
			return s, back + rest, true
		}
	}
	return nil, "", false
}

// ownName finds the server of a visible prompt's name.
func ownName(servers []*Server, visible string) (server *Server, name string, ok bool) {
	of, name, ok := SplitName(visible)
	if !ok {
		return nil, "", false
	}
	for _, s := range servers {
		if s.Name == of {
			return s, name, true
		}
	}
	return nil, "", false
}

// SplitName takes a visible name apart. No server's name has a dot, so that the first one ends it, whatever the server's own name for the rest is.
func SplitName(visible string) (server, name string, ok bool) {
	server, name, ok = strings.Cut(visible, ".")
	return server, name, ok && server != ""
}

// Nameable reports whether a server can be one of several: with a dot in its name, two servers could have the same names.
func Nameable(server string) bool { return !strings.Contains(server, ".") }

// renamed gives what a server says its visible names. It touches the places where the protocol has names and URIs, not the server's own data.
func renamed(document []byte, server string) []byte {
	if !bytes.Contains(document, []byte("uri")) && !bytes.Contains(document, []byte("Uri")) && bytes.IndexByte(document, '\\') < 0 {
		return document
	}
	return mcp.Rewrite(document, func(path []string, text string) (string, bool) {
		if !isURI(path) || isLink(path) && fetchable(text) {
			return "", false
		}
		return visibleURI(server, text), true
	})
}

// renamedError gives the URI that an error is about its visible name (2025-11-25, server/resources, "Error Handling").
func renamedError(document []byte, server string) []byte {
	if mcp.Get(document, "data", "uri") == nil {
		return document
	}
	return mcp.Rewrite(document, func(path []string, text string) (string, bool) {
		return visibleURI(server, text), slices.Equal(path, []string{"data", "uri"})
	})
}

// renamedLinks gives the links in what a server wants a model to read their visible names.
func renamedLinks(params []byte, server string) []byte {
	return mcp.Rewrite(params, func(path []string, text string) (string, bool) {
		if path[0] != "messages" || !linkIn(path[1:]) || fetchable(text) {
			return "", false
		}
		return visibleURI(server, text), true
	})
}

// ownLinks is the way back: the answer of a client to such a question, with the server's own URIs. A model may also have written a visible one into the
// arguments of a tool of the server's, where it is known by being nothing else.
func ownLinks(answer []byte, server *Server) []byte {
	return mcp.Rewrite(answer, func(path []string, text string) (string, bool) {
		toTool := len(path) > 2 && path[0] == "content" && path[1] == "input"
		if !toTool && !linkIn(path) {
			return "", false
		}
		_, uri, ok := ownURI([]*Server{server}, text)
		return uri, ok
	})
}

// ownAnswers does so for each of the answers with which a request is made again.
func ownAnswers(params json.RawMessage, server *Server) (json.RawMessage, error) {
	names, answers := mcp.Members(mcp.Get(params, mcp.MemberInputResponses))
	for i, name := range names {
		own := ownLinks(answers[i], server)
		if bytes.Equal(own, answers[i]) {
			continue
		}
		var err error
		if params, err = mcp.Set(params, own, mcp.MemberInputResponses, name); err != nil {
			return nil, err
		}
	}
	return params, nil
}

// linkIn reports whether a path is that of the URI of a link or of an embedded resource, in the content of a message or of a tool's result in one
// (2025-11-25, schema, SamplingMessage).
func linkIn(path []string) bool {
	if len(path) < 2 || path[0] != "content" {
		return false
	}
	rest := path[1:]
	if rest[0] == "content" {
		rest = rest[1:]
	}
	return slices.Equal(rest, []string{"uri"}) || slices.Equal(rest, []string{"resource", "uri"})
}

// isLink reports whether a URI at a path points to something, or comes with it, rather than being what a list or a read is about.
func isLink(path []string) bool { return path[0] == "content" || path[0] == "messages" }

// fetchable reports whether a URI is one that clients fetch from the web by themselves (2025-11-25, server/resources, "https://"). Under a name of
// Headgate's they could not. What a server lists has its visible name all the same, under which reads find the server.
func fetchable(uri string) bool {
	scheme, _, ok := strings.Cut(uri, "://")
	return ok && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http"))
}

// isURI reports whether the protocol has the URI of a resource at a path.
func isURI(path []string) bool {
	last := path[len(path)-1]
	if slices.Contains(path, "structuredContent") {
		return false
	}
	if at := slices.Index(path, "_meta"); at >= 0 {
		rest := path[at+1:]
		return slices.Equal(rest, []string{"ui", "resourceUri"}) || slices.Equal(rest, []string{"ui/resourceUri"})
	}
	switch last {
	case "uriTemplate":
		return path[0] == "resourceTemplates"
	case "uri":
		return path[0] == "contents" || path[0] == "resources" || path[0] == "content" || path[0] == "messages" || slices.Equal(path, []string{"params", "uri"})
	}
	return false
}

// Shown is a tool's definition as clients of all servers see it: its name, and the page of the ui scheme that it may have.
func Shown(definition json.RawMessage, server, name string) (json.RawMessage, error) {
	out, err := mcp.Set(definition, mcp.Quote(server+"."+name), "name")
	if err != nil {
		return nil, err
	}
	return mcp.Rewrite(out, func(path []string, text string) (string, bool) {
		return visibleURI(server, text), path[0] == "_meta" && isURI(path)
	}), nil
}

// prefixedNames gives the prompts of a list their visible names.
func prefixedNames(document []byte, server string) []byte {
	return mcp.Rewrite(document, func(path []string, text string) (string, bool) {
		return server + "." + text, len(path) == 1 && path[0] == "name"
	})
}
