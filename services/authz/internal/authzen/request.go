package authzen

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// What Headgate decides about, in the words of the API.
const (
	typeUser   = "user"
	typeTool   = "tool"
	actionCall = "call"
)

// mostEvaluations is how many questions one request may have.
const mostEvaluations = 1000

// The semantics of several evaluations (section 7.1.2.1).
const (
	executeAll    = "execute_all"
	denyOnFirst   = "deny_on_first_deny"
	permitOnFirst = "permit_on_first_permit"
)

// tuple is one question. What it does not name is ignored, as the API wants it, but not where Headgate says which members there are: one that is misspelt
// there would leave out what makes a right smaller.
type tuple struct {
	Subject  *subject  `json:"subject"`
	Action   *action   `json:"action"`
	Resource *resource `json:"resource"`
	Context  *context  `json:"context"`
}

type subject struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Properties struct {
		Agent string `json:"agent"`
		Other others `json:",embed"`
	} `json:"properties"`
}

type action struct {
	Name       string `json:"name"`
	Properties struct {
		Arguments jsontext.Value `json:"arguments"`
		Other     others         `json:",embed"`
	} `json:"properties"`
}

type resource struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type context struct {
	IP     string         `json:"ip"`
	Tenant string         `json:"tenant"`
	Facts  jsontext.Value `json:"facts"`
	Other  others         `json:",embed"`
}

// others are members that Headgate does not know.
type others map[string]jsontext.Value

// none refuses them, where these are known.
func (o others) none(where string, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		return fault.Invalid("%s has a member that is not read: %s. Leave it out, or correct its name.", where, policy.Unknown("member", name, known))
	}
	return nil
}

// exact refuses members that would be left out of the question.
func (t *tuple) exact() error {
	if t.Subject != nil {
		if err := t.Subject.Properties.Other.none("subject.properties", "agent"); err != nil {
			return err
		}
	}
	if t.Action != nil {
		if err := t.Action.Properties.Other.none("action.properties", "arguments"); err != nil {
			return err
		}
	}
	if t.Context == nil {
		return nil
	}
	return t.Context.Other.none("context", "ip", "facts", "tenant")
}

// several is a request of the evaluations endpoint: questions, and what they have in common.
type several struct {
	tuple       `json:",inline"`
	Evaluations []jsontext.Value `json:"evaluations"`
	Options     struct {
		Semantic string `json:"evaluations_semantic"`
	} `json:"options"`
}

// read takes one strict JSON object.
func read(raw []byte, into any) error {
	if len(strings.TrimSpace(string(raw))) == 0 {
		return fault.Invalid("The request has no body. Send a JSON object with subject, action and resource.")
	}
	err := json.Unmarshal(raw, into)
	var wrong *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.JSONPointer != "":
		return fault.Invalid("%s is not of the type that it must have.", wrong.JSONPointer)
	case errors.As(err, &wrong):
		return fault.Invalid("The request is not a JSON object. Send one with subject, action and resource.")
	}
	return fault.Invalid("The request is not strict JSON: %s.", err)
}

// over fills in what the question leaves out: a whole member, or the name and kind of one.
func (t *tuple) over(common tuple) {
	switch {
	case t.Subject == nil:
		t.Subject = common.Subject
	case common.Subject != nil:
		if t.Subject.ID == "" { // whoever is asked about is so through the same agent
			fill(&t.Subject.Properties.Agent, common.Subject.Properties.Agent)
		}
		fill(&t.Subject.Type, common.Subject.Type)
		fill(&t.Subject.ID, common.Subject.ID)
	}
	switch {
	case t.Resource == nil:
		t.Resource = common.Resource
	case common.Resource != nil:
		fill(&t.Resource.Type, common.Resource.Type)
		fill(&t.Resource.ID, common.Resource.ID)
	}
	switch {
	case t.Action == nil:
		t.Action = common.Action
	case common.Action != nil:
		fill(&t.Action.Name, common.Action.Name)
	}
	if t.Context == nil {
		t.Context = common.Context
	}
}

func fill(missing *string, common string) {
	if *missing == "" {
		*missing = common
	}
}

// call is the question as Headgate asks it.
func (t *tuple) call() (*authzv1.DecideRequest, error) {
	switch {
	case t.Subject == nil || t.Subject.Type == "" || t.Subject.ID == "":
		return nil, fault.Invalid(`The request needs a subject with type and id, as {"type":"user","id":"ana"}.`)
	case t.Action == nil || t.Action.Name == "":
		return nil, fault.Invalid(`The request needs an action with a name, as {"name":"call"}.`)
	case t.Resource == nil || t.Resource.Type == "" || t.Resource.ID == "":
		return nil, fault.Invalid(`The request needs a resource with type and id, as {"type":"tool","id":"tickets.close_ticket"}.`)
	case t.Subject.Type != typeUser:
		return nil, fault.Invalid("There are no subjects of type %q here: a subject is of type user, and its id is a person's name.", t.Subject.Type)
	case t.Action.Name != actionCall:
		return nil, fault.Invalid("There is no action %q here: the action is call.", t.Action.Name)
	case t.Resource.Type != typeTool:
		return nil, fault.Invalid("There are no resources of type %q here: a resource is of type tool, and its id is SERVER.TOOL.", t.Resource.Type)
	}
	if err := t.exact(); err != nil {
		return nil, err
	}
	server, tool, ok := strings.Cut(t.Resource.ID, ".")
	if !ok || server == "" || tool == "" {
		return nil, fault.Invalid("The resource's id %q does not name a tool. Write SERVER.TOOL, as tickets.close_ticket.", t.Resource.ID)
	}
	call := &authzv1.DecideRequest{
		Person: t.Subject.ID, Agent: t.Subject.Properties.Agent, Server: server, Tool: tool, Arguments: given(t.Action.Properties.Arguments),
	}
	if t.Context == nil {
		return call, nil
	}
	call.SourceIp, call.Tenant = t.Context.IP, t.Context.Tenant
	if facts := given(t.Context.Facts); facts != nil {
		call.Facts = &structpb.Struct{}
		if err := protojson.Unmarshal(facts, call.Facts); err != nil {
			return nil, fault.Invalid("context.facts is not a JSON object. Give each fact by its name.")
		}
	}
	return call, nil
}

// given takes null for nothing.
func given(v jsontext.Value) []byte {
	if v.Kind() == 'n' {
		return nil
	}
	return v
}
