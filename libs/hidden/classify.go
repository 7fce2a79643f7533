package hidden

import "unicode"

const (
	zwnj   = '\u200c'
	zwj    = '\u200d'
	lrm    = '\u200e'
	rlm    = '\u200f'
	alm    = '\u061c'
	vs15   = '\ufe0e'
	vs16   = '\ufe0f'
	keycap = '\u20e3' // the keycap that turns a digit into an emoji
)

// classify answers the kind of a character that may be hidden text, or 0. Whether writing needs it where it stands is for needed to say.
func classify(r rune) Kind {
	switch {
	case r < 0x20:
		if r == '\n' || r == '\r' || r == '\t' {
			return 0
		}
		return Control
	case r < 0x7f:
		return 0
	case r <= 0x9f:
		return Control
	case r < 0x0300:
		if r == 0x00ad {
			return ZeroWidth
		}
		return 0
	case r < 0x2000:
		return classifyLow(r)
	case r < 0x2070:
		return classifyPunctuation(r)
	case r < 0xfe00:
		return classifyMiddle(r)
	}
	return classifyHigh(r)
}

func classifyLow(r rune) Kind {
	switch {
	case r == alm:
		return Bidi
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x180e:
		return ZeroWidth
	case 0x180b <= r && r <= 0x180d, r == 0x180f:
		return Variation
	}
	return 0
}

func classifyPunctuation(r rune) Kind {
	switch {
	case 0x200b <= r && r <= zwj, r == 0x2060:
		return ZeroWidth
	case r == lrm, r == rlm, 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		return Bidi
	case 0x2061 <= r && r <= 0x2065, 0x206a <= r:
		return Format
	}
	return 0
}

func classifyMiddle(r rune) Kind {
	switch {
	case r == 0x3164:
		return ZeroWidth
	case 0xfdd0 <= r && r <= 0xfdef:
		return Format
	}
	return 0
}

func classifyHigh(r rune) Kind {
	switch {
	case r <= vs16, 0xe0100 <= r && r <= 0xe01ef:
		return Variation
	case r == 0xfeff, r == 0xffa0:
		return ZeroWidth
	case 0xe0000 <= r && r <= 0xe0fff:
		return Tag
	case 0xfff0 <= r && r <= 0xfffb, 0x1bca0 <= r && r <= 0x1bca3, 0x1d173 <= r && r <= 0x1d17a, r&0xfffe == 0xfffe:
		return Format
	}
	return 0
}

// needed reports whether writing needs r between what stays before it and what follows it. What it keeps depends only on visible neighbours,
// so that stripping twice is stripping once.
func needed(prev, r, next rune) bool {
	switch r {
	case vs15, vs16:
		return emoji(prev) || (next == keycap && (('0' <= prev && prev <= '9') || prev == '#' || prev == '*'))
	case zwj:
		return ((emoji(prev) || prev == vs16) && emoji(next)) || joined(prev, next)
	case zwnj:
		return joined(prev, next)
	case lrm, rlm, alm:
		return unicode.In(prev, unicode.Arabic, unicode.Hebrew, unicode.Syriac, unicode.Thaana, unicode.Nko) ||
			unicode.In(next, unicode.Arabic, unicode.Hebrew, unicode.Syriac, unicode.Thaana, unicode.Nko)
	}
	return false
}

// joined reports whether both are letters or marks of one script that writes with joiners.
func joined(prev, next rune) bool {
	if prev < 0x600 || next < 0x600 || classify(prev) != 0 || classify(next) != 0 || !written(prev) || !written(next) {
		return false
	}
	for _, script := range [...]*unicode.RangeTable{
		unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati,
		unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar,
		unicode.Tibetan, unicode.Lao, unicode.Thai, unicode.Tai_Tham, unicode.Balinese, unicode.Javanese,
	} {
		if unicode.Is(script, prev) {
			return unicode.Is(script, next)
		}
	}
	return false
}

func written(r rune) bool { return unicode.IsLetter(r) || unicode.IsMark(r) }

// emoji reports whether r is of the blocks that hold the emoji. It is wider than Unicode's Extended_Pictographic, and all of it is visible.
func emoji(r rune) bool {
	switch {
	case r < 0xa9:
		return false
	case r == 0xa9, r == 0xae, r == 0x203c, r == 0x2049, r == 0x2122, r == 0x2139, r == 0x24c2, r == 0x3030, r == 0x303d, r == 0x3297, r == 0x3299:
		return true
	}
	return (0x2190 <= r && r <= 0x21ff) || (0x2300 <= r && r <= 0x23ff) || (0x25a0 <= r && r <= 0x27bf) ||
		(0x2900 <= r && r <= 0x297f) || (0x2b00 <= r && r <= 0x2bff) || (0x1f000 <= r && r <= 0x1faff)
}
