package policy

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// stepUp is what a sign-in must be like for a call to pass.
type stepUp struct {
	source *authzv1.StepUp
	maxAge time.Duration // 0 is any
}

func compileStepUp(r *authzv1.Rule) (*stepUp, error) {
	declared := r.GetStepUp()
	if r.GetEffect() != StepUp {
		if declared != nil {
			return nil, errors.New("stepUp is given, but the effect is " + r.GetEffect() + "; only a rule with effect step-up asks for a sign-in")
		}
		return nil, nil
	}
	if len(declared.GetAcrValues()) == 0 && declared.GetMaxAge() == "" {
		return nil, errors.New("the effect step-up needs stepUp.acrValues, stepUp.maxAge or both")
	}
	out := &stepUp{source: declared}
	if text := declared.GetMaxAge(); text != "" {
		age, err := time.ParseDuration(text)
		if err != nil || age < time.Second {
			return nil, errors.New("stepUp.maxAge " + strconv.Quote(text) + " is not a duration of at least 1s, as 5m")
		}
		out.maxAge = age
	}
	return out, nil
}

// satisfied says whether a sign-in is as it must be. What is not known is not.
func (s *stepUp) satisfied(session *Session, now time.Time) (bool, error) {
	if wanted := s.source.GetAcrValues(); len(wanted) > 0 && !slices.Contains(wanted, session.ACR) {
		return false, nil
	}
	if s.maxAge == 0 {
		return true, nil
	}
	if session.AuthTime.IsZero() {
		return false, nil
	}
	age, err := elapsed("session.authTime", session.AuthTime, now)
	return err == nil && age <= s.maxAge, err
}

// words says what the sign-in must be like.
func (s *stepUp) words() string {
	var parts []string
	if s.maxAge > 0 {
		parts = append(parts, "at most "+s.source.GetMaxAge()+" ago")
	}
	if wanted := s.source.GetAcrValues(); len(wanted) > 0 {
		parts = append(parts, "by "+strings.Join(wanted, " or "))
	}
	return strings.Join(parts, " and ")
}
