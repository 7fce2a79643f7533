package edge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/secret"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/edge/internal/keyed"
)

// at is the value of a member as it stands in a document, found by another reader than the product's; nil where there is none.
func at(document []byte, path ...string) []byte {
	for _, name := range path {
		var object map[string]json.RawMessage
		if json.Unmarshal(document, &object) != nil {
			return nil
		}
		document = object[name]
	}
	return document
}

// pairs takes an object apart with that reader: its members in their order, each value as it stands there.
func pairs(document []byte, without ...string) []string {
	in := json.NewDecoder(bytes.NewReader(document))
	if _, err := in.Token(); err != nil {
		return []string{"broken: " + err.Error()}
	}
	var out []string
	for in.More() {
		name, err := in.Token()
		var value json.RawMessage
		if err == nil {
			err = in.Decode(&value)
		}
		if err != nil {
			return append(out, "broken: "+err.Error())
		}
		if text, ok := name.(string); ok && !slices.Contains(without, text) {
			out = append(out, text+"="+string(value))
		}
	}
	return out
}

// carrier is one method that carries documents both ways. What stands in it for a name is the one that the endpoint has.
type carrier struct {
	method, header string // header is what the request is about
	members        string // of its params, with %s for the arguments where it has some
	result         string // the first member of its result
}

// carriers are those methods at an endpoint: that of one server, or the one of all, where the server's name is before each other name.
func carriers(server string, all bool) []carrier {
	act, greet, memo := "act", "p", "memo://a"
	if all {
		act, greet, memo = server+".act", server+".p", "hg."+server+"+memo://a"
	}
	return []carrier{
		{"tools/call", act, `"name":"` + act + `","arguments":%s`, `"content":[]`},
		{"prompts/get", greet, `"name":"` + greet + `","arguments":%s`, `"messages":[]`},
		{"resources/read", memo, `"uri":"` + memo + `"`, `"contents":[{"text":"t","uri":"` + memo + `","x":1.0}]`},
		{"completion/complete", "", `"ref":{"type":"ref/prompt","name":"` + greet + `"},"argument":{"name":"n","value":"v"},"context":%s`, `"completion":{"values":[]}`},
	}
}

// passage is a way through the whole edge: from a client of one revision, at one endpoint, to a server of one.
type passage struct {
	c      *client
	s      *script
	server string
	all    bool
}

// load is what goes along a passage.
type load struct {
	at                             int // which of the carriers
	arguments, extra, meta, notice *page
	result                         *page // without its first member
	streams                        bool
	id                             string
}

// passages are all of them: every revision in front, both eras behind, and either endpoint.
func passages(t *testing.T, fronts []string) (*harness, []passage) {
	w := newWorld(t)
	w.person("ana", nil)
	scripts := map[string]*script{"modern": newScript(t, mcp.V20260728), "legacy": newScript(t, mcp.V20251125)}
	for name, s := range scripts {
		w.server(name, s.URL+"/mcp", s.tools, nil)
		w.grant("person/ana", name, "*", "call")
	}
	h := start(t, w, nil)
	h.http.Timeout = time.Minute
	var out []passage
	for _, front := range fronts {
		all := h.guest("ana", "/mcp", front, `{}`)
		for _, name := range []string{"modern", "legacy"} {
			out = append(out, passage{h.guest("ana", "/mcp/"+name, front, `{}`), scripts[name], name, false}, passage{all, scripts[name], name, true})
		}
	}
	return h, out
}

// TestDocumentsComeOutAsTheyWentIn sends generated documents as arguments, unknown members, metadata, notices and results through the whole edge, with
// every revision in front, both eras behind, and at either endpoint. What arrives is the same bytes, without what was planted as hidden where it came from
// a server; and what was decided and recorded is what the server got.
func TestDocumentsComeOutAsTheyWentIn(t *testing.T) {
	h, all := passages(t, mcp.Supported())
	keys, err := keyed.New(secret.New(strings.Repeat("5a", 32)))
	must(t, err)
	recorded := map[string]string{} // what the record of a call must have for its arguments
	last := ""
	rapid.Check(t, func(rt *rapid.T) {
		hides, streams := rapid.Bool().Draw(rt, "hides"), rapid.Bool().Draw(rt, "streams")
		client, server := pen{rt, hides, true, false}, pen{rt, hides, !streams, true}
		l := load{
			at: rapid.IntRange(0, len(carriers("", false))-1).Draw(rt, "method"), streams: streams, arguments: client.object(3, ""), extra: client.document(3),
			meta: client.document(2), notice: pen{rt, hides, false, true}.document(2), result: server.object(3, `"x-first":0`),
		}
		for _, p := range all {
			n := p.c.h.ids.Add(1)
			l.id = fmt.Sprintf(rapid.SampledFrom([]string{"%d", "900719925474%07d", `"x-%d"`, `"\u0061\"\/é-%d"`, "-%d"}).Draw(rt, "id"), n)
			p.pass(rt, l)
			if l.at == 0 {
				last = l.id
				recorded[l.id] = keys.Sum(acme, []byte(l.arguments.sent.String()))
			}
		}
	})
	h.final(last)
	h.recordedAs(recorded)
}

// recordedAs holds the records of calls to the arguments that the server got, once they are all there.
func (h *harness) recordedAs(want map[string]string) {
	h.t.Helper()
	finals := map[string]bool{}
	eventually(h.t, 20*time.Second, "the final records of all calls", func() bool {
		for _, ev := range h.all() {
			if id := ev.GetRequest().GetId(); want[id] != "" && ev.GetPhase() == eventsv1.Phase_PHASE_FINAL {
				finals[id] = true
			}
		}
		return len(finals) == len(want)
	})
	for _, ev := range h.all() {
		sum, ours := want[ev.GetRequest().GetId()]
		if ours && ev.GetAction() == "tool-call" && ev.GetArguments().GetHmac() != sum {
			h.t.Errorf("recorded other arguments of %s than the server got: %v", ev.GetRequest().GetId(), ev.GetArguments())
		}
	}
}

// first is the beginning of a result as the server writes it, and as the client reads it.
func (p passage) first(which int) (says, reads string) {
	says, reads = carriers(p.server, false)[which].result, carriers(p.server, p.all)[which].result
	if mcp.Modern(p.s.version) {
		const modern = `{"resultType":"complete","ttlMs":0,"cacheScope":"private",`
		return modern + says, modern + reads
	}
	return "{" + says, "{" + reads
}

// answer is a whole result as the server writes it, and as the client has to read it.
func (p passage) answer(l load) (says, reads string) {
	says, reads = p.first(l.at)
	return says + "," + strings.TrimLeft(l.result.sent.String()[1:], " \t\r\n"), reads + "," + strings.TrimLeft(l.result.bare.String()[1:], " \t\r\n")
}

// request is the params of a request as it is sent, without its metadata.
func (l load) request(of carrier) string {
	if strings.Contains(of.members, "%s") {
		of.members = fmt.Sprintf(of.members, l.arguments.sent.String())
	}
	return `"x-extra":` + l.extra.sent.String() + `, ` + of.members
}

// body is the whole request.
func (p passage) body(l load) string {
	meta := `{"progressToken":"p","com.example/meta":` + l.meta.sent.String() + `}`
	if p.c.modern {
		meta = strings.TrimSuffix(strings.TrimPrefix(modernMeta, `"_meta":`), "}") + "," + meta[1:]
	}
	of := carriers(p.server, p.all)[l.at]
	return `{"jsonrpc":"2.0","id":` + l.id + `,"method":"` + of.method + `","params":{` + l.request(of) + `,"_meta":` + meta + `}}`
}

func (p passage) pass(t *rapid.T, l load) {
	of := carriers(p.server, p.all)[l.at]
	says, reads := p.answer(l)
	way := fmt.Sprintf("%s to %s at %s, %s", p.c.version, p.s.version, p.c.path, of.method)
	p.s.does(of.method, func(c *turn) {
		if l.streams {
			c.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1,"x":` + l.notice.sent.String() + `}}`)
		}
		c.result(says)
	})
	k := p.c.exchange(http.MethodPost, p.body(l), l.id, p.c.header(of.method, of.header))
	if l.streams {
		if got, want := at(k.next(), "params", "x"), l.notice.bare.String(); string(got) != want {
			t.Errorf("%s: a notice arrived as %q, not %q", way, got, want)
		}
	}
	answer := k.next()
	k.cancel()
	if got := string(at(answer, "id")); got != l.id {
		t.Errorf("%s: %s was answered as %s", way, l.id, got)
	}
	p.same(t, way, at(answer, "result"), []byte(reads))
	p.came(t, way, l)
	p.s.forget()
}

// same holds a result to what the client has to read: every byte between two of one era, every member in its order between two of different eras.
func (p passage) same(t *rapid.T, way string, got, want []byte) {
	if p.c.modern == mcp.Modern(p.s.version) && !bytes.Equal(got, want) {
		t.Errorf("%s: a result arrived as\n%q, not\n%q", way, got, want)
	}
	eras := []string{"resultType", "ttlMs", "cacheScope"}
	if have, want := pairs(got, eras...), pairs(want, eras...); !slices.Equal(have, want) {
		t.Errorf("%s: a result arrived as\n%q, not\n%q", way, have, want)
	}
}

// came holds what the server got to what was sent: the same members in the same order, and each of them the same bytes.
func (p passage) came(t *rapid.T, way string, l load) {
	of := carriers(p.server, false)[l.at]
	for _, one := range p.s.sent(of.method) {
		params := at([]byte(one.body), "params")
		if got, want := pairs(params, "_meta"), pairs([]byte("{"+l.request(of)+"}")); !slices.Equal(got, want) {
			t.Errorf("%s: arrived as\n%q, not\n%q", way, got, want)
		}
		if got := string(at(params, "_meta", "com.example/meta")); got != l.meta.sent.String() {
			t.Errorf("%s: metadata arrived as %q, not %q", way, got, l.meta.sent.String())
		}
		if got := string(at(params, "_meta", "progressToken")); got != `"p"` {
			t.Errorf("%s: the token arrived as %s", way, got)
		}
		return
	}
	t.Errorf("%s: nothing arrived", way)
}

// TestBatchesComeOutAsTheyWentIn: each element of a batch travels as if it had come alone, and the answers stand in the order of the requests.
func TestBatchesComeOutAsTheyWentIn(t *testing.T) {
	h, all := passages(t, []string{mcp.V20250326})
	keys, err := keyed.New(secret.New(strings.Repeat("5a", 32)))
	must(t, err)
	recorded := map[string]string{}
	rapid.Check(t, func(rt *rapid.T) {
		hides := rapid.Bool().Draw(rt, "hides")
		n := pen{rt, hides, true, false}
		for _, p := range all {
			loads := make([]load, rapid.IntRange(1, 4).Draw(rt, "requests"))
			for i := range loads {
				id := h.ids.Add(1)
				loads[i] = load{
					at: i % 3, arguments: n.object(2, fmt.Sprintf(`"mine":%d`, id)), extra: n.document(2), meta: n.document(1), result: pen{rt, hides, true, true}.object(2, fmt.Sprintf(`"of":%d`, i)),
					id: fmt.Sprintf(rapid.SampledFrom([]string{"%d", `"b-%d"`, `"\u0062\n-%d"`}).Draw(rt, "id"), id),
				}
				if loads[i].at == 0 {
					recorded[loads[i].id] = keys.Sum(acme, []byte(loads[i].arguments.sent.String()))
				}
			}
			p.together(rt, loads, n)
		}
	})
	h.recordedAs(recorded)
}

// together sends loads as one batch with a notice in it.
func (p passage) together(t *rapid.T, loads []load, n pen) {
	way := fmt.Sprintf("a batch to %s at %s", p.s.version, p.c.path)
	elements := []string{`{"jsonrpc":"2.0","method":"notifications/initialized"}`}
	for which, of := range carriers(p.server, false)[:3] {
		p.s.does(of.method, func(c *turn) {
			for _, l := range loads {
				if l.at == which && string(at(c.m.Params, "_meta", "com.example/id")) == l.id {
					says, _ := p.answer(l)
					c.result(says)
					return
				}
			}
			c.fails(-32602, "nobody sent this", "")
		})
	}
	for _, l := range loads {
		elements = append(elements, strings.Replace(p.body(l), `"_meta":{`, `"_meta":{"com.example/id":`+l.id+`,`, 1))
	}
	body := n.blank() + "[" + n.blank() + strings.Join(elements, n.blank()+","+n.blank()) + n.blank() + "]"
	r := p.c.post(body, p.c.header("", ""))
	var answers []json.RawMessage
	if err := json.Unmarshal(r.body, &answers); err != nil || len(answers) != len(loads) {
		t.Fatalf("%s: %s was answered by %d %s", way, body, r.status, r.body)
	}
	for i, l := range loads {
		if got := string(at(answers[i], "id")); got != l.id {
			t.Errorf("%s: %s was answered where %s stands", way, got, l.id)
		}
		_, reads := p.answer(l)
		p.same(t, way, at(answers[i], "result"), []byte(reads))
	}
	p.s.forget()
}

// forget lets go of what came.
func (s *script) forget() {
	s.mu.Lock()
	s.seen = nil
	s.mu.Unlock()
}
