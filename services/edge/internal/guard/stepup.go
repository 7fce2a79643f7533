package guard

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// insufficient is the error of RFC 9470, 3: the token is good, the sign-in behind it is not good enough.
const insufficient = "insufficient_user_authentication"

// stepUpInWord is what the next sign-in must be like, in the terms of an authorization request.
type stepUpInWord struct {
	Error     string `json:"error"`
	ACRValues string `json:"acr_values,omitempty"`
	MaxAge    int64  `json:"max_age,omitempty"`
}

func stepUpWord(s *authzv1.StepUp) *stepUpInWord {
	if s == nil {
		return nil
	}
	out := &stepUpInWord{Error: insufficient, ACRValues: strings.Join(s.GetAcrValues(), " ")}
	if age, err := time.ParseDuration(s.GetMaxAge()); err == nil {
		out.MaxAge = int64(age / time.Second)
	}
	return out
}

// stepUp asks for another sign-in as HTTP does (RFC 9470, 3), and says the same as a JSON-RPC error to who does not see the status.
func (e *Entry) stepUp(metadata string, r *Refusal) Answer {
	word := stepUpWord(r.stepUp)
	said := `Bearer error="` + insufficient + `", error_description="` + Quotable(r.Fault.Sentence) + `"`
	if word.ACRValues != "" {
		said += `, acr_values="` + word.ACRValues + `"`
	}
	if word.MaxAge > 0 {
		said += `, max_age="` + strconv.FormatInt(word.MaxAge, 10) + `"`
	}
	if metadata != "" {
		said += `, resource_metadata="` + metadata + `"`
	}
	data := json.RawMessage(`{"` + mcp.MetaDecision + `":` + string(e.decisionJSON(r)) + `,"reason":"` + fault.Code(r.Fault.Reason) + `"}`)
	answer := e.answer(http.StatusUnauthorized, e.reply(mcp.ErrorReply(e.msg.ID, CodeRefused, r.Fault.Sentence, data)))
	answer.Challenge = said
	return answer
}

// Quotable keeps the characters that an error_description may have (RFC 6750, 3).
func Quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}
