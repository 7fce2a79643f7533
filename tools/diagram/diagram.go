// Package diagram draws who calls which service, from the access options in the protos: the picture cannot be older than the rule.
package diagram

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// The README holds the picture between these lines.
const (
	Begin = "<!-- services: begin, drawn by go run ./tools/diagram/cmd/diagram -->"
	End   = "<!-- services: end -->"
)

// Services lists the services' descriptors in the order of the design.
func Services() []protoreflect.ServiceDescriptor {
	var all []protoreflect.ServiceDescriptor
	for _, file := range []protoreflect.FileDescriptor{
		edgev1.File_headgate_edge_v1_edge_proto, identityv1.File_headgate_identity_v1_identity_proto, authzv1.File_headgate_authz_v1_authz_proto,
		credentialsv1.File_headgate_credentials_v1_credentials_proto, trustv1.File_headgate_trust_v1_trust_proto, auditv1.File_headgate_audit_v1_audit_proto,
	} {
		for i := range file.Services().Len() {
			all = append(all, file.Services().Get(i))
		}
	}
	return all
}

// Mermaid draws the services and an arrow for each pair that may talk, with the methods on it.
func Mermaid() (string, error) {
	var out strings.Builder
	out.WriteString("```mermaid\nflowchart LR\n")
	out.WriteString("  agent([agent, any MCP client]) -->|MCP| edge\n  edge -->|MCP, brokered credential| upstream([MCP servers])\n")
	out.WriteString("  edge & identity & authz & credentials & trust -.->|journal, then Kafka| audit\n")
	for _, service := range Services() {
		arrows, err := arrows(service)
		if err != nil {
			return "", err
		}
		for _, caller := range slices.Sorted(mapKeys(arrows)) {
			node := caller
			if caller == "people" {
				node = "people([people, other apps])"
			}
			fmt.Fprintf(&out, "  %s -->|%s| %s\n", node, strings.Join(arrows[caller], ", "), short(service))
		}
	}
	out.WriteString("```\n")
	return out.String(), nil
}

func arrows(service protoreflect.ServiceDescriptor) (map[string][]string, error) {
	callers := map[string][]string{}
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		access, ok := proto.GetExtension(method.Options(), optionsv1.E_Access).(*optionsv1.Access)
		if !ok || access == nil {
			return nil, fmt.Errorf("%s has no access option", method.FullName())
		}
		for _, s := range access.GetServices() {
			name := strings.ToLower(strings.TrimPrefix(s.String(), "SERVICE_"))
			callers[name] = append(callers[name], string(method.Name()))
		}
		if len(access.GetPeople()) > 0 {
			callers["people"] = append(callers["people"], string(method.Name()))
		}
	}
	delete(callers, "console")
	return callers, nil
}

func short(service protoreflect.ServiceDescriptor) string {
	return strings.ToLower(strings.TrimSuffix(string(service.Name()), "Service"))
}

func mapKeys(m map[string][]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// Insert replaces what stands between the markers.
func Insert(page, picture string) (string, error) {
	before, rest, ok := strings.Cut(page, Begin)
	_, after, ok2 := strings.Cut(rest, End)
	if !ok || !ok2 {
		return "", fmt.Errorf("the page has no %q … %q", Begin, End)
	}
	return before + Begin + "\n" + picture + End + after, nil
}
