//go:build external

package e2e

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/smalldisk"
	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/stack"
)

// TestExternalAnEdgeWhoseDiskIsFullRefusesAndLosesNothing fills the disk of one edge's journal under load, kills the edge on the full disk, and makes room again.
func TestExternalAnEdgeWhoseDiskIsFullRefusesAndLosesNothing(t *testing.T) {
	disk, since, up := smalldisk.Mount(t, 8<<20), time.Now().Add(-time.Minute), startServer(t)
	p := product.StartStack(t, stack.Config{Edges: 2, Journals: map[string]stack.Journal{"edge2": {Dir: filepath.Join(disk.Dir, "journal"), SegmentBytes: 256 << 10}}}, onePerson(up.URL))
	s := p.Stack()
	urls := endpoints(s, "echo")
	agents := startLoad(t, p.Token("ana"), 2, urls...)
	agents.passing(15*time.Second, "before", urls...)

	from := time.Now()
	full := func() int {
		disk.Fill()
		return len(agents.since(urls[1], from, func(o outcome) bool { return o.answered && !o.ok }))
	}
	product.Eventually(t, time.Minute, "the edge on the full disk refuses", func() bool { return full() >= 20 })
	agents.passing(15*time.Second, "at the other edge", urls[0])
	first := agents.since(urls[1], from, func(o outcome) bool { return o.answered && !o.ok })[0]
	if first.reason != "journal" || !strings.Contains(first.text, "audit record could not be written") {
		t.Errorf("refused with %q: %s", first.reason, first.text)
	}
	s.Process("edge2").Kill()
	disk.Fill()
	if err := s.Run("edge2"); err != nil {
		t.Fatal(err)
	}
	agents.passing(15*time.Second, "at the other edge, after the kill", urls[0])
	disk.Free()
	if s.WaitReady("edge2") != nil { // on the full disk it said what is wrong and ended
		t.Logf("on the full disk: %s", s.Process("edge2").Tail())
		if err := errors.Join(s.Run("edge2"), s.WaitReady("edge2")); err != nil {
			t.Fatal(err)
		}
	}
	agents.passing(30*time.Second, "after there is room again", urls...)
	agents.halt()
	executed, seen := up.executed(), agents.seen(every)
	records := complete(t, p, since, executed, seen)
	refused := agents.since(urls[1], from, func(o outcome) bool { return o.answered && !o.ok })
	for _, o := range refused {
		if executed[o.id] > 0 && finals(records)[o.id].Outcome == "" {
			t.Errorf("%s was refused, executed and not recorded", o.id)
		}
	}
	t.Logf("%d calls, %d executed, %d refused for want of room, %d records, nothing is missing: %q", len(seen), len(executed), len(refused), len(records), first.text)
}
