package guard

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// maxTasks is how many tasks one stream may hear of.
const maxTasks = 100

// taskWish is one task that a stream hears of: what its client knows it by, and what that stands for.
type taskWish struct {
	sealed string
	ref    taskRef
}

// taskWishes are those of one server, by the server's own ids.
type taskWishes map[string]taskWish

// tasksOf finds the tasks that a client wants to hear of. What is not its own is left out, as what is not there.
func (g *Guard) tasksOf(
	ctx context.Context, in *Inbound, e *Entry, l *listener, told func() ([]said, error), raw json.RawMessage,
) (taken []string, err error) {
	if raw == nil {
		return nil, nil
	}
	if about, err := told(); err != nil || !e.anyTasks(about) {
		return nil, err
	}
	if !takesTasks(e.offer) {
		return nil, lacksTasks()
	}
	var ids []string
	if err := json.Unmarshal(raw, &ids); err != nil || len(ids) > maxTasks {
		return nil, AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_INVALID, "taskIds must be a list of at most %d ids.", maxTasks)
	}
	l.tasks = map[string]taskWishes{}
	for _, sealed := range ids {
		ref, ok := g.taskOf(e.caller, sealed)
		if !ok || in.Server != "" && in.Server != ref.server {
			continue
		}
		if _, _, err := g.taskable(ctx, in, e.caller, ref, e.id); err != nil {
			continue
		}
		if l.tasks[ref.server] == nil {
			l.tasks[ref.server] = taskWishes{}
		}
		l.tasks[ref.server][ref.id] = taskWish{sealed, ref}
		taken = append(taken, sealed)
	}
	return taken, nil
}

// taskable decides whether a caller may ask for a task now: by the rules as the call that began it, though it is made already and nothing of it changes.
func (g *Guard) taskable(ctx context.Context, in *Inbound, c *Caller, ref taskRef, call string) (*Tool, policy.Decision, error) {
	var decision policy.Decision
	c, err := g.Admitter.Current(in, c)
	if err != nil {
		return nil, decision, err
	}
	tool, err := g.Catalogue.Resolve(ctx, c, ref.server, ref.tool)
	if err != nil {
		return tool, decision, err
	}
	decision, err = g.Decider.Decide(ctx, in.question(Question{
		Caller: c, Tool: tool, Arguments: json.RawMessage(ref.arguments), At: g.Now(), CallID: call, Again: true,
	}))
	if err == nil {
		err = against(decision)
	}
	return tool, decision, err
}

// tasked is what one stream hears of the tasks of one server.
type tasked struct {
	l     *listener
	tasks taskWishes

	mu       sync.Mutex
	verdicts map[string]taskVerdict
}

// taskVerdict is what was decided about one task.
type taskVerdict struct {
	version  int64
	until    time.Time
	tool     *Tool
	decision policy.Decision
	err      error
}

// followTasks listens to one server for what becomes of its tasks.
func (l *listener) followTasks(ctx context.Context, server string, tasks taskWishes) {
	g := l.of.g
	f := &tasked{l: l, tasks: tasks, verdicts: map[string]taskVerdict{}}
	for _, id := range slices.Sorted(maps.Keys(tasks)) {
		v := f.decide(ctx, id)
		if v.err != nil {
			continue
		}
		g.heed(ctx, LeaseRequest{Caller: l.caller, Server: v.tool.Server, Tool: v.tool.Name}, func(ctx context.Context, lease *Lease) error {
			return g.Upstream.Listen(ctx, Listening{
				Caller: l.caller, Server: v.tool.Server, Offer: l.offer, Lease: lease, Tasks: slices.Sorted(maps.Keys(tasks)),
				Notify: func(notice []byte) error { return f.pass(ctx, lease, notice) },
			})
		})
		return
	}
	if ctx.Err() == nil {
		l.forget() // none is the caller's to ask for now
	}
}

// decide is taskable, remembered for as long as nothing changed.
func (f *tasked) decide(ctx context.Context, id string) taskVerdict {
	g := f.l.of.g
	now, version := g.Now(), g.version()
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.verdicts[id]; ok && v.version == version && now.Before(v.until) {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	v := taskVerdict{version: version, until: now.Add(decidedFor)}
	if v.tool, v.decision, v.err = g.taskable(ctx, &f.l.in, f.l.caller, f.tasks[id].ref, g.ids.New()); v.err == nil && len(v.decision.Redact) > 0 {
		v.err = fault.New(faultv1.Reason_REASON_INSPECTION, "A rule takes something out of the result of this call, which cannot be done with a task.")
	}
	f.verdicts[id] = v
	return v
}

// pass hands on what became of a task, as tasks/get would have answered, if the client may have it now. It is recorded, because it may hold the result.
func (f *tasked) pass(ctx context.Context, lease *Lease, notice []byte) error {
	l, g := f.l, f.l.of.g
	method, _ := mcp.Text(notice, "method")
	id, _ := mcp.Text(notice, "params", "taskId")
	wish, ok := f.tasks[id]
	if !ok || method != mcp.MethodTasks {
		return nil
	}
	if err := g.Replicas.Fresh(); err != nil {
		l.end(true) // to leave something out unsaid would be worse
		return err
	}
	v := f.decide(ctx, id)
	if v.err != nil {
		return nil
	}
	clean, found, err := g.Inspector.Inspect(notice, lease)
	if err != nil {
		return err
	}
	task, err := g.questions(&l.in, v.tool.Server.Name, l.offer, unforged(mcp.Get(clean, "params"), "_meta"))
	if err != nil {
		return err
	}
	if task, err = ended(&l.in, v.tool.Server.Name, task); err != nil {
		return err
	}
	if err := g.told(l, wish, v, found, task); err != nil {
		l.end(true)
		return err
	}
	if task, err = mcp.Set(task, mcp.Quote(wish.sealed), "taskId"); err != nil {
		return err
	}
	l.tell(mcp.Notice(mcp.MethodTasks, task))
	return nil
}

// told records what a client is told of a task.
func (g *Guard) told(l *listener, wish taskWish, v taskVerdict, found Inspection, task json.RawMessage) error {
	e := newEntry(&l.in, g.ids.New(), g.Now())
	e.admitted(l.caller)
	e.version, e.modern = mcp.V20260728, true
	e.parsed(&mcp.Message{Kind: mcp.Notification, Method: mcp.MethodTasks, Name: wish.sealed})
	e.resolved(v.tool)
	e.decided(v.decision)
	e.found(found)
	result := &e.parts.result
	result.Hmac, result.Bytes = g.Keys.Sum(e.caller.Tenant, task), int64(len(task))
	result.IsError = string(mcp.Get(task, "result", "isError")) == "true" || mcp.Get(task, "error") != nil
	e.event.Result = result
	g.keepLate(e, task)
	if err := g.final(e, Answer{Status: http.StatusOK}, nil); err != nil {
		g.Log.Error("final record not written", "call", e.id, "error", err)
		return unjournaled(err)
	}
	return nil
}
