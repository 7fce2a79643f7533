package journal

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func (e *encoder) approval(field protowire.Number, a *eventsv1.Approval) {
	if a == nil {
		return
	}
	at := e.begin(field)
	e.text(1, a.GetId())
	e.text(2, a.GetState())
	e.texts(3, a.GetApprovers())
	e.text(4, a.GetApprover())
	e.time(5, a.GetAskedAt())
	e.time(6, a.GetExpiresAt())
	e.flag(7, a.GetSelf())
	e.flag(8, a.GetBreakGlass())
	e.text(9, a.GetArgumentsHmac())
	e.end(at)
}

func (e *encoder) trust(field protowire.Number, t *eventsv1.Trust) {
	if t == nil {
		return
	}
	at := e.begin(field)
	e.text(1, t.GetSubject())
	e.text(2, t.GetBand())
	e.text(3, t.GetPreviousBand())
	e.fraction(4, t.Score)
	e.fraction(5, t.PreviousScore)
	e.texts(6, t.GetReasons())
	e.end(at)
}

func (e *encoder) grants(field protowire.Number, all []*eventsv1.Grant) {
	for _, g := range all {
		at := e.begin(field)
		e.text(1, g.GetWhat())
		e.text(2, g.GetHolder())
		e.text(3, g.GetRight())
		e.time(4, g.GetUntil())
		e.time(5, g.GetPreviousUntil())
		e.end(at)
	}
}

// fraction writes a number that may be there and be 0.
func (e *encoder) fraction(field protowire.Number, n *float64) {
	if n != nil {
		e.tag(field, protowire.Fixed64Type)
		e.b = protowire.AppendFixed64(e.b, math.Float64bits(*n))
	}
}
