package rpc

import (
	"testing"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestEveryReasonHasACode(t *testing.T) {
	for number, name := range faultv1.Reason_name {
		if _, ok := codes[faultv1.Reason(number)]; !ok {
			t.Errorf("%s has none: callers would be told of an internal failure", name)
		}
	}
}
