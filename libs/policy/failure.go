package policy

import (
	"errors"
	"strings"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// failure is why a rule could not be judged.
type failure struct {
	reason  faultv1.Reason
	problem string
}

func (f *failure) Error() string { return f.problem }

func factFailure(problem string) error {
	return &failure{faultv1.Reason_REASON_FACT_UNAVAILABLE, problem}
}

// reasonOf is the reason of a call that is blocked because a rule could not be judged.
func reasonOf(err error) faultv1.Reason {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return faultv1.Reason_REASON_RULE_ERROR
}

// understood by their words: CEL has no types for these errors.
const (
	celCost = "actual cost limit exceeded"
	celType = "no such overload"
)

// failed is what CEL said of a rule that it could not judge, in words for people.
func (m *memo) failed(err error) error {
	if m.unrelated != "" {
		return &failure{faultv1.Reason_REASON_RELATION_UNAVAILABLE, m.unrelated}
	}
	text := oneLine(err.Error())
	switch {
	case strings.Contains(text, celCost):
		return &failure{faultv1.Reason_REASON_RULE_COST, "it took more work than a rule may: " + celCost}
	case strings.Contains(text, celType):
		return &failure{faultv1.Reason_REASON_RULE_TYPE, "a value in it has another type than it takes: " + plainNames(text)}
	}
	return &failure{faultv1.Reason_REASON_RULE_ERROR, text}
}

// plainNames shows functions and types as authors write them.
func plainNames(text string) string {
	text = strings.NewReplacer(hiddenSQL, functionSQL, hiddenOpen, functionOpen, hiddenHoliday, functionHoliday, hiddenRelated, functionRelated).Replace(text)
	return strings.ReplaceAll(strings.ReplaceAll(text, ", "+memoType, ""), "headgate.", "")
}
