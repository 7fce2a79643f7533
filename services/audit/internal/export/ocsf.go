package export

import (
	"cmp"
	"encoding/json"
	"net"
	"slices"
	"strconv"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	ocsfVersion  = "1.8.0"
	ocsfCategory = 6    // Application Activity
	ocsfClass    = 6003 // API Activity
)

// OCSF is the Open Cybersecurity Schema Framework, class API Activity, a line of JSON a record.
func OCSF() Format {
	return Format{Line: func(ev *eventsv1.Event) ([]byte, error) {
		data, err := json.Marshal(ocsf(ev))
		return append(data, '\n'), err
	}}
}

func ocsf(ev *eventsv1.Event) map[string]any {
	id, activity := ocsfActivity(ev)
	status := map[eventsv1.Outcome]int{eventsv1.Outcome_OUTCOME_SUCCESS: 1, eventsv1.Outcome_OUTCOME_FAILURE: 2}[ev.GetOutcome()]
	severity, name := ocsfSeverity(ev)
	out := map[string]any{
		"class_uid": ocsfClass, "class_name": "API Activity", "category_uid": ocsfCategory, "category_name": "Application Activity",
		"activity_id": id, "activity_name": activity, "type_uid": ocsfClass*100 + id, "type_name": "API Activity: " + activity,
		"time": ev.GetTime().AsTime().UnixMilli(), "severity_id": severity, "severity": name, "status_id": status, "status": [...]string{"Unknown", "Success", "Failure"}[status],
		"status_code": reasonCode(ev), "status_detail": record.Reason(ev), "message": title(ev), "actor": ocsfActor(ev), "src_endpoint": ocsfSource(ev), "unmapped": ocsfUnmapped(ev),
		"metadata": map[string]any{
			"version": ocsfVersion, "uid": ev.GetId(), "tenant_uid": ev.GetTenant(), "correlation_uid": ev.GetCallId(), "sequence": ev.GetSequence(), "log_name": "headgate.audit",
			"log_provider": ev.GetWriter(), "profiles": []string{"ai_operation"}, "product": map[string]any{"name": "Headgate", "vendor_name": "Headgate", "feature": map[string]any{"name": ev.GetService()}},
		},
		"api": prune(map[string]any{
			"operation": ocsfOperation(ev), "service": prune(map[string]any{"name": ev.GetTarget().GetServer()}), "request": prune(map[string]any{"uid": ev.GetCallId()}),
		}),
	}
	if ms := ev.GetDurationNs() / 1e6; ms > 0 {
		out["duration"] = ms
	}
	if n := ev.GetRepeats(); n > 0 {
		out["count"] = n
	}
	if agent := ev.GetPrincipal().GetAgent(); agent != "" {
		out["ai_agent"] = map[string]any{"uid": agent, "name": agent}
	}
	if address := ev.GetTarget().GetAddress(); address != "" {
		out["dst_endpoint"] = ocsfEndpoint(address)
	}
	if resources := ocsfResources(ev); len(resources) > 0 {
		out["resources"] = resources
	}
	return prune(out)
}

// ocsfActor is who did it. The class asks for one in every event; whom nobody knows, at the door, is a user of type Unknown.
func ocsfActor(ev *eventsv1.Event) map[string]any {
	p := ev.GetPrincipal()
	actor := prune(map[string]any{"app_name": p.GetClientName(), "app_uid": p.GetClientId()})
	switch {
	case p.GetPerson() != "":
		actor["user"] = prune(map[string]any{
			"uid": record.PersonOf(ev), "name": p.GetPerson(), "full_name": p.GetDisplayName(), "email_addr": p.GetEmail(), "org": prune(map[string]any{"uid": cmp.Or(p.GetTenant(), ev.GetTenant())}),
		})
	case p.GetService() != "":
		actor["app_name"] = p.GetService()
	case len(actor) == 0:
		actor["user"] = map[string]any{"name": "unknown", "type_id": 0, "type": "Unknown"}
	}
	return actor
}

// ocsfSource is where it came from; what a service did by itself came from there.
func ocsfSource(ev *eventsv1.Event) map[string]any {
	if ip := ev.GetSource().GetIp(); ip != "" {
		return map[string]any{"ip": ip}
	}
	if service := ev.GetService(); service != "" {
		return map[string]any{"svc_name": service}
	}
	return map[string]any{"svc_name": "headgate"}
}

// ocsfEndpoint is an upstream's host and port; of a program, its name.
func ocsfEndpoint(address string) map[string]any {
	host, port, err := net.SplitHostPort(address)
	number, noPort := strconv.ParseUint(port, 10, 16)
	if err != nil || noPort != nil {
		return map[string]any{"name": address}
	}
	return map[string]any{"hostname": host, "port": number}
}

// ocsfResources is what it was about: the tool, and what an administrator changed.
func ocsfResources(ev *eventsv1.Event) []map[string]any {
	var out []map[string]any
	t, c := ev.GetTarget(), ev.GetChange()
	if t.GetTool() != "" {
		out = append(out, prune(map[string]any{
			"name": t.GetTool(), "type": "tool", "uid": t.GetDefinitionHash(), "labels": t.GetLabels(), "group": prune(map[string]any{"name": t.GetServer()}),
		}))
	}
	if c.GetName() != "" {
		out = append(out, prune(map[string]any{"name": c.GetName(), "type": c.GetKind(), "uid": c.GetNewHash(), "version": positive(c.GetVersion())}))
	}
	return out
}

// ocsfUnmapped is everything of the record that the class has no place for, under the names that the index has. What is added to records is added here.
func ocsfUnmapped(ev *eventsv1.Event) map[string]any {
	doc, out := record.ECS(ev), map[string]any{}
	for _, name := range []string{"headgate", "rule", "trace", "span", "mcp", "jsonrpc", "http", "url", "rpc", "error", "user_agent"} {
		flatten(name, doc[name], out)
	}
	out["event.action"], out["headgate.phase"], out["user.roles"] = ev.GetAction(), phase(ev), ev.GetPrincipal().GetRoles()
	return prune(out)
}

func flatten(name string, value any, into map[string]any) {
	inner, ok := value.(map[string]any)
	if !ok {
		if value != nil {
			into[name] = value
		}
		return
	}
	for key, one := range inner {
		flatten(name+"."+key, one, into)
	}
}

// ocsfActivity is Create, Read, Update, Delete or, by its own name, Other. Of a call the labels of its tool tell.
func ocsfActivity(ev *eventsv1.Event) (int, string) {
	switch ev.GetChange().GetAction() {
	case "created", "issued":
		return 1, "Create"
	case "updated", "changed", "applied", "rolled-back", "mended", "approved":
		return 3, "Update"
	case "deleted", "revoked", "unpinned":
		return 4, "Delete"
	}
	switch ev.GetAction() {
	case "tool-list", "prompt-list", "prompt-get", "resource-list", "resource-read", "fact-read", "completion", "task-get", "task-result",
		"audit-export", "audit-report", "audit-tail", record.AuditRead, "audit-reveal":
		return 2, "Read"
	case "audit-erase", record.AuditDrop:
		return 4, "Delete"
	}
	labels := ev.GetTarget().GetLabels()
	switch {
	case slices.Contains(labels, "destructive"): // what it reads besides counts less
		return 4, "Delete"
	case ev.GetList() != nil, slices.Contains(labels, "read-only"), slices.Contains(labels, "reads-private"), slices.Contains(labels, "reads-untrusted"):
		return 2, "Read"
	default:
		return 99, ev.GetAction()
	}
}

func ocsfOperation(ev *eventsv1.Event) string {
	if ev.GetTarget().GetTool() != "" {
		return ev.GetTarget().GetTool()
	}
	if ev.GetRequest().GetMethod() != "" {
		return ev.GetRequest().GetMethod()
	}
	return ev.GetAction()
}

func ocsfSeverity(ev *eventsv1.Event) (int, string) {
	switch n := severity(ev); {
	case n >= 8:
		return 4, "High"
	case n >= 6:
		return 3, "Medium"
	case n >= 3:
		return 2, "Low"
	default:
		return 1, "Informational"
	}
}

// prune leaves out what says nothing.
func prune(m map[string]any) map[string]any {
	for key, value := range m {
		switch v := value.(type) {
		case string:
			if v == "" {
				delete(m, key)
			}
		case []string:
			if len(v) == 0 {
				delete(m, key)
			}
		case map[string]any:
			if len(prune(v)) == 0 {
				delete(m, key)
			}
		}
	}
	return m
}
