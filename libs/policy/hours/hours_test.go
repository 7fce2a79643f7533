package hours_test

import (
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/policy/hours"
)

func at(t *testing.T, zone, clock string) time.Time {
	t.Helper()
	loc, err := hours.Zone(zone)
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.Parse(time.RFC3339, clock)
	if err != nil {
		t.Fatal(err)
	}
	return when.In(loc)
}

func TestHoursAreThoseOfTheClockOnTheWall(t *testing.T) {
	for _, c := range []struct {
		hours, zone, when string
		open              bool
	}{
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-03-27T07:00:00Z", true},  // Friday 08:00 in winter
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-03-27T06:59:59Z", false}, //
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-03-30T06:00:00Z", true},  // Monday 08:00 in summer: the clock changed on Sunday
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-03-30T05:59:59Z", false}, //
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-03-30T15:59:59Z", true},  //
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-03-30T16:00:00Z", false}, // 18:00 is closed
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-10-26T07:00:00Z", true},  // winter again
		{"Mo-Fr 08:00-18:00", "Europe/Berlin", "2026-10-26T06:30:00Z", false}, //
		{"Su 02:00-03:00", "Europe/Berlin", "2026-03-29T01:30:00Z", false},    // that hour is not there
		{"Su 02:00-03:00", "Europe/Berlin", "2026-10-25T00:30:00Z", true},     // and here it is twice
		{"Su 02:00-03:00", "Europe/Berlin", "2026-10-25T01:30:00Z", true},     //
		{"Mo-Fr 09:30-16:00", "America/New_York", "2026-03-09T13:30:00Z", true},
		{"Mo-Fr 09:30-16:00", "America/New_York", "2026-03-06T13:30:00Z", false},
		{"Fr 22:00-06:00", "UTC", "2026-03-28T05:59:00Z", true}, // Saturday morning belongs to Friday night
		{"Fr 22:00-06:00", "UTC", "2026-03-28T06:00:00Z", false},
		{"Fr 22:00-06:00", "UTC", "2026-03-27T05:00:00Z", false},
		{"Fr-Mo 00:00-24:00", "Asia/Kolkata", "2026-03-29T18:29:00Z", true}, // still Sunday there
		{"Fr-Su 00:00-24:00", "Asia/Kolkata", "2026-03-29T18:30:00Z", false},
		{"Mo,We 08:00-12:00,13:00-17:00; Sa 09:00-10:00", "UTC", "2026-03-25T12:30:00Z", false},
		{"Mo,We 08:00-12:00,13:00-17:00; Sa 09:00-10:00", "UTC", "2026-03-28T09:30:00Z", true},
	} {
		h, err := hours.Parse(c.hours)
		if err != nil {
			t.Errorf("%s: %v", c.hours, err)
			continue
		}
		if got := h.Contain(at(t, c.zone, c.when), nil); got != c.open {
			t.Errorf("%s in %s at %s: open %v", c.hours, c.zone, c.when, got)
		}
	}
}

func TestHoursThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "Mo-Fr", "08:00-18:00", "Mo-Fr 8:00-18:00", "Mo-Fr 08:00", "Mo-Fr 08:00-08:00", "Mo-Fr 25:00-26:00", "Mo-Fr 24:00-25:00", "Mon-Fri 08:00-18:00",
		"Mo-Fr 08:00-18:00;", "mo-fr 08:00-18:00", "Mo-Fr 08:00-18:00 Sa", strings.Repeat("Mo 08:00-09:00;", 100),
	} {
		if h, err := hours.Parse(text); err == nil {
			t.Errorf("%q was read as %v", text, h)
		}
	}
	for _, zone := range []string{"", "Local", "Berlin", "../etc/passwd", strings.Repeat("a", 100), "UTC+1"} {
		if _, err := hours.Zone(zone); err == nil {
			t.Errorf("zone %q is known", zone)
		}
	}
}

func calendar(lines ...string) string {
	return "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VCALENDAR\r\n"
}

func event(lines ...string) string {
	return "BEGIN:VEVENT\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT"
}

func TestHolidays(t *testing.T) {
	c, err := hours.ReadCalendar(calendar(
		"BEGIN:VTIMEZONE", "TZID:Europe/Berlin", "END:VTIMEZONE",
		event("SUMMARY:Christmas", "DTSTART;VALUE=DATE:20201225", "DTEND;VALUE=DATE:20201227", "RRULE:FREQ=YEARLY"),
		event("SUMMARY:Thanks", "DTSTART;VALUE=DATE:20201126", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"),
		event("SUMMARY:Memory", "DTSTART;VALUE=DATE:20200525", "RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO"),
		event("SUMMARY:Easter", " Monday", "DTSTART:20260406", "BEGIN:VALARM", "TRIGGER:-PT1H", "END:VALARM"),
		event("SUMMARY:Leap", "DTSTART:20240229", "RRULE:FREQ=YEARLY"),
		event("SUMMARY:Twice", "DTSTART:20260801", "RRULE:FREQ=YEARLY;COUNT=2"),
		event("SUMMARY:Not in 2027", "DTSTART:20260901", "RRULE:FREQ=YEARLY;UNTIL=20281231", "EXDATE:20270901"),
		event("SUMMARY:Off", "DTSTART:20260701", "STATUS:CANCELLED"),
	))
	if err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]string{
		"2026-12-25": "Christmas", "2031-12-26": "Christmas", "2026-12-27": "", "2019-12-25": "", "2026-11-26": "Thanks", "2026-11-19": "", "2027-11-25": "Thanks",
		"2026-05-25": "Memory", "2027-05-31": "Memory", "2026-04-06": "EasterMonday", "2028-02-29": "Leap", "2026-03-01": "", "2026-08-01": "Twice", "2027-08-01": "Twice",
		"2028-08-01": "", "2026-09-01": "Not in 2027", "2027-09-01": "", "2028-09-01": "Not in 2027", "2029-09-01": "", "2026-07-01": "",
	} {
		when, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Name(hours.DateOf(when)); got != want {
			t.Errorf("%s: %q, not %q", day, got, want)
		}
	}
	h, err := hours.Parse("Mo-Fr 08:00-18:00; Th 22:00-02:00")
	if err != nil {
		t.Fatal(err)
	}
	if h.Contain(at(t, "Europe/Berlin", "2026-12-25T10:00:00Z"), c) || !h.Contain(at(t, "Europe/Berlin", "2026-12-24T10:00:00Z"), c) {
		t.Error("Christmas is open, or the day before is closed")
	}
	if !h.Contain(at(t, "Europe/Berlin", "2026-12-25T00:30:00Z"), c) {
		t.Error("the night that began before the holiday is closed")
	}
	if days := c.Days(); days[0].String() != "2020-05-25" {
		t.Errorf("the first day is %v", days[0])
	}
}

func TestCalendarsThatAreNotUnderstoodAreRefusedWithTheirLine(t *testing.T) {
	for text, says := range map[string]string{
		"":                            "does not end",
		"BEGIN:VCALENDAR\n":           "does not end",
		"hello":                       "line 1",
		calendar("BEGIN:VEVENT"):      "ends nothing",
		calendar(event("SUMMARY:no")): "no DTSTART",
		calendar(event("DTSTART:20260101T080000Z")):                                "line 4 of the calendar: \"20260101T080000Z\" is not a whole day",
		calendar(event("DTSTART:20260230")):                                        "is not a day",
		calendar(event("DTSTART:20260101", "RRULE:FREQ=SECONDLY")):                 "FREQ=YEARLY",
		calendar(event("DTSTART:20260101", "RRULE:FREQ=YEARLY;BYSETPOS=1")):        "BYSETPOS",
		calendar(event("DTSTART:20260101", "RRULE:FREQ=YEARLY;BYDAY=MO")):          "as 4TH",
		calendar(event("DTSTART:20260101", "RRULE:FREQ=YEARLY;BYDAY=4TH")):         "name the month",
		calendar(event("DTSTART:20260101", "RRULE:FREQ=YEARLY;INTERVAL=0")):        "from 1 to",
		calendar(event("DTSTART:20260101", "DTEND:20260101")):                      "lasts 0",
		calendar(event("DTSTART:20260101", "RDATE:20270101")):                      "RDATE",
		calendar(event("DTSTART:20260101")) + "X:1":                                "there is more",
		"BEGIN:VCALENDAR\n" + strings.Repeat("A:b\n", 100_000):                     "longer than",
		calendar(event("DTSTART:20000101", "DTEND:20001231", "RRULE:FREQ=YEARLY")): "more than 20000 days",
	} {
		if _, err := hours.ReadCalendar(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.200q: %v", text, err)
		}
	}
}

func FuzzReadCalendar(f *testing.F) {
	f.Add(calendar(event("DTSTART:20260101", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH")))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := hours.ReadCalendar(text)
		if err == nil && len(c.Days()) > 20_000 {
			t.Error("too many days")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("Mo-Fr 08:00-18:00; Sa 22:00-02:00")
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := hours.Parse(text); err == nil {
			h.Contain(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nil)
		}
	})
}
