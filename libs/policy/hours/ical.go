package hours

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxCalendar is the longest iCalendar text that is read.
	MaxCalendar = 256 << 10
	// maxDays is how many days one calendar may have.
	maxDays = 20_000
	// Yearly days without an end are known for these years.
	firstYear, lastYear = 2000, 2099
	maxSpan             = 366
)

// ReadCalendar reads the whole days of an iCalendar text (RFC 5545): events of one or more days, once or every year. What it does not
// understand is refused with its line, so that no holiday is lost in silence.
func ReadCalendar(text string) (*Calendar, error) {
	if len(text) > MaxCalendar {
		return nil, fmt.Errorf("the calendar is longer than %d bytes", MaxCalendar)
	}
	r := &reader{out: &Calendar{days: map[Date]string{}}}
	for _, line := range unfold(text) {
		if err := r.line(line.text); err != nil {
			return nil, fmt.Errorf("line %d of the calendar: %w", line.number, err)
		}
	}
	if !r.ended {
		return nil, fmt.Errorf("the calendar does not end with END:VCALENDAR")
	}
	return r.out, nil
}

type numbered struct {
	number int
	text   string
}

// unfold puts lines together that were folded (RFC 5545 section 3.1).
func unfold(text string) []numbered {
	var lines []numbered
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		if line != "" && (line[0] == ' ' || line[0] == '\t') && len(lines) > 0 {
			lines[len(lines)-1].text += line[1:]
			continue
		}
		if strings.TrimSpace(line) != "" {
			lines = append(lines, numbered{number, line})
		}
	}
	return lines
}

// reader goes through the lines; inner is the component whose lines it passes over.
type reader struct {
	out   *Calendar
	begun bool
	ended bool
	inner string
	event *event
}

type event struct {
	summary    string
	start, end Date
	started    bool
	rule       *rule
	except     []Date
	cancelled  bool
}

func (r *reader) line(text string) error {
	head, value, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("%.40q is not a property", text)
	}
	name, params, _ := strings.Cut(strings.ToUpper(head), ";")
	upper := strings.ToUpper(strings.TrimSpace(value))
	switch {
	case !r.begun:
		r.begun = name == "BEGIN" && upper == "VCALENDAR"
		if !r.begun {
			return fmt.Errorf("a calendar begins with BEGIN:VCALENDAR")
		}
		return nil
	case r.ended:
		return fmt.Errorf("there is more after END:VCALENDAR")
	case r.inner != "":
		if name == "END" && upper == r.inner {
			r.inner = ""
		}
		return nil
	case name == "BEGIN" && upper == "VEVENT" && r.event == nil:
		r.event = &event{}
		return nil
	case name == "BEGIN":
		r.inner = upper // an alarm, a time zone, a to-do
		return nil
	case name == "END" && upper == "VEVENT" && r.event != nil:
		e := r.event
		r.event = nil
		return r.add(e)
	case name == "END" && upper == "VCALENDAR" && r.event == nil:
		r.ended = true
		return nil
	case name == "END":
		return fmt.Errorf("END:%s ends nothing", upper)
	case r.event == nil:
		return nil
	}
	return r.event.property(name, params, strings.TrimSpace(value))
}

func (e *event) property(name, params, value string) error {
	var err error
	switch name {
	case "SUMMARY":
		e.summary = value
	case "STATUS":
		e.cancelled = strings.EqualFold(value, "CANCELLED")
	case "DTSTART":
		e.started = true
		e.start, err = wholeDay(params, value)
	case "DTEND":
		e.end, err = wholeDay(params, value)
	case "EXDATE":
		for one := range strings.SplitSeq(value, ",") {
			day, err := wholeDay(params, one)
			if err != nil {
				return err
			}
			e.except = append(e.except, day)
		}
	case "RRULE":
		if e.rule != nil {
			return fmt.Errorf("an event has two RRULEs")
		}
		e.rule, err = parseRule(value)
	case "DURATION", "RDATE", "EXRULE", "RECURRENCE-ID":
		return fmt.Errorf("%s is not supported; write each day as an event of its own", name)
	}
	return err
}

// wholeDay reads 20261225. A time of the day is refused: a holiday is a whole one.
func wholeDay(params, value string) (Date, error) {
	if strings.Contains(params, "VALUE=DATE-TIME") || len(value) != len("20060102") {
		return Date{}, fmt.Errorf("%.40q is not a whole day, as 20261225", value)
	}
	at, err := time.Parse("20060102", value)
	if err != nil {
		return Date{}, fmt.Errorf("%.40q is not a day, as 20261225", value)
	}
	return DateOf(at), nil
}

func (r *reader) add(e *event) error {
	if e.cancelled {
		return nil
	}
	if !e.started {
		return fmt.Errorf("an event has no DTSTART")
	}
	span := 1
	if e.end != (Date{}) {
		span = int(e.end.time().Sub(e.start.time()).Hours() / 24)
	}
	if span < 1 || span > maxSpan {
		return fmt.Errorf("an event must last from one day to %d; it lasts %d", maxSpan, span)
	}
	for _, first := range e.firsts() {
		if slices.Contains(e.except, first) {
			continue
		}
		for day := range span {
			if len(r.out.days) >= maxDays {
				return fmt.Errorf("the calendar has more than %s days", strconv.Itoa(maxDays))
			}
			r.out.days[first.add(day)] = e.summary
		}
	}
	return nil
}

// firsts are the first days of all times that the event takes place.
func (e *event) firsts() []Date {
	if e.rule == nil {
		return []Date{e.start}
	}
	return e.rule.days(e.start)
}
