package edge_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// page is a generated JSON text in two writings: what is sent, and what is left of it when the characters that were planted as hidden are gone. Which
// those are is known because they were put there, not because somebody looked for them.
type page struct{ sent, bare strings.Builder }

func (p *page) write(text string) {
	p.sent.WriteString(text)
	p.bare.WriteString(text)
}

func (p *page) add(other *page) {
	p.sent.WriteString(other.sent.String())
	p.bare.WriteString(other.bare.String())
}

// pen draws strict JSON in every way that another program could write it.
type pen struct {
	*rapid.T
	hides  bool // plants hidden characters
	breaks bool // writes line breaks between values
	far    bool // writes numbers beyond the range of doubles
}

// glyph is one character and whether it stays in what a person is shown.
type glyph struct {
	r    rune
	stay bool
}

func stays(text string) []glyph {
	var out []glyph
	for _, r := range text {
		out = append(out, glyph{r, true})
	}
	return out
}

// visible are texts of which every character stays, those included that would be hidden elsewhere: joiners in emoji and in Persian, selectors of emoji.
func visible() [][]glyph {
	var out [][]glyph
	for _, text := range []string{
		"a", "Z", "0", " ", "/", `"`, `\`, "é", "漢", "😀", "\n", "\t", "\r", "\u2028", "<", ".", "$", "\u0301", "\ufffd", "&",
		"👨\u200d👩", "❤\ufe0f", "1\ufe0f\u20e3", "می\u200cخ", "क\u094d\u200dय",
	} {
		out = append(out, stays(text))
	}
	return out
}

// planted are texts with characters that a person does not see wherever they stand, or not where they stand here.
func planted() [][]glyph {
	var out [][]glyph
	for _, r := range []rune{0x1, 0x8, 0xc, 0x1b, 0x7f, 0x9b, 0xad, 0x200b, 0x202e, 0x2060, 0x2063, 0x2066, 0xfe01, 0xfeff, 0x3164, 0xfff9, 0x1fffe, 0xe0041, 0xe0101} {
		out = append(out, []glyph{{r, false}})
	}
	return append(out, []glyph{{'a', true}, {0x200d, false}, {'b', true}}, []glyph{{'a', true}, {0xfe0f, false}}, []glyph{{'😀', true}, {0x200d, false}, {'z', true}})
}

// text draws what stands between the quotes of a string.
func (n pen) text() *page {
	p := &page{}
	for range rapid.IntRange(0, 6).Draw(n.T, "glyphs") {
		of := visible()
		if n.hides && rapid.IntRange(0, 2).Draw(n.T, "hides") == 0 {
			of = planted()
		}
		for _, one := range rapid.SampledFrom(of).Draw(n.T, "glyph") {
			written := n.written(one.r)
			p.sent.WriteString(written)
			if one.stay {
				p.bare.WriteString(written)
			}
		}
	}
	return p
}

// written draws one of the ways to write a character in a string.
func (n pen) written(r rune) string {
	style := rapid.IntRange(0, 3).Draw(n.T, "style")
	format := `\u%04X`
	if style == 1 {
		format = `\u%04x`
	}
	short, has := map[rune]string{'\n': `\n`, '\t': `\t`, '\r': `\r`, 0x8: `\b`, 0xc: `\f`, '"': `\"`, '\\': `\\`, '/': `\/`}[r]
	switch {
	case style <= 1 && r > 0xffff:
		return fmt.Sprintf(format+format, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
	case style <= 1:
		return fmt.Sprintf(format, r)
	case has && (r != '/' || style == 2):
		return short
	case r < ' ':
		return fmt.Sprintf(format, r)
	}
	return string(r)
}

// blank draws white space. Streams have no line breaks in a message.
func (n pen) blank() string {
	of := []string{"", "", "", " ", "\t", "  "}
	if n.breaks {
		of = append(of, "\n", "\r\n\t ", "\n\n")
	}
	return rapid.SampledFrom(of).Draw(n.T, "blank")
}

func (n pen) number() string {
	of := []string{
		"0", "-0", "1.0", "1E+2", "0.10", "-7", "9007199254740993", "18446744073709551617", "12345678901234567890123", "0.1e-7", "1e0", "5e-324", "-0.0",
		"123456789.123456789123456789", "100000000000000000000000000000000000000000000000000000000000000001e-40",
	}
	if n.far {
		of = append(of, "1e400", "-1E+9999")
	}
	return rapid.SampledFrom(of).Draw(n.T, "number")
}

// document draws a value.
func (n pen) document(deep int) *page {
	kind := rapid.IntRange(0, 9).Draw(n.T, "kind")
	if deep <= 0 {
		kind %= 5
	}
	p := &page{}
	switch kind {
	case 0:
		p.write(rapid.SampledFrom([]string{"null", "true", "false"}).Draw(n.T, "word"))
	case 1, 2:
		p.write(n.number())
	case 3, 4:
		p.write(`"`)
		p.add(n.text())
		p.write(`"`)
	case 5, 6:
		p.write("[" + n.blank())
		for i := range rapid.IntRange(0, 4).Draw(n.T, "elements") {
			if i > 0 {
				p.write(",")
			}
			p.write(n.blank())
			p.add(n.document(deep - 1))
			p.write(n.blank())
		}
		p.write("]")
	default:
		return n.object(deep, "")
	}
	return p
}

// object draws an object with these members first, written as they are. No name is there twice, nor would be without what is hidden in names.
func (n pen) object(deep int, first string) *page {
	p := &page{}
	p.write("{" + n.blank() + first)
	seen := map[string]bool{}
	for range rapid.IntRange(0, 4).Draw(n.T, "members") {
		name := n.text()
		var plain string
		if json.Unmarshal([]byte(`"`+name.bare.String()+`"`), &plain) != nil || seen[plain] {
			continue
		}
		if len(seen) > 0 || first != "" {
			p.write(",")
		}
		seen[plain] = true
		p.write(n.blank() + `"`)
		p.add(name)
		p.write(`"` + n.blank() + ":" + n.blank())
		p.add(n.document(deep - 1))
		p.write(n.blank())
	}
	p.write("}")
	return p
}
