package policy

import (
	"errors"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"headgate.dev/libs/policy/hours"
	"headgate.dev/libs/policy/money"
	"headgate.dev/libs/policy/pathtext"
	"headgate.dev/libs/policy/region"
	"headgate.dev/libs/policy/sqltext"
	"headgate.dev/libs/policy/textclass"
	"headgate.dev/libs/policy/webaddr"
)

// constants checks what stands in a rule as a text and would be an error each time that the rule runs: hours, zones, networks, regions,
// amounts, names of calendars and classes.
func (i *inspector) constants(e ast.Expr) {
	call := e.AsCall()
	args := call.Args()
	check := func(at int, read func(string) error) {
		if at >= len(args) {
			return
		}
		if text, ok := constant(args[at]); ok {
			if err := read(text); err != nil {
				i.fail(args[at], err.Error())
			}
		}
	}
	switch call.FunctionName() {
	case hiddenOpen:
		check(1, func(s string) error { _, err := hours.Parse(s); return err })
		check(2, zoneName)
		if len(args) == 5 {
			check(3, i.calendarName)
		}
	case hiddenSQL:
		if len(args) == 3 {
			check(1, dialectName)
		}
	case hiddenHoliday:
		check(1, zoneName)
		check(2, i.calendarName)
	case functionLocal:
		check(1, zoneName)
	case functionNetwork:
		check(1, networkName)
		if len(args) > 1 && args[1].Kind() == ast.ListKind {
			for _, one := range args[1].AsList().Elements() {
				if text, ok := constant(one); ok && networkName(text) != nil {
					i.fail(one, networkName(text).Error())
				}
			}
		}
	case hiddenRelated:
		check(0, func(s string) error { return Relationship{s, "owner"}.check() })
		check(1, relationName)
	case functionRegion:
		check(1, region.Known)
	case functionMoney:
		if len(args) == 2 {
			check(1, func(s string) error { _, err := money.OfInt(0, s); return err })
		} else {
			check(0, amountText)
		}
	case functionAbove, functionBelow:
		check(0, amountText)
	case functionUnder:
		check(0, i.parentOf(e))
	}
}

// parentOf reads what under is asked about: a directory, or the name of hosts. Where only the call tells of which kind it is, a slash at its beginning does.
func (i *inspector) parentOf(e ast.Expr) func(string) error {
	overloads := i.overloads(e.ID())
	return func(s string) error {
		if slices.Equal(overloads, []string{overloadPathUnder}) || slices.Contains(overloads, overloadPathUnder) && strings.HasPrefix(s, "/") {
			_, err := pathtext.Read(s)
			return err
		}
		_, err := webaddr.ReadParent(s)
		return err
	}
}

func dialectName(s string) error {
	if slices.Contains(sqltext.Dialects(), s) {
		return nil
	}
	return errors.New(unknownName("dialect", s, sqltext.Dialects()))
}

func zoneName(s string) error    { _, err := hours.Zone(s); return err }
func networkName(s string) error { _, err := webaddr.ReadNetwork(s); return err }
func amountText(s string) error  { _, err := money.Parse(s); return err }

func (i *inspector) calendarName(name string) error {
	if slices.Contains(i.known.calendars, name) {
		i.days[name] = true
		return nil
	}
	return errors.New(unknownName("calendar", name, i.known.calendars))
}

// oneOf checks "x" in classes(…) and ipClass(…) == "x", where a misspelt name would never hold.
func (i *inspector) oneOf(a, b ast.Expr) {
	text, ok := constant(a)
	if !ok || b.Kind() != ast.CallKind {
		return
	}
	switch b.AsCall().FunctionName() {
	case functionClasses:
		if !slices.Contains(textclass.Names(), text) {
			i.fail(a, unknownName("class", text, textclass.Names()))
		}
	case functionIPClass:
		if !slices.Contains(webaddr.Classes(), text) {
			i.fail(a, unknownName("class", text, webaddr.Classes()))
		}
	}
}

func constant(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}
