package hours

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Date is a day of the calendar, in no zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf is the day of a time in its own zone.
func DateOf(at time.Time) Date {
	year, month, day := at.Date()
	return Date{year, month, day}
}

func (d Date) time() time.Time       { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }
func (d Date) add(days int) Date     { return DateOf(d.time().AddDate(0, 0, days)) }
func (d Date) weekday() time.Weekday { return d.time().Weekday() }
func (d Date) before(o Date) bool    { return d.compare(o) < 0 }
func (d Date) compare(o Date) int {
	return cmp.Or(cmp.Compare(d.Year, o.Year), cmp.Compare(d.Month, o.Month), cmp.Compare(d.Day, o.Day))
}

// String is the date as 2026-12-25.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Calendar is a set of days with their names. A nil one has none.
type Calendar struct {
	days map[Date]string
}

// Has says whether a day is in the calendar.
func (c *Calendar) Has(d Date) bool {
	if c == nil {
		return false
	}
	_, ok := c.days[d]
	return ok
}

// Name is what a day is called, empty when it is not in the calendar.
func (c *Calendar) Name(d Date) string {
	if c == nil {
		return ""
	}
	return c.days[d]
}

// Days lists all days in order.
func (c *Calendar) Days() []Date {
	if c == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(c.days), Date.compare)
}
