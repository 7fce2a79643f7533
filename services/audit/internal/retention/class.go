// Package retention says how long records are kept: at least as long as the regulations that a tenant is under want, and for as long as somebody holds them.
package retention

import (
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/fault"
)

// Class is a regulation that says how long records must be kept.
type Class struct {
	Name        string
	Years, Days int
	// Rule is where that stands.
	Rule string
}

// Classes are those that can be named.
func Classes() []Class {
	return []Class{
		{Name: "eu-ai-act", Days: 183, Rule: "Regulation (EU) 2024/1689, Articles 19 and 26(6): at least six months"},
		{Name: "soc2", Years: 1, Rule: "SOC 2, the audit period of a year"},
		{Name: "part-11", Years: 2, Rule: "21 CFR Part 11 with 21 CFR 312.62(c): two years; longer where the predicate rule says so"},
		{Name: "hipaa", Years: 6, Rule: "45 CFR 164.316(b)(2)(i): six years"},
		{Name: "sec-17a-4", Years: 6, Rule: "17 CFR 240.17a-4(a): six years"},
	}
}

func names() string {
	var out []string
	for _, c := range Classes() {
		out = append(out, c.Name)
	}
	return strings.Join(out, ", ")
}

func classOf(name string) (Class, bool) {
	all := Classes()
	at := slices.IndexFunc(all, func(c Class) bool { return c.Name == name })
	if at < 0 {
		return Class{}, false
	}
	return all[at], true
}

// before is the instant before which the class no longer asks for records.
func (c Class) before(now time.Time) time.Time { return now.AddDate(-c.Years, 0, -c.Days) }

// days is the class in whole days, leap days included.
func (c Class) days() int { return c.Years*366 + c.Days }

// Rule is what a tenant has: classes, and after how many days records go; 0 days keeps them for good.
type Rule struct {
	Classes []string
	Days    int
}

// Floor is the fewest days that the classes allow, and the class that says so; none without classes.
func (r Rule) Floor() (int, Class) {
	var strictest Class
	for _, name := range r.Classes {
		if c, ok := classOf(name); ok && c.days() > strictest.days() {
			strictest = c
		}
	}
	return strictest.days(), strictest
}

// Before is the instant before which records may go; false when they stay.
func (r Rule) Before(now time.Time) (time.Time, bool) {
	if r.Days <= 0 {
		return time.Time{}, false
	}
	at := now.AddDate(0, 0, -r.Days)
	for _, name := range r.Classes {
		c, ok := classOf(name)
		if !ok {
			return time.Time{}, false // of a version that knows more: nothing goes
		}
		if floor := c.before(now); floor.Before(at) {
			at = floor
		}
	}
	return at, true
}

// check says what is wrong with a rule by itself.
func (r Rule) check() error {
	for _, name := range r.Classes {
		if _, ok := classOf(name); !ok {
			return fault.Invalid("classes: there is no class %q; there are %s", name, names())
		}
	}
	if floor, class := r.Floor(); r.Days != 0 && r.Days < floor {
		return fault.Invalid("days: %d is less than the %d that %s asks for (%s). Give %d or more, or 0 to keep records for good.", r.Days, floor, class.Name, class.Rule, floor)
	}
	if r.Days < 0 {
		return fault.Invalid("days: must not be negative; 0 keeps records for good")
	}
	return nil
}

// Lowers reports whether another rule in its place would take away a class or have records go earlier.
func (r Rule) Lowers(next Rule) bool {
	return next.Days != 0 && (r.Days == 0 || next.Days < r.Days) || slices.ContainsFunc(r.Classes, func(name string) bool { return !slices.Contains(next.Classes, name) })
}
