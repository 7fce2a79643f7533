package back

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// aboutLimit is how old what a server said of itself may be.
	aboutLimit = time.Minute
	// doubtAfter is how old what is known of a server must be before a doubt counts.
	doubtAfter = 10 * time.Second
	// shares is how often somebody takes part in an attempt that others began before making one of one's own.
	shares = 2
)

// errDoubt says that an answer could mean that the server speaks otherwise by now. One caller alone can provoke it, so what is known is kept
// until something else is.
var errDoubt = errors.New("the server may speak otherwise by now")

// probed is what an attempt to find out how a server speaks has found, and with whose credential.
type probed struct {
	eras  *eras
	lease *guard.Lease
}

// eras is what revisions a server speaks, and what it says of itself.
type eras struct {
	modern, legacy bool
	elder          bool // HTTP+SSE of 2024-11-05, and nothing else
	about          guard.About
	at             time.Time
}

// errElder says that a server has no Streamable HTTP at its URL.
var errElder = errors.New("the server takes no initialize by POST")

// about is what the server says of itself.
func (u *upstream) about(ctx context.Context, lease *guard.Lease) (guard.About, error) {
	speaks, err := u.known(ctx, lease, aboutLimit)
	switch {
	case err != nil:
		return guard.About{}, err
	case speaks.elder:
		about, err := u.elder.about(ctx, lease)
		return about, u.mistaken(err)
	}
	return speaks.about, nil
}

// said implements peer.
func (u *upstream) said() (guard.About, bool) {
	speaks := u.speaks.Load()
	switch {
	case speaks == nil || u.now().Sub(speaks.at) >= aboutLimit:
		return guard.About{}, false
	case speaks.elder:
		return u.elder.said()
	}
	return speaks.about, true
}

// known answers how the server speaks. What was found out longer than age ago is found out anew; age 0 takes it as long as nothing contradicts it.
func (u *upstream) known(ctx context.Context, lease *guard.Lease, age time.Duration) (*eras, error) {
	speaks := u.speaks.Load()
	if speaks != nil && (age == 0 || u.now().Sub(speaks.at) < age) {
		return speaks, nil
	}
	for range shares {
		found, err := u.finds(ctx, nil, lease, speaks)
		own := found.lease == lease || ctx.Err() != nil
		if err == nil || own || !fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) && !errors.Is(err, errDoubt) {
			return found.eras, err
		}
	}
	found, err := u.finds(ctx, lease, lease, speaks) // what the server says to others' credentials is not said to this one
	return found.eras, err
}

// finds makes an attempt, or takes part in the one of that name which is under way. What an attempt found that ended after the caller looked is as good.
func (u *upstream) finds(ctx context.Context, name, lease *guard.Lease, seen *eras) (probed, error) {
	return u.probing.Do(ctx, name, u.limit, func(ctx context.Context) (probed, error) {
		if known := u.speaks.Load(); known != nil && known != seen {
			return probed{known, lease}, nil
		}
		found, err := u.probe(ctx, lease)
		if err == nil {
			u.speaks.Store(found)
		}
		return probed{found, lease}, err
	})
}

// reconsider finds out anew how the server speaks with the credential of who doubts it. Until something else is found, what is known stands for all.
func (u *upstream) reconsider(ctx context.Context, known *eras, lease *guard.Lease) {
	if u.speaks.Load() == known && u.now().Sub(known.at) >= doubtAfter {
		_, _ = u.finds(ctx, lease, lease, known)
	}
}

// probe asks server/discover, and where that says nothing of 2026-07-28, initialize (2026-07-28, streamable-http, "Backward Compatibility").
func (u *upstream) probe(ctx context.Context, lease *guard.Lease) (*eras, error) {
	at := u.now()
	found, err := u.discover(ctx, lease)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		if found, err = u.introduce(ctx, lease); err != nil {
			return nil, err
		}
	}
	found.at = at
	found.about.Modern, found.about.Legacy = found.modern, found.legacy
	return found, nil
}

// discover answers nil when the server must be asked in the terms of the older revisions.
func (u *upstream) discover(ctx context.Context, lease *guard.Lease) (*eras, error) {
	id := mcp.NewID(u.ids.Add(1))
	out := u.speaker(mcp.V20260728).Discover(id)
	r, err := u.send(ctx, message{body: out.Body, headers: out.Headers, lease: lease}, u.now().Add(u.limit))
	if err != nil {
		return nil, err // it was not reached, which says nothing of its era
	}
	reply, err := u.answer(ctx, r, id, nil)
	switch {
	case fault.Is(err, faultv1.Reason_REASON_UPSTREAM) && ctx.Err() == nil:
		return nil, nil // what it says is not of 2026-07-28
	case err != nil:
		return nil, err
	}
	versions := mcp.Get(reply.Result, "supportedVersions")
	if reply.Error != nil {
		versions = mcp.Get(reply.Error, "data", "supported") // of an unsupported version
	}
	var spoken []string
	if versions == nil || json.Unmarshal(versions, &spoken) != nil {
		return nil, nil
	}
	modern, legacy := slices.Contains(spoken, mcp.V20260728), slices.ContainsFunc(spoken, mcp.Legacy)
	switch {
	case modern && reply.Result != nil:
		return &eras{modern: true, legacy: legacy, about: saysOf(reply.Result, "_meta", mcp.MetaServerInfo)}, nil
	case legacy:
		return nil, nil // initialize tells more
	}
	return nil, u.outside(nil, "it speaks none of the revisions %s", strings.Join(mcp.Supported(), ", "))
}

// introduce opens the edge's own session anew: what a server of the older revisions says of itself, it says then.
func (u *upstream) introduce(ctx context.Context, lease *guard.Lease) (*eras, error) {
	own, err := u.open(ctx, opens{}, lease)
	switch {
	case errors.Is(err, errElder):
		return u.older(ctx, lease, err)
	case err != nil:
		return nil, err
	}
	return &eras{legacy: true, about: own.about}, nil
}

// older tries HTTP+SSE where there is no Streamable HTTP.
func (u *upstream) older(ctx context.Context, lease *guard.Lease, cause error) (*eras, error) {
	if u.elder != nil {
		switch err := u.elder.reach(ctx, party{lease: lease}); {
		case err == nil:
			return &eras{elder: true}, nil
		case !errors.Is(err, errNotOlder):
			return nil, err
		}
	}
	return nil, u.outside(errors.Join(errDoubt, cause), "it takes neither a request of %s nor an initialize of the revisions before (%s), and opens no stream of HTTP+SSE", mcp.V20260728, cause)
}

// saysOf reads what a server says of itself in the result of server/discover or initialize.
func saysOf(result json.RawMessage, info ...string) guard.About {
	about := guard.About{Capabilities: object(mcp.Get(result, "capabilities")), Info: object(mcp.Get(result, info...))}
	about.Instructions, _ = mcp.Text(result, "instructions")
	return about
}

func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	return raw
}
