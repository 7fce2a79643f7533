package sqltext

import (
	"slices"
	"strings"
)

// condition is what a WHERE asks, in the terms of every dialect. The zero value is one of which it is not known whether it holds for all rows.
type condition struct {
	op    operation
	parts []condition
	asked question
}

type operation int

const (
	doubtful operation = iota
	holds              // for every row
	fails              // for every row
	asks
	all
	either
	not
	positive // as its part, where its negation says nothing
)

// question is what is asked about columns.
type question struct {
	about string // the columns
	kind  kind
}

// kind says for which values a question holds. The opposite stands beside it.
type kind int

const (
	narrow  kind = iota // for few: =, IN, LIKE
	wide                // for all but few: <>, NOT IN
	low                 // <, <=
	high                // >, >=
	null                // IS NULL
	notNull             // IS NOT NULL
)

// opposite holds where k does not.
func (k kind) opposite() kind { return k ^ 1 }

// mirrored is k with its sides exchanged.
func (k kind) mirrored() kind {
	if k == low || k == high {
		return k.opposite()
	}
	return k
}

func (c *condition) speaks() bool {
	return c.op == asks || slices.ContainsFunc(c.parts, func(p condition) bool { return p.speaks() })
}

// restricts says whether the condition speaks of a column and surely leaves out rows, as far as its form tells.
func (c *condition) restricts() bool {
	return c.speaks() && slices.ContainsFunc(c.clauses(false), func(clause []question) bool { return !coversAll(clause) })
}

// maxQuestions bounds what several clauses ask together. One that is left out can only make the condition look as if it left out less.
const maxQuestions = 1024

// clauses are questions of which, in every clause, one at least must hold; without any clause, the condition may hold for all rows. An empty
// clause holds for none.
func (c *condition) clauses(negated bool) [][]question {
	switch c.op {
	case holds, fails:
		if (c.op == fails) != negated {
			return [][]question{{}}
		}
	case asks:
		q := c.asked
		if negated {
			q.kind = q.kind.opposite()
		}
		return [][]question{{q}}
	case not:
		return c.parts[0].clauses(!negated)
	case positive:
		if !negated {
			return c.parts[0].clauses(false)
		}
	case all, either:
		if (c.op == all) == negated {
			return c.anyOf(negated)
		}
		var out [][]question
		for i := range c.parts {
			out = append(out, c.parts[i].clauses(negated)...)
		}
		return out
	}
	return nil
}

// anyOf are the clauses of parts of which one must hold: each clause of one with each of the others.
func (c *condition) anyOf(negated bool) [][]question {
	out := [][]question{nil}
	for i := range c.parts {
		more := c.parts[i].clauses(negated)
		switch {
		case len(more) == 0:
			return nil
		case i == 0:
			out = more
		case len(out)*len(more)*(len(out[0])+len(more[0])) > maxQuestions:
			out = [][]question{append(out[0], more[0]...)}
		default:
			var product [][]question
			for _, one := range out {
				for _, other := range more {
					product = append(product, append(slices.Clip(one), other...))
				}
			}
			out = product
		}
	}
	return out
}

// coversAll says whether every value may be among those for which one of the questions holds.
func coversAll(clause []question) bool {
	seen := map[string][notNull + 1]bool{}
	for _, q := range clause {
		of := seen[q.about]
		switch {
		case q.kind != null && q.kind != notNull && of[wide], q.kind == wide && (of[narrow] || of[low] || of[high]),
			q.kind == low && of[high], q.kind == high && of[low], q.kind == null && of[notNull], q.kind == notNull && of[null]:
			return true
		}
		of[q.kind] = true
		seen[q.about] = of
	}
	return false
}

func truthOf(b bool) condition {
	if b {
		return condition{op: holds}
	}
	return condition{op: fails}
}

func negation(c condition) condition { return condition{op: not, parts: []condition{c}} }

func conditions(op operation, parts ...condition) condition { return condition{op: op, parts: parts} }

// anyResult is a condition whose value is that of one of several.
func anyResult(results ...condition) condition {
	return conditions(positive, conditions(either, results...))
}

// membership in what a SELECT gives leaves out as much as its own WHERE does.
func membership(k kind, left operand, inside condition) condition {
	switch {
	case !left.speaks || left.unsure:
		return condition{}
	case k == wide:
		return negation(inside)
	}
	return inside
}

// operand is a side of a comparison.
type operand struct {
	columns []string // as they are written
	speaks  bool     // one of them is surely a column
	unsure  bool     // its value may not depend on them
}

// maxCompared bounds the columns of one comparison.
const maxCompared = 100

// compared is a question about the columns of both sides. Where one column stands in it twice, as in id = id, it may hold for all rows.
func compared(k kind, left, right operand) condition {
	columns := slices.Concat(left.columns, right.columns)
	if left.unsure || right.unsure || !left.speaks && !right.speaks || len(columns) > maxCompared || repeated(columns) {
		return condition{}
	}
	one, other := about(left.columns), about(right.columns)
	if one == "" || other != "" && other < one {
		k = k.mirrored()
	}
	return condition{op: asks, asked: question{about(columns), k}}
}

// outer are the columns that a SELECT may name of the statement around it: those with a table before them and, where it reads no table, all.
func (w *walker) outer() []string {
	var out []string
	for name := range w.named {
		if strings.Contains(name, ".") || len(w.tables) == 0 {
			out = append(out, name)
		}
	}
	return out
}

// repeated says whether two of the names may be of one column: t.id and id.
func repeated(columns []string) bool {
	for i, one := range columns {
		for _, other := range columns[:i] {
			if one == other || strings.HasSuffix(one, "."+other) || strings.HasSuffix(other, "."+one) {
				return true
			}
		}
	}
	return false
}

// about is the same for two writings of the same columns.
func about(columns []string) string {
	names := make([]string, len(columns))
	for i, name := range columns {
		names[i] = name[strings.LastIndexByte(name, '.')+1:]
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// matchesAll says that a pattern of LIKE, of GLOB or of a regular expression has nothing but what stands for any text.
func matchesAll(pattern string) bool { return strings.Trim(pattern, "%*.^$?+") == "" }
