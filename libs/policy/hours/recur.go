package hours

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rule is a yearly recurrence: on a day of a month, or on the n-th weekday of a month.
type rule struct {
	interval, count int
	until           Date
	months          []time.Month
	monthDays       []int
	weekday         time.Weekday
	nth             int // 0: no weekday is given; negative counts from the end
}

func parseRule(text string) (*rule, error) {
	r := &rule{interval: 1}
	yearly := false
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(strings.ToUpper(part), "=")
		var err error
		switch name {
		case "FREQ":
			yearly = value == "YEARLY"
		case "INTERVAL":
			r.interval, err = within1(value, 100)
		case "COUNT":
			r.count, err = within1(value, 100)
		case "UNTIL":
			r.until, err = wholeDay("", value[:min(len(value), len("20060102"))])
		case "BYMONTH":
			var months []int
			months, err = numbers(value, 12)
			for _, m := range months {
				r.months = append(r.months, time.Month(m))
			}
		case "BYMONTHDAY":
			r.monthDays, err = numbers(value, 31)
		case "BYDAY":
			err = r.byDay(value)
		case "WKST":
		default:
			return nil, fmt.Errorf("RRULE has %s, which is not supported; write each day as an event of its own", name)
		}
		if err != nil {
			return nil, err
		}
	}
	if !yearly {
		return nil, fmt.Errorf("only RRULE with FREQ=YEARLY is supported; write each day as an event of its own")
	}
	if r.nth != 0 && len(r.monthDays) > 0 {
		return nil, fmt.Errorf("RRULE has both BYDAY and BYMONTHDAY; write each day as an event of its own")
	}
	if r.nth != 0 && len(r.months) == 0 {
		return nil, fmt.Errorf("RRULE has BYDAY without BYMONTH; name the month")
	}
	return r, nil
}

func within1(value string, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("RRULE has %.20q where a number from 1 to %d belongs", value, most)
	}
	return n, nil
}

func numbers(value string, most int) ([]int, error) {
	var out []int
	for one := range strings.SplitSeq(value, ",") {
		n, err := within1(one, most)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// byDay reads 4TH (the fourth Thursday) or -1MO (the last Monday).
func (r *rule) byDay(value string) error {
	if len(value) < 3 {
		return fmt.Errorf("BYDAY needs the number of the week, as 4TH or -1MO")
	}
	day := slices.IndexFunc(dayNames(), func(name string) bool { return strings.EqualFold(name, value[len(value)-2:]) })
	nth, err := strconv.Atoi(value[:len(value)-2])
	if day < 0 || err != nil || nth == 0 || nth < -5 || nth > 5 {
		return fmt.Errorf("BYDAY %.20q is not of the form 4TH or -1MO", value)
	}
	r.weekday, r.nth = time.Weekday((day+1)%7), nth
	return nil
}

// days lists when the rule takes place, from the first day on and within the years that are known.
func (r *rule) days(start Date) []Date {
	var out []Date
	for year := start.Year; year <= lastYear; year += r.interval {
		for _, day := range r.inYear(year, start) {
			if day.before(start) || day.Year < firstYear && r.count == 0 {
				continue
			}
			if r.until != (Date{}) && r.until.before(day) || r.count > 0 && len(out) >= r.count {
				return out
			}
			out = append(out, day)
		}
	}
	return out
}

func (r *rule) inYear(year int, start Date) []Date {
	months, days := r.months, r.monthDays
	if len(months) == 0 {
		months = []time.Month{start.Month}
	}
	if len(days) == 0 {
		days = []int{start.Day}
	}
	var out []Date
	for _, month := range months {
		if r.nth != 0 {
			if day, ok := nthWeekday(year, month, r.weekday, r.nth); ok {
				out = append(out, day)
			}
			continue
		}
		for _, day := range days {
			one := Date{year, month, day}
			if DateOf(one.time()) == one { // there is no 30th of February
				out = append(out, one)
			}
		}
	}
	slices.SortFunc(out, Date.compare)
	return out
}

func nthWeekday(year int, month time.Month, weekday time.Weekday, nth int) (Date, bool) {
	if nth < 0 {
		last := Date{year, month + 1, 1}.add(-1)
		back := (int(last.weekday()) - int(weekday) + 7) % 7
		day := last.add(-back + 7*(nth+1))
		return day, day.Month == month
	}
	first := Date{year, month, 1}
	ahead := (int(weekday) - int(first.weekday()) + 7) % 7
	day := first.add(ahead + 7*(nth-1))
	return day, day.Month == month
}
