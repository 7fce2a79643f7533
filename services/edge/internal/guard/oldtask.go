package guard

import (
	"bytes"
	"encoding/json"
	"slices"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Tasks as 2025-11-25 has them (basic/utilities/tasks) are for clients and servers that both speak it: a client asks for one with params.task, asks what
// became of it with tasks/get, and for the result of its call with tasks/result. There is no tasks/list: what a server lists does not say which call began
// a task, so nothing could be decided about it.

// oldTasks is what a server's capabilities say of them.
func oldTasks(about About, what ...string) bool {
	return about.Legacy && mcp.Get(about.Capabilities, append([]string{"tasks"}, what...)...) != nil
}

// makesOldTasks reports whether a server takes a call that asks for a task.
func makesOldTasks(about About) bool { return oldTasks(about, "requests", "tools", "call") }

// tasksFor reports whether a server has tasks in the form of a client's revision.
func (e *Entry) tasksFor(about About) bool {
	if e.modern {
		return hasTasks(about)
	}
	return e.mayTask() && makesOldTasks(about)
}

// oldCapability is what an endpoint's capabilities say of tasks to a client of 2025-11-25; nil when none of its servers has them.
func (e *Entry) oldCapability(servers []said) []byte {
	if e.version != mcp.V20251125 || !slices.ContainsFunc(servers, func(s said) bool { return makesOldTasks(s.About) }) {
		return nil
	}
	out := []byte(`,"tasks":{`)
	if slices.ContainsFunc(servers, func(s said) bool { return oldTasks(s.About, "cancel") }) {
		out = append(out, `"cancel":{},`...)
	}
	return append(out, `"requests":{"tools":{"call":{}}}}`...)
}

// mayTask reports whether a client's revision has tasks in any form.
func (e *Entry) mayTask() bool { return e.modern || e.version == mcp.V20251125 }

// wantsTask reports whether a call asks for a task as 2025-11-25 does. In 2026-07-28 it is the server that makes one.
func (e *Entry) wantsTask() bool {
	return e.msg.Augmented && !e.modern && e.mayTask() && e.msg.Method == mcp.MethodToolsCall
}

// begun gives the task that a server made of a call the id that its client may know.
func (g *Guard) begun(e *Entry, result json.RawMessage) (json.RawMessage, error) {
	task := mcp.Get(result, "task")
	if task == nil {
		return e.related(result, "_meta"), nil // it answered at once
	}
	task, err := g.withTask(e, task)
	if err != nil {
		return nil, err
	}
	if result, err = mcp.Set(result, task, "task"); err != nil {
		return nil, err
	}
	return e.related(result, "_meta"), nil
}

// related puts the client's id of a task where what came from its server says which task it belongs to. What names another task does not say so.
func (e *Entry) related(document []byte, meta ...string) []byte {
	if !bytes.Contains(document, []byte(mcp.MetaRelatedTask)) && bytes.IndexByte(document, '\\') < 0 {
		return document
	}
	id, ok := mcp.Text(document, append(slices.Clone(meta), mcp.MetaRelatedTask, "taskId")...)
	if ok && e.ofTask() && id == e.own {
		if out, err := mcp.Set(document, mcp.Quote(e.msg.Name), append(slices.Clone(meta), mcp.MetaRelatedTask, "taskId")...); err == nil {
			return out
		}
	}
	return mcp.Delete(document, append(slices.Clone(meta), mcp.MetaRelatedTask)...)
}

// ofTask reports whether a request is about a task that goes on.
func (e *Entry) ofTask() bool { return slices.Equal(e.ownPath, taskPath) }

// retold puts a server's notice that has to do with a task into the terms of its client; false when it tells of one that is not what the request is
// about, which nobody with 2026-07-28 can ask for.
func (e *Entry) retold(notice []byte) ([]byte, bool) {
	if !bytes.Contains(notice, []byte("task")) && bytes.IndexByte(notice, '\\') < 0 {
		return notice, true
	}
	if method, _ := mcp.Text(notice, "method"); method != mcp.MethodTaskStatus {
		return e.related(notice, "params", "_meta"), true
	}
	id, _ := mcp.Text(notice, "params", "taskId")
	if !e.ofTask() || id != e.own {
		return nil, false
	}
	out, err := mcp.Set(notice, mcp.Quote(e.msg.Name), "params", "taskId")
	return out, err == nil
}

// resultOfTask is what a task ended with, as tasks/result of 2025-11-25 answers it: the result of a call like any other.
func (e *Entry) resultOfTask(result json.RawMessage) (json.RawMessage, error) {
	if mcp.Get(result, "taskId") != nil || mcp.Get(result, "task") != nil {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server answered with a task where the result of one was asked for, so the answer was withheld.")
	}
	return e.related(result, "_meta"), nil
}
