package guard

import (
	"bytes"
	"context"
	"time"

	"headgate.dev/libs/policy"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// refusedPatience is how long the copy may take of what was not made, or was made already: its record is written without one then.
const refusedPatience = time.Second

// Keeper makes what the record holds of a call besides keyed hashes.
type Keeper interface {
	// Copy says what is copied of a call; nil for nothing. After an error nothing may happen: the record would lack what the tenant asks for. Arguments
	// say whom the call is about; without them it is about who calls.
	Copy(ctx context.Context, c *Caller, t *Tool, callID string, arguments []byte) (Copy, error)
}

// Copy puts copies of one call's documents into its record.
type Copy interface {
	// Arguments and Result answer a note where there is no copy of a document because of what it is.
	Arguments(into *eventsv1.Payload, document []byte, lease *Lease) (note string, err error)
	Result(into *eventsv1.Payload, document []byte) (note string, err error)
}

// hashes copies nothing.
type hashes struct{}

func (hashes) Copy(context.Context, *Caller, *Tool, string, []byte) (Copy, error) { return nil, nil }

// keep copies the arguments of a call that is about to be made into its record, as the tenant asks for.
func (g *Guard) keep(ctx context.Context, e *Entry, tool *Tool, arguments []byte) error {
	if tool == nil {
		return nil
	}
	var err error
	if e.copy, err = g.Keeper.Copy(ctx, e.caller, tool, e.id, arguments); err != nil || e.copy == nil {
		return err
	}
	note, err := e.copy.Arguments(&e.parts.arguments, arguments, e.lease)
	e.noted(note)
	return err
}

// keepRefused copies the arguments of a call that was not made, where that is possible: its record is needed either way. They were not checked, so
// whom they name gets no key by that.
func (g *Guard) keepRefused(e *Entry) {
	if e.tool == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refusedPatience)
	defer cancel()
	copied, err := g.Keeper.Copy(ctx, e.caller, e.tool, e.id, nil)
	if err == nil && copied != nil {
		var note string
		note, err = copied.Arguments(&e.parts.arguments, e.msg.Arguments, e.lease)
		e.noted(note)
	}
	if err != nil {
		e.noted("its arguments could not be copied: " + err.Error())
	}
}

const (
	// mostFacts is how many facts a record names, longestFact how long a value may be of which it has a copy, in bytes.
	mostFacts   = 32
	longestFact = 4 << 10
)

// learner notes in a call's record what was read for it.
type learner struct {
	guard *Guard
	entry *Entry
}

func (e *Entry) learner(g *Guard) *learner {
	e.parts.learner = learner{g, e}
	return &e.parts.learner
}

// Learned implements Learner: it notes a fact that the call is judged by. Its value is copied where the results of the tool it was read with are, unless something had to be left
// out of it: whoever judges the call again later must see what the rules saw, or nothing.
func (l *learner) Learned(ctx context.Context, f Learned) {
	g, e := l.guard, l.entry
	noted := &eventsv1.Fact{
		Name: f.Need.Key, Declared: f.Need.Declared, Value: &eventsv1.Payload{Hmac: g.Keys.Sum(e.caller.Tenant, f.Value), Bytes: int64(len(f.Value))},
	}
	if len(f.Value) <= longestFact {
		noted.Value.Document = g.factCopy(ctx, e, f)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.facts) < mostFacts {
		e.facts = append(e.facts, noted)
	}
}

func (g *Guard) factCopy(ctx context.Context, e *Entry, f Learned) string {
	copied, err := g.Keeper.Copy(ctx, e.caller, f.Tool, e.id, nil)
	if err != nil || copied == nil {
		return ""
	}
	var whole eventsv1.Payload
	if _, err := copied.Result(&whole, f.Result); err != nil || whole.GetDocument() == "" {
		return ""
	}
	value, err := policy.FactValue([]byte(whole.GetDocument()), f.Need.Path)
	if err != nil || !bytes.Equal(value, f.Value) {
		return ""
	}
	return string(value)
}

// keepLate copies what a client is told after its call has ended.
func (g *Guard) keepLate(e *Entry, document []byte) {
	if e.tool == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refusedPatience)
	defer cancel()
	var err error
	if e.copy, err = g.Keeper.Copy(ctx, e.caller, e.tool, e.id, nil); err == nil {
		err = e.keepResult(document)
	}
	if err != nil {
		e.noted("it could not be copied: " + err.Error())
	}
}

// keepResult copies what the caller gets. The key was there when the call began, so this asks nobody.
func (e *Entry) keepResult(document []byte) error {
	if e.copy == nil {
		return nil
	}
	note, err := e.copy.Result(&e.parts.result, document)
	e.noted(note)
	return err
}

func (e *Entry) noted(note string) {
	if note == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	findings := e.findings()
	findings.Notes = append(findings.Notes, clip(note, 1000))
}
