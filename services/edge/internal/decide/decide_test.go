package decide_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/decide"
	"headgate.dev/services/edge/internal/guard"
)

// snapshot is 1,000 policies of a generation, every tenth about all tools; each has one rule, which is named after the generation.
func snapshot(generation int) *authzv1.WatchResponse {
	m := &authzv1.WatchResponse{Snapshot: true, Revision: int64(generation)}
	for n := range 1000 {
		tools := []string{fmt.Sprint("tool", n)}
		if n%10 == 0 {
			tools = nil
		}
		m.Upserts = append(m.Upserts, &authzv1.Policy{
			ApiVersion: "headgate/v1", Kind: "Policy",
			Metadata: &resourcev1.Metadata{Name: fmt.Sprint("p", n), Tenant: "acme", Version: int64(generation)},
			Spec: &authzv1.PolicySpec{Match: &authzv1.Match{Server: "crm", Tools: tools}, Default: "block", Rules: []*authzv1.Rule{
				{Name: fmt.Sprint("g", generation), When: fmt.Sprintf(`%d > 0 && "support" in principal.roles`, generation), Effect: "allow"},
			}},
		})
	}
	return m
}

// relations answers everybody the same entitlements.
type relations []*authzv1.Entitlement

func (r relations) Entitlements(context.Context, *connect.Request[authzv1.EntitlementsRequest]) (*connect.Response[authzv1.EntitlementsResponse], error) {
	return connect.NewResponse(&authzv1.EntitlementsResponse{Entitlements: r}), nil
}

// Related says of nobody that they are related to anything.
func (relations) Related(context.Context, *connect.Request[authzv1.RelatedRequest]) (*connect.Response[authzv1.RelatedResponse], error) {
	return connect.NewResponse(&authzv1.RelatedResponse{}), nil
}

// Agent implements decide.Agents.
func (r relations) Agent(string, string) bool { return false }

// TestASnapshotOfAThousandPoliciesIsAppliedWithoutStoppingCalls decides without a pause while snapshots take turns: none fails, and each is decided by the
// policies of one generation alone.
func TestASnapshotOfAThousandPoliciesIsAppliedWithoutStoppingCalls(t *testing.T) {
	d := decide.New(decide.NewRelations(relations{}, relations{}))
	if err := d.Apply(snapshot(1)); err != nil {
		t.Fatal(err)
	}
	question := func(n int) guard.Question {
		return guard.Question{
			Caller: &guard.Caller{Tenant: "acme", Person: "ana", Principal: policy.Principal{Name: "ana", Roles: []string{"support"}}},
			Tool:   &guard.Tool{Server: &guard.Server{Name: "crm"}, Name: fmt.Sprint("tool", n%1000), Relation: policy.Relation{Known: true, See: true, Call: true}},
			At:     time.Now(),
		}
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	var mu sync.Mutex
	longest, calls, generations := time.Duration(0), 0, map[string]int{}
	for w := range 2 {
		working.Go(func() {
			for n := w; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				decision, err := d.Decide(t.Context(), question(n))
				took := time.Since(began)
				if err != nil || decision.Effect != "allow" || len(decision.Rules) < 100 {
					t.Errorf("call %d: %s by %d rules, %v", n, decision.Effect, len(decision.Rules), err)
					return
				}
				_, generation, _ := strings.Cut(decision.Rules[0].Rule, "/")
				for _, r := range decision.Rules {
					if !strings.HasSuffix(r.Rule, "/"+generation) {
						t.Errorf("call %d: decided by %s and %s", n, decision.Rules[0].Rule, r.Rule)
						return
					}
				}
				mu.Lock()
				longest, calls = max(longest, took), calls+1
				generations[generation]++
				mu.Unlock()
			}
		})
	}
	var applied time.Duration
	for generation := 2; generation <= 4; generation++ {
		began := time.Now()
		if err := d.Apply(snapshot(generation)); err != nil {
			t.Fatal(err)
		}
		applied = max(applied, time.Since(began))
	}
	close(stop)
	working.Wait()
	if calls == 0 || len(generations) < 2 {
		t.Errorf("%d calls by %v", calls, generations)
	}
	t.Logf("%d calls while 3 snapshots of 1,000 policies were applied, the slowest in %s; the longest decision took %s; by generation %v", calls, applied, longest, generations)
}

// thousand are entitlements to 1,000 tools by name.
func thousand() relations {
	var all relations
	for n := range 1000 {
		all = append(all, &authzv1.Entitlement{
			Server: fmt.Sprint("server", n/50), Tool: fmt.Sprint("tool", n), CanSee: true, CanCall: true, Via: fmt.Sprintf("person → role support → tool server%d.tool%d", n/50, n),
		})
	}
	return all
}

// BenchmarkEntitlements takes over the 1,000 tools of one more person, as for their first call, and says what each person takes in memory.
func BenchmarkEntitlements(b *testing.B) {
	all := thousand()
	r := decide.NewRelations(all, all)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	people := 0
	for b.Loop() {
		people++
		reach, err := r.Of(b.Context(), &guard.Caller{Tenant: "acme", Person: fmt.Sprint("p", people)})
		if err != nil || !reach.Lookup("server3", "tool160", time.Now()).Call {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(people)/1024, "KiB/person")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(people)*10_000/(1<<20), "MiB/10k-people")
	r.Close()
}
