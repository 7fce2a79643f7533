package catalogue

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge/internal/guard"
)

// report tells trust what a server shows. The edge does not wait for trust to stop serving what differs.
func (c *Catalogue) report(ctx context.Context, s *server, shown *seen, r *trustv1.ReportRequest) {
	if _, err := c.Trust.Report(ctx, connect.NewRequest(r)); err != nil {
		c.Log.Warn("definitions not reported", "tenant", s.Tenant, "server", s.Name, "error", err)
		return
	}
	c.mu.Lock()
	c.reported[key{s.Tenant, s.Name}] = fingerprint(shown, r.GetAbout())
	c.mu.Unlock()
}

// told reports whether trust knows what a server shows, or this edge has said it already: each difference is reported once.
func (c *Catalogue) told(s *server, shown *seen, r *trustv1.ReportRequest) bool {
	at := key{s.Tenant, s.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Stdio != nil {
		now := c.servers[at]
		if now == nil || moved(&now.Server, &s.Server) {
			return true // it is another program by now, of which this says nothing
		}
		return now.known && c.reported[at] == fingerprint(shown, r.GetAbout())
	}
	same := len(shown.hashes) == len(s.shown)
	for name, hash := range shown.hashes {
		same = same && s.shown[name] == hash
	}
	if same {
		delete(c.reported, at)
	}
	return same || c.reported[at] == fingerprint(shown, r.GetAbout())
}

// fingerprint is the same for the same look.
func fingerprint(shown *seen, about *trustv1.About) string {
	return fmt.Sprintf("%v %q %q %q %q", shown.hashes, // maps print in order of their keys
		about.GetProtocolVersions(), about.GetServerInfo(), about.GetCapabilities(), about.GetInstructions())
}

const (
	// mostAbout and mostInstructions bound what a server may say of itself, in bytes.
	mostAbout        = 64 << 10
	mostInstructions = 1 << 20
	mostVersions     = 16
)

// own is what a server says of itself, where only an edge can ask it; nil for others.
func (c *Catalogue) own(ctx context.Context, s *server, lease *guard.Lease) (*trustv1.About, error) {
	if s.Stdio == nil {
		return nil, nil
	}
	about, err := c.Upstream.About(ctx, &s.Server, lease)
	if err != nil {
		return nil, err
	}
	if len(about.Info) > mostAbout || len(about.Capabilities) > mostAbout || len(about.Instructions) > mostInstructions || len(about.Versions) > mostVersions {
		return nil, fault.New(faultv1.Reason_REASON_INSPECTION, "it says more of itself than is taken (%d bytes).", mostAbout)
	}
	instructions, _ := lease.Forms.RedactText(about.Instructions)
	if instructions != about.Instructions || lease.Forms.Found(about.Info) || lease.Forms.Found(about.Capabilities) {
		return nil, c.exposed(s)
	}
	return &trustv1.About{
		ProtocolVersions: about.Versions, ServerInfo: string(about.Info), Capabilities: string(about.Capabilities), Instructions: about.Instructions,
	}, nil
}
