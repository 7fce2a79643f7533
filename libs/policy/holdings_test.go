package policy_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

func holding(name string, tools int) []*authzv1.Entitlement {
	es := []*authzv1.Entitlement{entitlement("crm", "*", true, false, name+" → role support → server crm", noon.Add(time.Hour))}
	for i := range tools {
		es = append(es, entitlement("crm", fmt.Sprint("t", i), true, true, fmt.Sprintf("%s → role support → tool crm.t%d", name, i), time.Time{}))
	}
	return es
}

func TestWhoHoldsTheSameSharesItAndKeepsTheirName(t *testing.T) {
	shapes := policy.NewHoldings()
	for _, name := range []string{"ana", "ben", "agent scout"} {
		held := holding(name, 3)
		e := shapes.Entitlements(held)
		if r := e.Lookup("crm", "t1", noon); !r.Call || r.Via != name+" → role support → tool crm.t1" {
			t.Errorf("%s: %+v", name, r)
		}
		if r := e.Lookup("crm", "other", noon); r.Call || !r.See || !e.Until("crm", "other", noon).Equal(noon.Add(time.Hour)) || !e.Until("crm", "t1", noon).IsZero() {
			t.Errorf("%s: %+v", name, r)
		}
		list := e.List(noon)
		for i, one := range list {
			if !proto.Equal(one, held[i]) {
				t.Errorf("%s: %v became %v", name, held[i], one)
			}
		}
		if len(list) != 4 || len(e.List(noon.Add(time.Hour))) != 3 {
			t.Errorf("%s: %d", name, len(list))
		}
	}
	// What differs by anything but the name is not shared.
	more := holding("ana", 3)
	more[1].CanCall = false
	if r := shapes.Entitlements(more).Lookup("crm", "t0", noon); r.Call {
		t.Errorf("a right of somebody else: %+v", r)
	}
	if r := shapes.Entitlements([]*authzv1.Entitlement{entitlement("a", "*", true, true, "ana", time.Time{}), entitlement("b", "*", true, true, "x → y", time.Time{})}).Lookup("a", "z", noon); r.Via != "ana" {
		t.Errorf("a path without an arrow: %+v", r)
	}
}

func TestAThousandPeopleWithTheSameThousandToolsTakeNoMoreThanAMegabyte(t *testing.T) {
	const people, most = 1000, 1 << 20
	shapes := policy.NewHoldings()
	held := holding("ana", 1000)
	all := make([]*policy.Entitlements, people)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range all {
		all[i] = shapes.Entitlements(held[:1000])
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	took := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d people with 1,000 tools each: %d KiB", people, took>>10)
	if took > most {
		t.Errorf("%d bytes, more than %d", took, most)
	}
	runtime.KeepAlive(all)
}
