package registry

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/declared"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/store"
)

// proto is the server as the API shows it. For those who watch, the bytes of what was only seen are left out: an edge needs its hash, and never
// holds a definition that nobody approved.
func (e *entry) proto(withSeen bool) *trustv1.ServerState {
	pins, about := e.state.Pins, e.state.About
	out := &trustv1.ServerState{
		Server: e.declared, Standing: trustv1.Standing(pins.Standing()), Note: e.note(),
		ProtocolVersions: about.Versions, ServerInfo: valid(about.ServerInfo), Capabilities: valid(about.Capabilities),
		SeenHash: pins.SeenHash(), Instructions: valid(pins.Instructions),
	}
	if !about.SeenAt.IsZero() {
		out.SeenAt = timestamppb.New(about.SeenAt)
	}
	for _, d := range pins.Definitions {
		out.Definitions = append(out.Definitions, e.definition(d, withSeen))
	}
	return out
}

func (e *entry) definition(d pin.Definition, withSeen bool) *trustv1.Definition {
	out := &trustv1.Definition{Name: valid(d.Name), State: trustv1.DefinitionState(e.state.Pins.State(d)), Labels: declared.Labels(e.declared.GetSpec(), d.Name)}
	if d.Approved != nil {
		out.ApprovedHash, out.Approved, out.ApprovedBy = d.Approved.Hash, d.Approved.Raw, d.Approved.By
		out.ApprovedAt = timestamppb.New(d.Approved.At)
	}
	if d.Seen != nil {
		out.SeenHash = d.Seen.Hash
		if withSeen {
			out.Seen = d.Seen.Raw
		}
	}
	return out
}

// note says why the server could not be looked at, why it is quarantined, and what waits for a person.
func (e *entry) note() string {
	if declared.IsProgram(e.declared.GetSpec()) && !e.state.Pins.Looked {
		return valid(strings.TrimSpace("No edge has reported it yet: an edge starts it when its operator allows the command (service.stdio.allow), and its log " +
			"says why it does not. " + e.state.Pins.Note()))
	}
	return valid(strings.TrimSpace(e.failure + " " + e.state.Pins.Note()))
}

// valid is text that a proto message can carry.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func killProto(k store.Kill) *trustv1.Kill {
	return &trustv1.Kill{
		Tenant: k.Target.Tenant, Target: &trustv1.Target{Kind: k.Target.Kind, Name: k.Target.Name}, Reason: k.Reason, By: k.By, At: timestamppb.New(k.At),
	}
}
