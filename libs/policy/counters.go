package policy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	minWindow = time.Second
	maxWindow = 31 * 24 * time.Hour
)

// counter is what is summed up over a window: a counter of a policy, or the calls that a limit lets pass.
type counter struct {
	name, key string // key is policy/name
	window    time.Duration
	per       []string
	program   cel.Program // nil counts calls
	used      bool        // some rule reads it
}

// CountNeed is one sum that a request is judged by. Whoever judges a call that will be made adds Amount to the sum before, puts the sum under Key
// into Request.Counts, and takes Amount away again if the call is not let pass: two calls at once then never both fit into the same rest.
type CountNeed struct {
	// Key is policy/counter, or policy/rule for a limit.
	Key string
	// Bucket names whose calls are summed up together; it is unique among all tenants.
	Bucket string
	Window time.Duration
	Amount float64
}

func (c *Compiled) compileCounters(env *cel.Env) error {
	declared := c.source.GetSpec().GetCounters()
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		out, err := c.newCounter(name, declared[name].GetWindow(), declared[name].GetPer())
		if err != nil {
			return c.invalidPart("counter", name, err.Error())
		}
		if of := declared[name].GetOf(); of != "" {
			expr, err := compileExpression(env, of, cel.DynType, names{calendars: c.calendarNames()})
			if err != nil {
				return c.invalidPart("counter", name, "of: "+err.Error())
			}
			c.share(expr.calendars)
			out.program, c.locates = expr.program, c.locates || expr.locates
		}
		c.counters = append(c.counters, *out)
	}
	return nil
}

func (c *Compiled) newCounter(name, window string, per []string) (*counter, error) {
	d, err := time.ParseDuration(window)
	if err != nil || d < minWindow || d > maxWindow {
		return nil, fmt.Errorf("window %q is not a duration from 1s to 744h, as 24h", window)
	}
	if len(per) == 0 {
		per = []string{"person"}
	}
	for _, one := range per {
		if !slices.Contains([]string{"person", "agent", "server", "tool", "tenant"}, one) {
			return nil, fmt.Errorf("per %q is none of person, agent, server, tool, tenant", one)
		}
	}
	per = slices.Sorted(slices.Values(per))
	return &counter{name: name, key: c.name + "/" + name, window: d, per: per}, nil
}

func compileLimit(c *Compiled, r *authzv1.Rule) (*counter, error) {
	limit := r.GetLimit()
	switch {
	case r.GetEffect() != Limit && limit == nil:
		return nil, nil
	case r.GetEffect() != Limit:
		return nil, fmt.Errorf("limit is given, but the effect is %s; only a rule with effect limit bounds calls", r.GetEffect())
	case limit.GetCalls() < 1:
		return nil, errors.New("the effect limit needs limit.calls, at least 1")
	}
	return c.newCounter(r.GetName(), limit.GetWindow(), limit.GetPer())
}

// bucket is where the calls of one request are summed up. Texts are quoted, so that no name can look like another part.
func (n *counter) bucket(req *Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %s", req.Tenant, n.key, n.window)
	for _, per := range n.per {
		value := ""
		switch per {
		case "person":
			value = req.Principal.Name
		case "agent":
			if value = req.Agent.Name; value == "" {
				value = "none, person " + req.Principal.Name // who acts without an agent is counted alone
			}
		case "server":
			value = req.Server.Name
		case "tool":
			value = req.Server.Name + "/" + req.Tool.Name
		}
		fmt.Fprintf(&b, " %s=%q", per, value)
	}
	return b.String()
}

// CountNeeds lists the sums that the request is judged by, once its facts are there. A sum whose amount cannot be made is left out: the rules
// that read it then block. Without a relation that lets the tool be called there are none.
func (b *Bundle) CountNeeds(req *Request) []CountNeed {
	if b == nil || !b.counts || !req.Relation.Call {
		return nil
	}
	matching := b.matching(req.Server.Name, req.Tool.Name)
	var needs []CountNeed
	e := evaluation{req: req, matching: matching, call: newCall(req)}
	for _, c := range matching {
		if !c.counting {
			continue
		}
		missing := e.gather(c)
		for i := range c.counters {
			n := &c.counters[i]
			if !n.used {
				continue
			}
			if amount, err := n.amount(e.call); err == nil {
				needs = append(needs, CountNeed{Key: n.key, Bucket: n.bucket(req), Window: n.window, Amount: amount})
			}
		}
		for i := range c.rules {
			r := &c.rules[i]
			if r.limit == nil {
				continue
			}
			if matched, err := e.rule(r, missing); err == nil && matched {
				needs = append(needs, CountNeed{Key: r.limit.key, Bucket: r.limit.bucket(req), Window: r.limit.window, Amount: 1})
			}
		}
	}
	return needs
}

// amount is what one call adds.
func (n *counter) amount(c *call) (float64, error) {
	if n.program == nil {
		return 1, nil
	}
	v, err := run(n.program, c)
	if err != nil {
		return 0, err
	}
	var amount float64
	switch v := v.(type) {
	case types.Int:
		amount = float64(v)
	case types.Uint:
		amount = float64(v)
	case types.Double:
		amount = float64(v)
	default:
		return 0, fmt.Errorf("what counter %s sums up is a %s, not a number", n.name, v.Type().TypeName())
	}
	if math.IsNaN(amount) || math.IsInf(amount, 0) || amount < 0 {
		return 0, fmt.Errorf("what counter %s sums up is %v, not a number of at least 0", n.name, amount)
	}
	return amount, nil
}

// sums gives rules the policy's counters. One that is not known is an error when it is read.
func (e *evaluation) sums(c *Compiled) {
	e.call.sums = nil
	for i := range c.counters {
		n := &c.counters[i]
		if !n.used {
			continue
		}
		if e.call.sums == nil {
			e.call.sums = make(map[string]any, len(c.counters))
		}
		sum, ok := e.req.Counts[n.key]
		if !ok {
			_, err := n.amount(e.call)
			if err == nil {
				err = fmt.Errorf("the counter %s is not known for this call", n.name)
			}
			e.call.sums[n.name] = types.WrapErr(err)
			continue
		}
		if sum == math.Trunc(sum) && math.Abs(sum) < 1<<53 {
			e.call.sums[n.name] = int64(sum)
			continue
		}
		e.call.sums[n.name] = sum
	}
}

// limited judges a limit whose rule matched: it blocks when it is used up, and otherwise says nothing.
func (e *evaluation) limited(r *rule, v *verdict) error {
	sum, ok := e.req.Counts[r.limit.key]
	if !ok {
		return fmt.Errorf("how many calls have passed is not known")
	}
	v.weight = nothing
	if sum > float64(r.calls) {
		v.weight, v.reason = blocking, faultv1.Reason_REASON_RATE_LIMITED
	}
	return nil
}
