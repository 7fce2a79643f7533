package guard

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// maxBatch is how many messages one batch may have, atOnce how many of them run at the same time.
	maxBatch = 64
	atOnce   = 8
)

// batched reports whether the body is an array. Only 2025-03-26 has batches.
func batched(in *Inbound) bool {
	body := bytes.TrimLeft(in.Body, " \t\r\n")
	if len(body) == 0 || body[0] != '[' || in.Verb != http.MethodPost || in.Unfit != nil {
		return false
	}
	said := in.Headers.Values(mcp.HeaderProtocolVersion)
	return len(said) == 0 || len(said) == 1 && said[0] == mcp.V20250326
}

// batch answers each message by itself: admitted, decided and recorded as if it had come alone. What is no batch is answered as one message, which
// refuses it.
func (g *Guard) batch(ctx context.Context, in *Inbound) Answer {
	if !mcp.Valid(in.Body) {
		return g.one(ctx, in)
	}
	elements := mcp.Elements(in.Body)
	if len(elements) == 0 || len(elements) > maxBatch {
		in.Unfit = AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "A batch has 1 to %d messages.", maxBatch)
		return g.one(ctx, in)
	}
	send := in.Send
	if send != nil {
		var mu sync.Mutex
		in.Send = func(id string, message []byte) error {
			mu.Lock()
			defer mu.Unlock()
			return send(id, message)
		}
	}
	answers := make([]Answer, len(elements))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, element := range elements {
		part := *in
		part.Body, part.Batched, part.Pause, part.Opening = element, true, nil, nil
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			answers[i] = g.one(ctx, &part)
		})
	}
	all.Wait()
	return together(answers)
}

// whole are the statuses that are about a request whatever is in it: its token, its origin, its session, its caller's rate.
var whole = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests}

// together is the answer to a batch: the answers to its requests in an array. When all were refused for what is about all of them, or no message needs an
// answer, it is the first's alone.
func together(answers []Answer) Answer {
	first, other := answers[0], func(a Answer) bool { return a.Status != answers[0].Status }
	if slices.Contains(whole, first.Status) && !slices.ContainsFunc(answers, other) {
		return first
	}
	var bodies [][]byte
	for _, a := range answers {
		if len(a.Body) > 0 {
			bodies = append(bodies, a.Message())
		}
	}
	if len(bodies) == 0 {
		return first
	}
	out := Answer{Status: http.StatusOK, Body: append(append([]byte{'['}, bytes.Join(bodies, []byte{','})...), ']')}
	for _, a := range answers {
		if a.Session != "" {
			out.Session = a.Session
		}
	}
	return out
}
