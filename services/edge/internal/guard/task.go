package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// A task is a call that goes on at its server after it was answered (extension io.modelcontextprotocol/tasks). Its id at a client is sealed: it names the
// server and the tool, and is good for the caller who made the call alone, at any edge.

const (
	sealTask = "task"
	// maxTaskArguments is how many bytes of a call's arguments go into the id of its task, for the rules to see: the id also travels in a header. Rules
	// that read longer ones block.
	maxTaskArguments = 2 << 10
)

func takesTasks(offer json.RawMessage) bool {
	return mcp.Get(offer, "extensions", mcp.ExtensionTasks) != nil
}

// taskRef is what the id of a task at a client stands for: the call that began it, and the id that its server gave.
type taskRef struct {
	server, tool, arguments, id string
}

func (r taskRef) text() string {
	return strings.Join([]string{r.server, r.tool, r.arguments, r.id}, "\x00")
}

// taskOf opens the id of a task that a caller was given; false for any other.
func (g *Guard) taskOf(c *Caller, sealed string) (r taskRef, ok bool) {
	plain, ok := g.Keys.Open(sealTask, sealed, bound(c)...)
	parts := strings.SplitN(plain, "\x00", 4)
	if !ok || len(parts) != 4 {
		return r, false
	}
	return taskRef{parts[0], parts[1], parts[2], parts[3]}, true
}

// withTask gives the task in a result the id that its client may know.
func (g *Guard) withTask(e *Entry, result json.RawMessage) (json.RawMessage, error) {
	id, ok := mcp.Text(result, "taskId")
	if !ok {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server answered with a task that has no id, so the answer was withheld.")
	}
	r := taskRef{server: e.tool.Server.Name, tool: e.tool.Name, id: id}
	if len(e.subject) <= maxTaskArguments {
		r.arguments = string(e.subject)
	}
	return mcp.Set(result, mcp.Quote(g.Keys.Seal(sealTask, r.text(), bound(e.caller)...)), "taskId")
}

func unknownTask() error {
	return &mcp.Error{
		Code: mcp.CodeInvalidParams, Message: "Unknown task.", HTTPStatus: 200, Reason: faultv1.Reason_REASON_NOT_FOUND,
	}
}

// taskPath is where the params of a request about a task name it.
var taskPath = []string{"taskId"}

// task is tasks/get, tasks/cancel, and what each form of tasks has besides: tasks/update, tasks/result. As long as the caller may make the call that
// began a task, the task can be asked for.
func (g *Guard) task(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	if e.msg.Method == mcp.MethodTaskUpdate && !e.modern || e.msg.Method == mcp.MethodTaskResult && e.modern || !e.mayTask() {
		return Answer{}, e.unknownMethod()
	}
	sealed, _ := mcp.Text(e.msg.Params, "taskId")
	ref, ok := g.taskOf(e.caller, sealed)
	ok = ok && (in.Server == "" || in.Server == ref.server)
	if !ok { // a task that there is says by itself that there are tasks
		switch servers, err := g.said(ctx, in, e); {
		case err != nil:
			return Answer{}, err
		case !e.anyTasks(servers):
			return Answer{}, e.unknownMethod()
		}
	}
	switch {
	case e.modern && !takesTasks(e.offer):
		return Answer{}, lacksTasks()
	case !ok:
		return Answer{}, unknownTask()
	}
	ctx, done := g.running.begin(ctx, in, e, g.Now)
	defer done()
	tool, decision, err := g.taskable(ctx, in, e.caller, ref, e.id)
	e.resolved(tool)
	if decision.Effect != "" {
		e.stage = stageDecide
		e.decided(decision)
	}
	if err != nil {
		return Answer{}, hiddenAs(err, unknownTask())
	}
	e.own, e.ownPath, e.msg.Name = ref.id, taskPath, sealed
	e.stage = stageLease
	wanted := LeaseRequest{Caller: e.caller, Server: tool.Server, Tool: tool.Name, CallID: e.id}
	lease, err := g.Lender.Lease(ctx, wanted)
	if err != nil {
		return Answer{}, err
	}
	e.leased(lease)
	return g.make(ctx, in, e, tool, wanted, lease, nil)
}

// hiddenAs puts another refusal in the place of one that looks as if something were not there. A kill is said in words.
func hiddenAs(err, as error) error {
	if hidden(err) {
		return as
	}
	return err
}

// lacksTasks refuses a client that does not say that it has tasks (SEP-2663).
func lacksTasks() error {
	return &mcp.Error{
		Code: mcp.CodeMissingCapability, Message: "This request is for clients that declare the extension " + mcp.ExtensionTasks + ".", HTTPStatus: http.StatusBadRequest,
		Reason: faultv1.Reason_REASON_INVALID, Data: json.RawMessage(`{"requiredCapabilities":{"extensions":{"` + mcp.ExtensionTasks + `":{}}}}`),
	}
}

func hasTasks(about About) bool {
	return mcp.Get(about.Capabilities, "extensions", mcp.ExtensionTasks) != nil
}

// anyTasks reports whether one of these servers says that it has tasks in the form of the client's revision.
func (e *Entry) anyTasks(servers []said) bool {
	return slices.ContainsFunc(servers, func(one said) bool { return e.tasksFor(one.About) })
}

// tasking makes of a request what its server can do about tasks by now: one for a task needs a server that has them, and a call that asks for one is
// made at once by a server that has none.
func (g *Guard) tasking(ctx context.Context, e *Entry, ex *Exchange) error {
	ofTask := strings.HasPrefix(ex.Method, "tasks/")
	if !ofTask && !e.wantsTask() {
		return nil
	}
	about, err := g.Upstream.About(ctx, ex.Server, ex.Lease)
	switch has := err == nil && e.tasksFor(about); {
	case err != nil:
		return err
	case ofTask && !has:
		return unknownTask()
	case has:
		e.tasked = !ofTask
	default:
		ex.Params = mcp.Delete(ex.Params, "task")
	}
	return nil
}

// ofTask puts a task as its server tells it into the client's terms: its id, its questions, and the result of its call, which is one like any other.
func (g *Guard) ofTask(in *Inbound, e *Entry, result json.RawMessage) (json.RawMessage, error) {
	if e.msg.Method == mcp.MethodTaskResult {
		return e.resultOfTask(result)
	}
	id, ok := mcp.Text(result, "taskId")
	if !ok {
		return result, nil // an acknowledgement
	}
	if id != e.own {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server answered with another task than the one that it was asked for, so the answer was withheld.")
	}
	if !e.modern {
		return mcp.Set(e.related(result, "_meta"), mcp.Quote(e.msg.Name), "taskId")
	}
	result, err := g.questions(in, e.tool.Server.Name, e.offer, result)
	if err != nil {
		return nil, err
	}
	if result, err = ended(in, e.tool.Server.Name, result); err != nil {
		return nil, err
	}
	e.event.Result.IsError = string(mcp.Get(result, "result", "isError")) == "true" || mcp.Get(result, "error") != nil
	return mcp.Set(result, mcp.Quote(e.msg.Name), "taskId")
}

// ended treats what a task ended with as the same outside of a task: a result, or an error.
func ended(in *Inbound, server string, task json.RawMessage) (json.RawMessage, error) {
	task = unforged(task, "error", "data")
	inner := mcp.Get(task, "result")
	if inner == nil {
		return task, nil
	}
	clean := unforged(inner, "_meta")
	if in.Server == "" {
		clean = renamed(clean, server)
	}
	if bytes.Equal(clean, inner) {
		return task, nil
	}
	return mcp.Set(task, clean, "result")
}
