package mcp

// maxRewrite is how deep Rewrite looks; what is nested deeper stays as it is. Strict documents are no deeper.
const maxRewrite = 128

// Rewrite answers a copy of a strict JSON document in which f has replaced texts: it is asked for each string that is the value of a member, with
// the names of the members on the way to it (elements of arrays have none). Every other byte stays; without a change, it is the document itself.
func Rewrite(doc []byte, f func(path []string, text string) (string, bool)) []byte {
	r := rewriter{doc: doc, f: f}
	c := cursor{b: doc}
	r.value(&c)
	if r.out == nil {
		return doc
	}
	return append(r.out, doc[r.copied:]...)
}

type rewriter struct {
	doc    []byte
	f      func(path []string, text string) (string, bool)
	path   []string
	out    []byte
	copied int
}

func (r *rewriter) value(c *cursor) {
	c.space()
	if len(r.path) > maxRewrite {
		c.value()
		return
	}
	switch {
	case c.open('{'):
		for name, ok := c.name(); ok; name, ok = c.name() {
			r.path = append(r.path, string(name))
			r.value(c)
			r.path = r.path[:len(r.path)-1]
		}
	case c.open('['):
		for c.element(']') {
			r.value(c)
		}
	default:
		from := c.i
		r.text(c.value(), from)
	}
}

func (r *rewriter) text(raw []byte, from int) {
	if kind(raw) != '"' || len(r.path) == 0 {
		return
	}
	changed, ok := r.f(r.path, string(unquote(raw)))
	if !ok {
		return
	}
	r.out = append(append(r.out, r.doc[r.copied:from]...), quote(changed)...)
	r.copied = from + len(raw)
}
