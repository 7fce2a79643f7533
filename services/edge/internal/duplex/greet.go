package duplex

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// mostVersions is how many revisions a server may name.
const mostVersions = 16

// greeting is the handshake while it is under way: what was asked and is not answered yet.
type greeting struct {
	*Conversation
	discover, initialize *request
	refusal              error // of initialize, while discovery may still be answered
}

// greet finds out which era the server speaks, and greets one of the older revisions. Discovery is asked first, and anything but a discovery means an
// older server, also silence (2026-07-28, basic/transports/stdio, "Backward Compatibility"). A server that is slow is asked both, and the first yes
// counts.
func (c *Conversation) greet(ctx context.Context) error {
	g := &greeting{Conversation: c}
	defer g.leave()
	if err := g.begin(ctx); err != nil {
		return err
	}
	patience := time.NewTimer(c.cfg.Probe)
	defer patience.Stop()
	for {
		var agreed bool
		var err error
		select {
		case out := <-g.discover.answers():
			agreed, err = g.discovered(ctx, out)
		case out := <-g.initialize.answers():
			agreed, err = g.initialized(ctx, out)
		case <-patience.C:
			err = g.older(ctx)
		case <-ctx.Done():
			if err = g.refusal; err == nil {
				err = c.unwaited(ctx)
			}
		}
		if agreed || err != nil {
			return err
		}
	}
}

// answers is where the answer comes; nowhere while nothing was asked.
func (r *request) answers() <-chan outcome {
	if r == nil {
		return nil
	}
	return r.answer
}

func (g *greeting) leave() {
	for _, r := range []*request{g.discover, g.initialize} {
		if r != nil {
			g.forget(r)
		}
	}
}

func (g *greeting) begin(ctx context.Context) error {
	if g.cfg.Era == Legacy {
		return g.older(ctx)
	}
	var err error
	g.discover, err = g.put(ctx, mcp.Speaker{Version: mcp.V20260728, ClientName: clientName, ClientVersion: clientVersion}.Discover)
	return err
}

// put sends a question without waiting for its answer.
func (g *greeting) put(ctx context.Context, write func(id json.RawMessage) mcp.Outgoing) (*request, error) {
	r, err := g.Conversation.begin(ctx)
	if err != nil {
		return nil, err
	}
	out := write(mcp.NewID(r.id))
	if err := g.send(ctx, out); err != nil {
		g.forget(r)
		return nil, g.unsent(ctx, err)
	}
	return r, nil
}

// older asks the server as one of the revisions before 2026-07-28, once.
func (g *greeting) older(ctx context.Context) error {
	if g.initialize != nil || g.refusal != nil {
		return nil
	}
	speaker := mcp.Speaker{Version: mcp.V20251125, ClientName: clientName, ClientVersion: clientVersion}
	if g.cfg.Alone {
		speaker.Capabilities = mcp.Offer(g.cfg.Offer)
	}
	var err error
	g.initialize, err = g.put(ctx, speaker.Initialize)
	return err
}

// discovered judges what came when the server was asked for its revisions.
func (g *greeting) discovered(ctx context.Context, out outcome) (agreed bool, err error) {
	g.forget(g.discover)
	g.discover = nil
	if errors.Is(out.err, ErrHungUp) {
		return false, out.err
	}
	if out.err == nil {
		about := aboutOf(out.reply)
		if about.Modern && out.reply.Result != nil {
			g.agree(mcp.V20260728, Modern, about)
			return true, nil
		}
		if len(about.Versions) > 0 && !about.Legacy {
			return false, g.outside(nil, "it speaks none of the revisions %s", strings.Join(mcp.Supported(), ", "))
		}
	}
	if g.refusal != nil {
		return false, g.refusal
	}
	return false, g.older(ctx)
}

// initialized judges the answer to initialize, and ends the handshake.
func (g *greeting) initialized(ctx context.Context, out outcome) (agreed bool, err error) {
	g.forget(g.initialize)
	g.initialize = nil
	var version string
	switch {
	case out.err != nil:
		g.refusal = out.err
	case out.reply.Result == nil:
		g.refusal = g.outside(nil, "it refused to initialize")
	default:
		if version, _ = mcp.Text(out.reply.Result, "protocolVersion"); !mcp.Legacy(version) && version != mcp.V20241105 {
			g.refusal = g.outside(nil, "it initialized with a revision that is not spoken here")
		}
	}
	if g.refusal != nil {
		if g.discover != nil && !errors.Is(g.refusal, ErrHungUp) {
			return false, nil // perhaps it knows discovery alone, and is slow
		}
		return false, g.refusal
	}
	g.version.Store(&version) // what the server says from now on is read by it
	speaker := mcp.Speaker{Version: version, ClientName: clientName, ClientVersion: clientVersion}
	if err := g.send(ctx, speaker.Initialized()); err != nil {
		return false, g.unsent(ctx, err)
	}
	g.agree(version, Legacy, guard.About{
		Legacy: true, Versions: []string{version}, Capabilities: mcp.Get(out.reply.Result, "capabilities"), Info: mcp.Get(out.reply.Result, "serverInfo"),
		Instructions: instructions(out.reply),
	})
	return true, nil
}

func (g *greeting) agree(version string, era Era, about guard.About) {
	g.version.Store(&version)
	g.era.Store(int32(era))
	g.mu.Lock()
	g.about, g.aboutAt = about, time.Now()
	g.mu.Unlock()
}

// aboutOf reads what a server says of itself in a discovery, or in the error with which it refuses a revision that it does not speak.
func aboutOf(reply *mcp.Reply) guard.About {
	raw := mcp.Get(reply.Result, "supportedVersions")
	if reply.Result == nil && reply.ErrorCode == mcp.CodeUnsupportedVersion {
		raw = mcp.Get(reply.Error, "data", "supported")
	}
	var versions []string
	if json.Unmarshal(raw, &versions) != nil || len(versions) > mostVersions {
		versions = nil
	}
	slices.Sort(versions)
	slices.Reverse(versions)
	info := mcp.Get(reply.Result, "_meta", mcp.MetaServerInfo)
	if info == nil {
		info = mcp.Get(reply.Result, "serverInfo")
	}
	return guard.About{
		Modern: slices.Contains(versions, mcp.V20260728), Legacy: slices.ContainsFunc(versions, mcp.Legacy), Versions: versions,
		Capabilities: mcp.Get(reply.Result, "capabilities"), Info: info, Instructions: instructions(reply),
	}
}

func instructions(reply *mcp.Reply) string {
	text, _ := mcp.Text(reply.Result, "instructions")
	return text
}

// aboutFor is how long what a server says of itself is believed.
const aboutFor = time.Minute

// About is what the server says of itself, as of a minute ago at most. One of the older revisions says it once.
func (c *Conversation) About(ctx context.Context, lease *guard.Lease, limit time.Duration) (guard.About, error) {
	about, fresh := c.Said()
	if fresh {
		return about, nil
	}
	reply, err := c.ask(ctx, mcp.MethodDiscover, nil, lease, limit)
	if err != nil {
		return guard.About{}, err
	}
	if about = aboutOf(reply); reply.Result == nil || !about.Modern {
		return guard.About{}, c.outside(nil, "it does not know its own revision any more")
	}
	c.mu.Lock()
	c.about, c.aboutAt = about, time.Now()
	c.mu.Unlock()
	return about, nil
}

// Said is About where the server does not have to be asked; false otherwise.
func (c *Conversation) Said() (guard.About, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.about, c.Era() != Modern || time.Since(c.aboutAt) <= aboutFor
}
