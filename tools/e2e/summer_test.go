package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/geoip/geoiptest"
	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/stack"
)

// TestSummerTimeAndPlacesHoldForClients lets the clocks of a time zone go forward and back, and a caller go to another country, while clients that we did not write
// work.
func TestSummerTimeAndPlacesHoldForClients(t *testing.T) {
	zones, countries := t.TempDir(), filepath.Join(t.TempDir(), "countries.mmdb")
	t.Setenv("ZONEINFO", zones) // where Go looks for zones first: that of this test is nowhere else
	beIn(t, countries, "FR")
	up := product.StartUpstream(t, deskTools()...)
	up.OnCall = deskAnswers
	server := fmt.Sprintf("{apiVersion: headgate/v1, kind: Server, metadata: {name: desk, tenant: acme}, spec: {url: %q, approve: initial}}\n---\n", up.URL)
	people, _, _ := strings.Cut(deskPeople, "---\n{apiVersion: headgate/v1, kind: Role, metadata: {name: supervisor")
	people = strings.ReplaceAll(people, "supervisor", "junior")
	c := &company{Product: product.StartStack(t, stack.Config{Edges: 1, Countries: countries}, server+people)}
	t.Run("office hours while the clocks change", func(t *testing.T) { clocksChange(t, c, zones) })
	t.Run("a caller leaves the region", func(t *testing.T) { callerLeaves(t, c, countries) })
}

// clocksChange works at half past five of a Wednesday until summer time begins, and until it ends again.
func clocksChange(t *testing.T, c *company, zones string) {
	w := c.as(t, deskKinds()[0], c.Token("sam"), "desk")
	const apart, heard = 10 * time.Second, 4 * time.Second
	for room := apart; ; room *= 2 { // how long it may take to apply the policy, on a busy machine
		begins := time.Now().Add(room).Truncate(time.Second)
		ends := begins.Add(apart)
		zone := fmt.Sprintf("Europe/Headgate%d", begins.Unix()) // each of its own: who knows one does not read it again
		zoneOf(t, filepath.Join(zones, zone), begins, ends)
		c.Apply(fmt.Sprintf(`
apiVersion: headgate/v1
kind: Policy
metadata: {name: office-hours, tenant: acme}
spec:
  match: {server: desk, tools: [reset_password]}
  rules:
    - {name: closed, when: '!openAt(request.time, "We 08:00-18:00", %q)', effect: block, reason: Come back tomorrow.}
    - {name: desk, when: 'true', effect: allow}
`, zone))
		if time.Now().After(begins.Add(-heard)) && room < 2*time.Minute {
			continue
		}
		summerPasses(t, w, begins, ends)
		return
	}
}

// summerPasses calls until summer time is over: what began and ended within one time is judged by that time.
func summerPasses(t *testing.T, w worker, begins, ends time.Time) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var open, closed, again int
	for again == 0 && time.Now().Before(ends.Add(time.Minute)) {
		<-tick.C
		from := time.Now()
		answer, err := w.call("reset_password", map[string]any{"person": "jo"})
		until := time.Now()
		if err != nil {
			t.Fatal(err)
		}
		fits := answer.OK()
		switch {
		case until.Before(begins):
			open++
		case from.After(begins) && until.Before(ends):
			closed++
			fits = !answer.OK() && answer.Decision().Rule == "office-hours/closed" && strings.Contains(answer.Text(), "Come back tomorrow")
		case from.After(ends):
			again++
		default:
			continue // the clocks changed while it was under way
		}
		if !fits {
			t.Fatalf("from %s to %s, summer from %s to %s: %s", from, until, begins, ends, answer.Body)
		}
	}
	if open == 0 || closed == 0 || again == 0 {
		t.Errorf("%d calls before, %d in summer and %d after it", open, closed, again)
	}
}

// zoneOf writes a time zone (RFC 8536, version 1) in which it is 17:30 of a Wednesday half a minute before summer time begins, whatever day it is.
func zoneOf(t *testing.T, file string, begins, ends time.Time) {
	t.Helper()
	wanted := time.Date(2026, 1, 7, 17, 30, 0, 0, time.UTC)
	day := 24 * time.Hour
	week := 7 * day
	offset := wanted.Sub(begins.Add(-30*time.Second)) % week
	if offset < -week/2 {
		offset += week
	}
	if offset > week/2 {
		offset -= week
	}
	standard := int64(offset / time.Second)
	out := append([]byte("TZif"), make([]byte, 16)...)
	for _, count := range []int64{0, 0, 0, 2, 2, 8} { // no marks, no leap seconds, two changes, two kinds of time, eight bytes of names
		out = fourBytes(t, out, count)
	}
	out = fourBytes(t, fourBytes(t, out, begins.Unix()), ends.Unix())
	out = append(out, 1, 0) // to the second kind of time, and to the first
	out = append(fourBytes(t, out, standard), 0, 0)
	out = append(fourBytes(t, out, standard+3600), 1, 4)
	out = append(out, "HGT\x00HGS\x00"...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fourBytes appends the lower half of a number.
func fourBytes(t *testing.T, out []byte, number int64) []byte {
	t.Helper()
	wide, err := binary.Append(nil, binary.BigEndian, number)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, wide[4:]...)
}

// callerLeaves reads a European customer from France, from the United States, and from France again.
func callerLeaves(t *testing.T, c *company, countries string) {
	everyday, err := os.ReadFile(filepath.Join("..", "..", "deployments", "examples", "policies", "everyday.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(everyday), "\n---\n") {
		if strings.Contains(document, "name: desk-residency,") {
			c.Apply(document)
		}
	}
	const rule = "desk-residency/data-of-the-union-stays-there"
	customer := map[string]any{"id": "C-1"}
	for _, kind := range deskKinds() {
		w := c.as(t, kind, c.Token("sam"), "desk")
		allowed(t, w, "export_customer", customer)
		beIn(t, countries, "US")
		product.Eventually(t, time.Minute, "the edge reads where networks are", func() bool {
			answer, err := w.call("export_customer", customer)
			return err == nil && answer.Decision().Rule == rule
		})
		refused(t, w, "export_customer", customer, "block", rule)
		beIn(t, countries, "FR")
		product.Eventually(t, time.Minute, "the edge reads where networks are", func() bool {
			answer, err := w.call("export_customer", customer)
			return err == nil && answer.OK()
		})
	}
}

// beIn has all of this machine be in a country.
func beIn(t *testing.T, file, country string) {
	t.Helper()
	if err := geoiptest.Replace(file, map[string]string{"127.0.0.0/8": country}); err != nil {
		t.Fatal(err)
	}
}
