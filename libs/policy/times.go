package policy

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"headgate.dev/libs/policy/hours"
)

// maxParsedEntries bounds what parsed remembers.
const maxParsedEntries = 4096

// parsed remembers zones and hours, which stand in rules as texts and take longer to read than a rule may take. It is bounded: arguments of
// calls may name some as well.
type parsed struct {
	mu    sync.RWMutex
	zones map[string]*time.Location
	hours map[string]*hours.Hours
}

func newParsed() *parsed {
	return &parsed{zones: map[string]*time.Location{}, hours: map[string]*hours.Hours{}}
}

func remembered[T any](p *parsed, in map[string]T, text string, read func(string) (T, error)) (T, error) {
	p.mu.RLock()
	known, ok := in[text]
	p.mu.RUnlock()
	if ok {
		return known, nil
	}
	fresh, err := read(text)
	if err != nil {
		return fresh, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(in) >= maxParsedEntries {
		clear(in)
	}
	in[text] = fresh
	return fresh, nil
}

func (p *parsed) zone(name string) (*time.Location, error) {
	return remembered(p, p.zones, name, hours.Zone)
}

func (p *parsed) opening(text string) (*hours.Hours, error) {
	return remembered(p, p.hours, text, hours.Parse)
}

// timeFunctions are about hours and holidays. openAt and holiday reach the calendars that the policy whose rule runs has or names through its memory.
func timeFunctions(p *parsed, memory *cel.Type) []cel.EnvOption {
	text, at := cel.StringType, cel.TimestampType
	open := func(args ...ref.Val) ref.Val { return result(p.open(args)) }
	holiday := func(args ...ref.Val) ref.Val { return result(p.holiday(args)) }
	return []cel.EnvOption{
		cel.Macros(cel.GlobalMacro(functionOpen, 3, withMemory(hiddenOpen)), cel.GlobalMacro(functionOpen, 4, withMemory(hiddenOpen)),
			cel.GlobalMacro(functionHoliday, 3, withMemory(hiddenHoliday))),
		cel.Function(hiddenOpen,
			cel.Overload("headgate_open", []*cel.Type{at, text, text, memory}, cel.BoolType, cel.FunctionBinding(open)),
			cel.Overload("headgate_open_calendar", []*cel.Type{at, text, text, text, memory}, cel.BoolType, cel.FunctionBinding(open))),
		cel.Function(hiddenHoliday,
			cel.Overload("headgate_holiday", []*cel.Type{at, text, text, memory}, cel.BoolType, cel.FunctionBinding(holiday))),
		cel.Function(functionLocal, cel.Overload("headgate_local_date", []*cel.Type{at, text}, text, of2(func(at time.Time, zone string) (ref.Val, error) {
			loc, err := p.zone(zone)
			if err != nil {
				return nil, err
			}
			return types.String(hours.DateOf(at.In(loc)).String()), nil
		}))),
	}
}

// withMemory rewrites a call so that the function behind it reaches the memory of the running evaluation.
func withMemory(function string) cel.MacroFactory {
	return func(helper cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
		return helper.NewCall(function, append(args, helper.NewIdent(varMemo))...), nil
	}
}

// open is openAt(time, hours, zone) or openAt(time, hours, zone, calendar).
func (p *parsed) open(args []ref.Val) (ref.Val, error) {
	at, texts, m, err := timeArguments(args)
	if err != nil {
		return nil, err
	}
	opening, err := p.opening(texts[0])
	if err != nil {
		return nil, err
	}
	zone, err := p.zone(texts[1])
	if err != nil {
		return nil, err
	}
	var holidays *hours.Calendar
	if len(texts) > 2 {
		if holidays, err = m.calendar(texts[2]); err != nil {
			return nil, err
		}
	}
	return types.Bool(opening.Contain(at.In(zone), holidays)), nil
}

// holiday is holiday(time, zone, calendar).
func (p *parsed) holiday(args []ref.Val) (ref.Val, error) {
	at, texts, m, err := timeArguments(args)
	if err != nil {
		return nil, err
	}
	zone, err := p.zone(texts[0])
	if err != nil {
		return nil, err
	}
	c, err := m.calendar(texts[1])
	return types.Bool(c.Has(hours.DateOf(at.In(zone)))), err
}

// timeArguments takes apart a time, at least two texts and the memory.
func timeArguments(args []ref.Val) (time.Time, []string, *memo, error) {
	wrong := errors.New("no such overload")
	if len(args) < 4 {
		return time.Time{}, nil, nil, wrong
	}
	at, isTime := args[0].Value().(time.Time)
	m, isMemo := args[len(args)-1].Value().(*memo)
	if !isTime || !isMemo {
		return time.Time{}, nil, nil, wrong
	}
	var texts []string
	for _, arg := range args[1 : len(args)-1] {
		text, ok := arg.Value().(string)
		if !ok {
			return time.Time{}, nil, nil, wrong
		}
		texts = append(texts, text)
	}
	return at, texts, m, nil
}

func (m *memo) calendar(name string) (*hours.Calendar, error) {
	c, ok := m.calendars[name]
	if !ok {
		return nil, fmt.Errorf("the policy has no calendar %.60q", name)
	}
	return c, nil
}

// readCalendars reads the calendars of a policy.
func (c *Compiled) readCalendars() error {
	for name, text := range c.source.GetSpec().GetCalendars() {
		read, err := hours.ReadCalendar(text)
		if err != nil {
			return c.invalidPart("calendar", name, err.Error())
		}
		if c.calendars == nil {
			c.calendars = map[string]*hours.Calendar{}
		}
		c.calendars[name] = read
	}
	return nil
}
