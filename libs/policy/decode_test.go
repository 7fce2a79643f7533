package policy_test

import (
	"encoding/json"
	"math"
	"testing"

	"headgate.dev/libs/policy"
)

// TestNoIntegerIsRounded, in whatever notation: a rule about a number would be about another one than the server gets.
func TestNoIntegerIsRounded(t *testing.T) {
	for literal, want := range map[string]any{
		"3": int64(3), "3.0": int64(3), "30e-1": int64(3), "0.3E+1": int64(3), "-0": int64(0), "0.00": int64(0), "0e999999999999999999999": int64(0),
		"9007199254740993": int64(9007199254740993), "9007199254740993e0": int64(9007199254740993), "9007199254740993.0": int64(9007199254740993),
		"0.9007199254740993e16": int64(9007199254740993), "-90071992547409930e-1": int64(-9007199254740993), "9223372036854775807.00": int64(math.MaxInt64),
		"-9.223372036854775808e18": int64(math.MinInt64), "1.8446744073709551615E19": uint64(math.MaxUint64), "18446744073709551616": float64(1 << 64),
		"1e19": uint64(1e19), "1e20": 1e20, "1.5": 1.5, "9007199254740993.5": 9007199254740994.0, "1e-400": int64(0),
	} {
		if got, err := policy.Decode(json.RawMessage(literal)); err != nil || got != want {
			t.Errorf("%s is read as %v (%T), not %v: %v", literal, got, got, want, err)
		}
	}
	for _, literal := range []string{"1e400", "-1e9223372036854775807", "1e99999999999999999999"} {
		if got, err := policy.Decode(json.RawMessage(literal)); err == nil {
			t.Errorf("%s is read as %v", literal, got)
		}
	}
}
