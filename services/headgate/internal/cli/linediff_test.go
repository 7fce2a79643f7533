package cli

import (
	"strings"
	"testing"
)

func TestLineDiffShowsWhatWentCameAndStayed(t *testing.T) {
	for _, c := range []struct{ before, after, want string }{
		{"a\nb\nc\n", "a\nx\nc\n", "  a\n- b\n+ x\n  c\n"},
		{"", "a\n", "+ a\n"},
		{"a\n", "", "- a\n"},
		{"a\nb\n", "b\na\n", "- a\n  b\n+ a\n"},
		{"same\n", "same\n", "  same\n"},
	} {
		if got := lineDiff(c.before, c.after); got != c.want {
			t.Errorf("from %q to %q: %q, not %q", c.before, c.after, got, c.want)
		}
	}
}

func TestServersCannotSteerTheTerminal(t *testing.T) {
	if got := plain("a\x1b[2Jb\u009bc\rd"); strings.ContainsAny(got, "\x1b\u009b\r") || got != "a [2Jb c d" {
		t.Errorf("%q", got)
	}
	if got := plain("read\U000e0072\u200bme"); got != `read\u{E0072}\u{200B}me` {
		t.Errorf("%q", got)
	}
}
