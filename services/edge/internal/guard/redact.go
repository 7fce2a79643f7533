package guard

import (
	"slices"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// redactions are the pointers that rules take out of the result, by the first decision and by those since, and those of them that must lead to
// something.
func (e *Entry) redactions() (paths, must []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range append([]policy.Decision{e.decision}, e.later...) {
		for _, path := range d.Redact {
			paths = append(paths, path)
			if !slices.Contains(d.RedactIfThere, path) {
				must = append(must, path)
			}
		}
	}
	return paths, must
}

// redact takes out of a result what the rules say. A result that cannot be redacted is withheld, and so is one in which a value is not where a rule
// says that it is: it may be anywhere else.
func (e *Entry) redact(result []byte) ([]byte, error) {
	paths, must := e.redactions()
	if len(paths) == 0 {
		return result, nil
	}
	if mcp.Get(result, "task") != nil || mcp.Get(result, "taskId") != nil {
		return nil, fault.New(faultv1.Reason_REASON_INSPECTION,
			"The server answers with a task whose result comes later, and %s takes something out of it. Make the call without a task.", e.taker())
	}
	out, taken, err := policy.RedactResult(result, paths)
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_INSPECTION,
			"The result was withheld because %s takes something out of it and that could not be done. Tell your administrator.", e.taker()).Because(err)
	}
	missed := slices.DeleteFunc(taken.Missed, func(path string) bool { return !slices.Contains(must, path) })
	if len(missed) > 0 && e.isResult(result) {
		return nil, withheld(missed, string(mcp.Get(result, "isError")) == "true")
	}
	if len(taken.Hit) > 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.takenOut = taken.Hit
		findings := e.findings()
		findings.Notes = append(findings.Notes, "redacted: "+strings.Join(taken.Hit, ", "))
	}
	return out, nil
}

// taker is what takes something out of the result, as far as the decision says.
func (e *Entry) taker() string {
	if e.decision.Rule == "" {
		return "a label of the tool"
	}
	return "rule " + e.decision.Rule + ", or a label of the tool,"
}

// isResult reports whether an answer is what the request was made for, and not a question to the client or word of a task that goes on.
func (e *Entry) isResult(result []byte) bool {
	if mcp.Get(result, "content") != nil || mcp.Get(result, "structuredContent") != nil {
		return true
	}
	kind, _ := mcp.Text(result, "resultType")
	return kind != mcp.ResultInputRequired && (!e.ofTask() || e.msg.Method == mcp.MethodTaskResult)
}

func withheld(missed []string, failed bool) error {
	places := strings.Join(missed, ", ")
	if failed {
		return fault.New(faultv1.Reason_REASON_INSPECTION,
			"The server answered with an error, which was withheld: a rule or a label of the tool takes %s out of results, and an error may hold it at another place. "+
				"Check the arguments; your administrator finds out more, and can let errors pass by naming the place under redactIfThere, or with @? in the label.", places)
	}
	return fault.New(faultv1.Reason_REASON_INSPECTION,
		"The result was withheld: a rule or a label of the tool takes %s out of it, but it was not there, so it may stand at another place. "+
			"Tell your administrator: it must name where this tool puts it, under redactIfThere, or with @? in the label, if some results do without.", places)
}
