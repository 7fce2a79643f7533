package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// TestResult is what became of one of a policy's own tests.
type TestResult struct {
	Name   string
	Passed bool
	// Problem says what was expected and what came, when it did not pass.
	Problem  string
	Decision Decision
}

// Where and when a policy's tests take place, so that they say the same each time: noon of a Wednesday, from an address of the
// documentation range (RFC 5737) and no country (ISO 3166 leaves ZZ to its users).
const (
	testIP      = "192.0.2.1"
	testCountry = "ZZ"
)

// TestTime is request.time in a policy's tests.
func TestTime() time.Time { return time.Date(2026, time.January, 7, 12, 0, 0, 0, time.UTC) }

// RunTests runs the tests that a policy carries, each as one evaluation with this policy alone, the relation granted and the facts that the
// test gives. An error means that the policy does not compile.
func RunTests(p *authzv1.Policy) ([]TestResult, error) {
	c, err := Compile(p)
	if err != nil {
		return nil, err
	}
	return c.RunTests(), nil
}

// RunTests is RunTests for a policy that is compiled already.
func (c *Compiled) RunTests() []TestResult {
	p, b := c.source, NewBundle([]*Compiled{c})
	results := make([]TestResult, 0, len(p.GetSpec().GetTests()))
	for _, t := range p.GetSpec().GetTests() {
		results = append(results, runTest(b, p, t))
	}
	return results
}

// Untried names the rules that matched in none of the policy's tests, in their order.
func Untried(p *authzv1.Policy, results []TestResult) []string {
	matched := map[string]bool{}
	for _, result := range results {
		for _, o := range result.Decision.Rules {
			matched[o.Rule] = matched[o.Rule] || o.Matched
		}
	}
	var out []string
	for _, r := range p.GetSpec().GetRules() {
		if !matched[p.GetMetadata().GetName()+"/"+r.GetName()] {
			out = append(out, r.GetName())
		}
	}
	return out
}

func runTest(b *Bundle, p *authzv1.Policy, t *authzv1.Test) TestResult {
	result := TestResult{Name: t.GetName()}
	req, err := testRequest(p, t)
	if err != nil {
		result.Problem = err.Error()
		return result
	}
	if !b.Matches(req.Server.Name, req.Tool.Name) {
		result.Problem = fmt.Sprintf("the policy does not match tool %s on server %s", req.Tool.Name, req.Server.Name)
		return result
	}
	count(b, req, t)
	d := b.Settle(req, testRelated(t.GetRelated()))
	result.Decision = d
	rule := t.GetRule()
	if rule != "" && rule != d.Rule {
		rule = p.GetMetadata().GetName() + "/" + rule // tests name their own policy's rules short
	}
	effect := d.Effect
	if t.GetExpect() == StepUp && d.StepUp != nil {
		effect = StepUp
	}
	switch {
	case effect != t.GetExpect():
		result.Problem = fmt.Sprintf("expected %s, got %s: %s", t.GetExpect(), effect, d.Sentence)
	case rule != d.Rule && t.GetRule() != "":
		result.Problem = fmt.Sprintf("expected rule %s to decide, got %s: %s", t.GetRule(), orUnnamed(d.Rule), d.Sentence)
	case t.GetExpectArgs() != nil:
		result.Problem = differentArguments(t.GetExpectArgs(), d)
	}
	if want := t.GetExpectRedact(); result.Problem == "" && len(want) > 0 && !slices.Equal(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(d.Redact))) {
		result.Problem = fmt.Sprintf("expected %s to be redacted, got %s", strings.Join(want, ", "), cmp.Or(strings.Join(d.Redact, ", "), "nothing"))
	}
	result.Passed = result.Problem == ""
	return result
}

// count takes the sums from the test; what it does not say is as if this call were the first.
func count(b *Bundle, req *Request, t *authzv1.Test) {
	for _, need := range b.CountNeeds(req) {
		if req.Counts == nil {
			req.Counts = map[string]float64{}
		}
		_, name, _ := strings.Cut(need.Key, "/")
		sum, said := t.GetCounters()[name]
		if !said {
			sum = need.Amount
		}
		req.Counts[need.Key] = sum
	}
}

func testRequest(p *authzv1.Policy, t *authzv1.Test) (*Request, error) {
	as, match := t.GetAs(), p.GetSpec().GetMatch()
	req := &Request{
		Tenant: p.GetMetadata().GetTenant(),
		Principal: Principal{
			Name: as.GetName(), Department: as.GetDepartment(), Roles: as.GetRoles(), Groups: as.GetGroups(), Teams: as.GetTeams(),
			Attributes: as.GetAttributes(), Clearances: as.GetClearances(),
		},
		Agent:    Agent{Name: as.GetAgent()},
		Server:   Server{Name: nameOr(match.GetServer(), "server"), Labels: t.GetServerLabels()},
		Tool:     Tool{Name: t.GetTool(), Labels: t.GetToolLabels()},
		Facts:    t.GetFacts().AsMap(),
		At:       TestTime(),
		SourceIP: cmp.Or(t.GetIp(), testIP),
		Country:  cmp.Or(t.GetCountry(), testCountry),
		Relation: Relation{Known: true, See: true, Call: true, Via: "test"},
		Session:  SessionOf(as.GetSession()), Device: DeviceOf(as.GetDevice()), Purpose: cmp.Or(as.GetSession().GetPurpose(), as.GetPurpose()),
	}
	if req.Tool.Name == "" {
		tool := anyTool
		if len(match.GetTools()) > 0 {
			tool = match.GetTools()[0]
		}
		req.Tool.Name = nameOr(tool, "tool")
	}
	req.Trust = map[string]any{trustStanding: "approved", trustDefinition: "approved"} // as of every call that an edge decides
	if t.GetTrust() != nil {
		trust, err := normal(t.GetTrust().AsMap())
		if err != nil {
			return nil, err
		}
		req.Trust, _ = trust.(map[string]any)
	}
	if t.GetTaint() != nil {
		req.Taint = append([]string{}, t.GetTaint().GetLabels()...)
	}
	var err error
	if t.GetAt() != "" {
		if req.At, err = time.Parse(time.RFC3339, t.GetAt()); err != nil {
			return nil, fmt.Errorf("at %q is not a time as 2026-03-29T08:00:00+02:00", t.GetAt())
		}
	}
	if t.GetArgs() != nil {
		req.Args, err = structJSON(t.GetArgs())
	}
	return req, err
}

// nameOr gives a policy for everything a name to be tested with.
func nameOr(name, other string) string {
	if name == anyTool {
		return other
	}
	return name
}

func structJSON(s *structpb.Struct) (json.RawMessage, error) {
	raw, err := json.Marshal(s.AsMap())
	if err != nil {
		return nil, fmt.Errorf("the test's args are not JSON: %w", err)
	}
	return raw, nil
}

func differentArguments(want *structpb.Struct, d Decision) string {
	wanted, err := structJSON(want)
	if err != nil {
		return err.Error()
	}
	same, err := sameJSON(wanted, d.Arguments)
	if err != nil {
		return err.Error()
	}
	if !same {
		return fmt.Sprintf("expected the arguments %s, got %s", wanted, d.Arguments)
	}
	return ""
}

// sameJSON compares values as rules see them: 3 and 3.0 are the same, the order of members does not count.
func sameJSON(a, b json.RawMessage) (bool, error) {
	first, err := Decode(a)
	if err != nil {
		return false, err
	}
	second, err := decodeMembers(b, "the arguments")
	if err != nil {
		return false, err
	}
	one, err := json.Marshal(first)
	if err != nil {
		return false, err
	}
	two, err := json.Marshal(second)
	return string(one) == string(two), err
}
