package guard

import (
	"context"
	"errors"
	"testing"

	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// oneServer is a shelf whose server everybody may reach.
type oneServer struct{ shelf }

func (oneServer) Servers(context.Context, *Caller, string) ([]*Server, error) {
	return []*Server{onlyServer}, nil
}

// fills takes so many records and then no more.
type fills struct{ room int }

func (f *fills) Append(*eventsv1.Event, journal.Mode) error {
	if f.room--; f.room < 0 {
		return errors.New("the disk is full")
	}
	return nil
}

func TestT26NothingIsAllowedElsewhereWithoutItsRecords(t *testing.T) {
	for what, body := range map[string]string{
		"a call":    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}`,
		"a notice":  `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		"an answer": `{"jsonrpc":"2.0","id":1,"result":{}}`,
	} {
		for room, want := range []bool{false, false, true} {
			w := watch()
			w.guard.Catalogue, w.guard.Journal = oneServer{}, &fills{room}
			in := arrives([]byte(body), false)
			in.Server = onlyServer.Name
			if v := w.guard.Judge(t.Context(), in); v.Allowed != want {
				t.Errorf("%s with room for %d records: %+v", what, room, v)
			}
		}
	}
}
