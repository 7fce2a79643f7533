//go:build external

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/smalldisk"
	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/stack"
)

// crammed is Headgate as processes under load, whose audit has its ledger, its index and its journal on small disks of their own.
type crammed struct {
	*product.Product
	t      *testing.T
	up     *server
	urls   []string
	agents *load
}

// TestExternalAuditWhoseDiskIsFullWaitsAndLosesNothing fills the disks under audit's ledger and index under load: audit says so, goes on by itself when there is room, and after a kill on the full disk.
func TestExternalAuditWhoseDiskIsFullWaitsAndLosesNothing(t *testing.T) {
	ledger, index, journal := smalldisk.Mount(t, 16<<20), smalldisk.Mount(t, 96<<20), smalldisk.Mount(t, 8<<20)
	since, up := time.Now().Add(-time.Minute), startServer(t)
	p := product.StartStack(t, stack.Config{Ledger: filepath.Join(ledger.Dir, "ledger"), Index: filepath.Join(index.Dir, "index.db"),
		Journals: map[string]stack.Journal{"audit": {Dir: filepath.Join(journal.Dir, "journal"), SegmentBytes: 32 << 10}}}, onePerson(up.URL))
	c := &crammed{Product: p, t: t, up: up, urls: endpoints(p.Stack(), "echo")}
	c.agents = startLoadAt(t, leisurely, p.Token("ana"), 2, c.urls...)
	for _, one := range []struct {
		name, says string
		disk       *smalldisk.Disk
	}{{"ledger", "The ledger's directory", ledger}, {"index", "The database", index}} {
		t.Run(one.name, func(t *testing.T) {
			c.t = t
			c.goesOn(one.disk, one.says)
			c.killed(one.disk, one.says)
		})
	}
	t.Run("journal", func(t *testing.T) {
		c.t = t
		c.refusesReads(journal)
	})
	c.t = t
	c.agents.halt()
	executed, seen := up.executed(), c.agents.seen(every)
	records := complete(t, p, since, executed, seen)
	if len(p.Records("--action", "ledger-stands")) == 0 {
		t.Error("nothing alerts that the ledger stood still")
	}
	logged, said := exported(p)
	if sameInBoth(t, records, logged); !said.Holds || len(said.missing()) != 0 {
		t.Errorf("the ledger does not hold, or something is missing: %+v", said)
	}
	t.Logf("%d calls, %d executed, %d records", len(seen), len(executed), len(records))
}

// health is the lines with which audit says what is wrong with it.
func (c *crammed) health() string {
	response, err := http.Get("http://" + c.Stack().Diagnostics("audit") + "/readyz?verbose")
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	var wrong []string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "[-]") {
			wrong = append(wrong, lines.Text())
		}
	}
	return strings.Join(wrong, "\n")
}

// told reports whether a text names what takes nothing and says what to do about it.
func told(text, says string) bool {
	return strings.Contains(text, says) && strings.Contains(text, "room")
}

// stands fills a disk until audit says in its health and its log what takes nothing. Calls go on meanwhile; it returns the id of one.
func (c *crammed) stands(disk *smalldisk.Disk, says string) string {
	c.t.Helper()
	product.Eventually(c.t, 20*time.Second, "audit says that its disk is full", func() bool {
		disk.Fill()
		return told(c.health(), says)
	})
	c.t.Logf("on the full disk: %s", c.health())
	if log := c.Stack().Process("audit").Tail(); !told(log, says) {
		c.t.Errorf("the log does not say it: %s", log)
	}
	c.agents.passing(15*time.Second, "while audit stands", c.urls...)
	id := fmt.Sprintf("waits-%d", time.Now().UnixNano())
	if o := c.agents.send(c.agents.client(c.urls[0], c.Token("ana"), true), id); !o.ok {
		c.t.Fatalf("a call is not answered well: %+v", o)
	}
	return id
}

// catchesUp waits until a call that was made last is found.
func (c *crammed) catchesUp(id string) {
	c.t.Helper()
	took := product.Eventually(c.t, 20*time.Second, "the last call is found", func() bool { return c.found(id) })
	c.t.Logf("there is room again: the last call is found after %s", took.Round(time.Millisecond))
}

func (c *crammed) found(id string) bool {
	records, err := ledger(c.Product, time.Now().Add(-time.Minute))
	return err == nil && finals(records)[id].Outcome == success
}

// goesOn makes room again while audit runs.
func (c *crammed) goesOn(disk *smalldisk.Disk, says string) {
	c.t.Helper()
	id := c.stands(disk, says)
	if c.found(id) {
		c.t.Error("a call was found that could not be stored")
	}
	disk.Free()
	c.catchesUp(id)
	if err := c.Stack().WaitReady("audit"); err != nil {
		c.t.Fatal(err)
	}
}

// killed kills audit on the full disk and starts it there: it waits, or ends and says why.
func (c *crammed) killed(disk *smalldisk.Disk, says string) {
	c.t.Helper()
	s := c.Stack()
	id := c.stands(disk, says)
	s.Process("audit").Kill()
	disk.Fill()
	if err := s.Run("audit"); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-s.Process("audit").Done():
	case <-time.After(2 * time.Second):
	}
	disk.Free()
	if s.WaitReady("audit") != nil {
		if end := s.Process("audit").Tail(); !told(end, says) {
			c.t.Errorf("it ended without saying what to do: %s", end)
		}
		if err := errors.Join(s.Run("audit"), s.WaitReady("audit")); err != nil {
			c.t.Fatal(err)
		}
	}
	c.catchesUp(id)
}

// refusesReads fills the disk of audit's own journal: nobody reads what cannot be recorded, and calls are recorded all the same.
func (c *crammed) refusesReads(disk *smalldisk.Disk) {
	c.t.Helper()
	read := func() error {
		return ask(c.Product, "headgate.audit.v1.AuditService/Search", map[string]any{"pageSize": 1}, &struct{}{})
	}
	product.Eventually(c.t, 20*time.Second, "reading is refused", func() bool {
		disk.Fill()
		return read() != nil
	})
	if err := read(); err == nil || !strings.Contains(err.Error(), "audit record cannot be written") {
		c.t.Errorf("refused with %v", err)
	}
	id := c.stands(disk, "The audit journal cannot take the record: the disk under "+disk.Dir)
	disk.Free()
	c.catchesUp(id)
	if wrong := c.health(); wrong != "" {
		c.t.Errorf("there is room again, and audit says %s", wrong)
	}
}
