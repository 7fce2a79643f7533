package ledger_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

// sized is a writer's only record, of exactly that many bytes.
func sized(t *testing.T, name string, size int) index.Record {
	t.Helper()
	r := (&writer{name: name}).next("acme", "ana")
	for fill := size - len(r.Bytes); len(r.Bytes) != size; fill += size - len(r.Bytes) {
		r.Event.CallId = strings.Repeat("x", fill)
		var err error
		if r.Bytes, err = proto.Marshal(r.Event); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// What is appended is read again by the same limit, before and after it is signed; what is larger takes nothing with it.
func TestARecordThatIsTooLargeToReadAgainIsRefused(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	good := &writer{name: "edge-1"}
	want := map[string]bool{}
	for _, c := range []struct {
		name  string
		size  int
		taken bool
	}{{"fits", journal.MaxRecord, true}, {"over", journal.MaxRecord + 1, false}, {"large", 700_000, false}, {"short", journal.MaxRecord - 1, true}} {
		batch := []index.Record{good.next("acme", "ana"), sized(t, c.name, c.size), good.next("acme", "ana")}
		refused, err := l.Append(t.Context(), batch)
		if err != nil || (len(refused) == 0) != c.taken {
			t.Fatalf("%d bytes: refused %v, %v", c.size, refused, err)
		}
		if !c.taken && (refused[0].At != 1 || !strings.Contains(refused[0].Why.Error(), "a record of the ledger has 1 to 524288")) {
			t.Errorf("%d bytes: %v", c.size, refused)
		}
		want[batch[0].Event.GetId()], want[batch[2].Event.GetId()] = true, true
		if c.taken {
			want[batch[1].Event.GetId()] = true
		}
	}
	l = reopen(t, l, cfg) // before anything was signed
	check(t, l, want)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	public, _ := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := ledger.VerifyDir(t.Context(), cfg.Dir, keys); err != nil || !report.Holds() || report.Records != int64(len(want)) {
		t.Errorf("%+v, %v", report, err)
	}
}

// A record without bytes is not one, and would end the log for who reads it.
func TestARecordWithoutBytesIsRefused(t *testing.T) {
	l := open(t, ledger.Config{Dir: t.TempDir()})
	r := (&writer{name: "edge-1"}).next("acme", "ana")
	r.Bytes = nil
	if refused, err := l.Append(t.Context(), []index.Record{r}); err != nil || len(refused) != 1 || l.Size() != 0 {
		t.Errorf("%v, %v", refused, err)
	}
}
