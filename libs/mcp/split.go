package mcp

import "encoding/json"

// mostReplies is how many messages a batch of a server may hold.
const mostReplies = 1024

// Split takes apart what one event, line or body of a server holds: in 2025-03-26 that may be a batch (basic, "Batching"); everything else is one
// message, whatever it is. What it answers is to be read by ReadReply, one by one, and is part of body. With an *Error, which says that the batch is not
// strict, empty or too long, come the parts that it seems to have, of which nothing may be believed but FindID.
func Split(body []byte, version string, lim Limits) ([]json.RawMessage, error) {
	c := cursor{b: body}
	if version != V20250326 || !c.open('[') {
		return []json.RawMessage{body}, nil
	}
	var parts []json.RawMessage
	for c.element(']') {
		if len(parts) == mostReplies {
			return parts, malformed("The batch has more than %d messages.", mostReplies)
		}
		parts = append(parts, c.value())
	}
	lim = lim.or(ReplyLimits())
	lim.Depth++ // the batch's own
	if err := strict(body, lim); err != nil {
		return parts, err
	}
	if len(parts) == 0 {
		return nil, malformed("The batch is empty.")
	}
	return parts, nil
}
