// Package hours reads opening hours such as "Mo-Fr 08:00-18:00; Sa 09:00-13:00" and says whether a time lies within them.
//
// Hours are those of a clock on the wall: a time is put into its zone first, so a change between winter and summer time moves nothing.
package hours

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // every service judges by the same zones, whatever its machine has
)

const (
	minutesADay = 24 * 60
	maxText     = 1000
	maxZoneName = 64
)

// Hours are windows of a week. They never change and are safe to share.
type Hours struct {
	days [7][]window // by time.Weekday
}

// window is from and up to a minute of the day; one that ends on the next day has an end above minutesADay.
type window struct{ from, to int }

// dayNames are the days as they are written, from Monday.
func dayNames() []string { return []string{"Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"} }

// Parse reads hours: parts between semicolons, each of days ("Mo-Fr", "Mo,We", "Sa") and windows ("08:00-12:00,13:00-17:00", "22:00-06:00"
// ends on the next day, "00:00-24:00" is the whole day).
func Parse(text string) (*Hours, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the hours are longer than %d bytes", maxText)
	}
	h := &Hours{}
	for part := range strings.SplitSeq(text, ";") {
		fields := strings.Fields(part)
		if len(fields) != 2 {
			return nil, fmt.Errorf("the hours %q are not days and windows, as Mo-Fr 08:00-18:00", strings.TrimSpace(part))
		}
		days, err := parseDays(fields[0])
		if err != nil {
			return nil, err
		}
		windows, err := parseWindows(fields[1])
		if err != nil {
			return nil, err
		}
		for _, day := range days {
			h.days[day] = append(h.days[day], windows...)
		}
	}
	return h, nil
}

func parseDays(text string) ([]time.Weekday, error) {
	var days []time.Weekday
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, to := slices.Index(dayNames(), first), slices.Index(dayNames(), last)
		if from < 0 || to < 0 {
			return nil, fmt.Errorf("the days %q are not of Mo, Tu, We, Th, Fr, Sa, Su", part)
		}
		for day := from; ; day = (day + 1) % 7 {
			days = append(days, time.Weekday((day+1)%7))
			if day == to {
				break
			}
		}
	}
	return days, nil
}

func parseWindows(text string) ([]window, error) {
	var windows []window
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(part, "-")
		from, err := parseClock(first)
		to, errTo := parseClock(last)
		if !ok || err != nil || errTo != nil || from == to || from == minutesADay {
			return nil, fmt.Errorf("the window %q is not of the form 08:00-18:00", part)
		}
		if to < from {
			to += minutesADay
		}
		windows = append(windows, window{from, to})
	}
	return windows, nil
}

func parseClock(text string) (int, error) {
	if text == "24:00" {
		return minutesADay, nil
	}
	at, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return 0, errors.New("not a time of the day")
	}
	return at.Hour()*60 + at.Minute(), nil
}

// Contain says whether the time lies within the hours of its own zone. What began on a holiday, or would have, is closed; the calendar may be nil.
func (h *Hours) Contain(at time.Time, holidays *Calendar) bool {
	minute := at.Hour()*60 + at.Minute()
	today := DateOf(at)
	if !holidays.Has(today) && within(h.days[at.Weekday()], minute) {
		return true
	}
	yesterday := today.add(-1)
	return !holidays.Has(yesterday) && within(h.days[yesterday.weekday()], minute+minutesADay)
}

func within(windows []window, minute int) bool {
	return slices.ContainsFunc(windows, func(w window) bool { return minute >= w.from && minute < w.to })
}

// Zone finds a time zone by its IANA name. Local is refused: it would be another one on another machine.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || len(name) > maxZoneName {
		return nil, fmt.Errorf("the time zone %q is not an IANA name such as Europe/Berlin", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("the time zone %q is not known; use an IANA name such as Europe/Berlin", name)
	}
	return zone, nil
}
