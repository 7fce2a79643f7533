package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const (
	// maxRelated is how many relations one call may ask for, askRounds how often: what one relation says can make a rule ask for another.
	maxRelated = 50
	askRounds  = 5
	maxObject  = 256
)

// Relationship is a relation of the calling person to an object, as ticket:T-1 and owner.
type Relationship struct{ Object, Relation string }

// String is the relationship as OpenFGA writes it.
func (r Relationship) String() string { return r.Object + "#" + r.Relation }

// Settle decides like Evaluate and asks for what related needs, all at once, until nothing is missing. Ask answers in the order of what it is asked; an
// error of it is a sentence for people, and blocks where a rule needed the answer.
func (b *Bundle) Settle(req *Request, ask func([]Relationship) ([]bool, error)) Decision {
	return b.SettleFrom(b.Evaluate(req), req, ask)
}

// SettleFrom is Settle for a request that Evaluate decided already.
func (b *Bundle) SettleFrom(d Decision, req *Request, ask func([]Relationship) ([]bool, error)) Decision {
	for round := 0; len(d.Asks) > 0 && req.Unrelated == ""; round++ {
		if round == askRounds || len(req.Related)+len(d.Asks) > maxRelated {
			req.Unrelated = fmt.Sprintf("a call may ask for at most %d relations, in at most %d steps", maxRelated, askRounds)
			return b.Evaluate(req)
		}
		held, err := ask(d.Asks)
		switch {
		case err != nil:
			req.Unrelated = trimStop(err.Error())
		case len(held) != len(d.Asks):
			req.Unrelated = "the relations were not all answered"
		default:
			if req.Related == nil {
				req.Related = map[Relationship]bool{}
			}
			for i, one := range d.Asks {
				req.Related[one] = held[i]
			}
		}
		d = b.Evaluate(req)
	}
	return d
}

// relatedFunction is related(object, relation): whether the person has the relation to the object.
func relatedFunction(memory *cel.Type) []cel.EnvOption {
	text := cel.StringType
	return []cel.EnvOption{
		cel.Macros(cel.GlobalMacro(functionRelated, 2, withMemory(hiddenRelated))),
		cel.Function(hiddenRelated, cel.Overload("headgate_related", []*cel.Type{text, text, memory}, cel.BoolType, cel.FunctionBinding(callRelated))),
	}
}

func callRelated(args ...ref.Val) ref.Val {
	if len(args) != 3 {
		return types.NewErr("no such overload")
	}
	object, isText := args[0].Value().(string)
	relation, isName := args[1].Value().(string)
	m, isMemo := args[2].Value().(*memo)
	if !isText || !isName || !isMemo {
		return types.NewErr("no such overload")
	}
	held, err := m.related(Relationship{object, relation})
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(held)
}

func (m *memo) related(r Relationship) (bool, error) {
	if err := r.check(); err != nil {
		return false, err
	}
	if held, known := m.req.Related[r]; known {
		return held, nil
	}
	m.req.miss()
	if m.req.Unrelated != "" {
		m.unrelated = "the relation " + r.String() + " is not known: " + m.req.Unrelated
		return false, errors.New(m.unrelated)
	}
	if !slices.Contains(m.wanted, r) {
		m.wanted = append(m.wanted, r)
	}
	m.unrelated = "the relation " + r.String() + " was not looked up"
	return false, errors.New(m.unrelated)
}

var (
	objectForm   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}:[^\s:#*@]+$`)
	relationForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// check refuses what could be read as something else than one object and one relation.
func (r Relationship) check() error {
	if len(r.Object) > maxObject || !objectForm.MatchString(r.Object) {
		return fmt.Errorf("%.80q is not an object as \"ticket:T-1\"", r.Object)
	}
	return relationName(r.Relation)
}

func relationName(s string) error {
	if !relationForm.MatchString(s) {
		return fmt.Errorf("%.80q is not a relation as \"owner\"", s)
	}
	return nil
}

// testRelated are the relations that a policy's test says there are; nothing else is related.
func testRelated(said []string) func([]Relationship) ([]bool, error) {
	return func(asked []Relationship) ([]bool, error) {
		held := make([]bool, len(asked))
		for i, one := range asked {
			held[i] = slices.Contains(said, one.String())
		}
		return held, nil
	}
}
