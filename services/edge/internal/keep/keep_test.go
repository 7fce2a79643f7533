package keep_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/sealed"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/inspect"
	"headgate.dev/services/edge/internal/keep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office gives out keys, and remembers the private ones.
type office struct {
	down    bool
	asked   []string
	private map[string][]byte // by id
}

func (o *office) SubjectKey(_ context.Context, in *connect.Request[auditv1.SubjectKeyRequest]) (*connect.Response[auditv1.SubjectKeyResponse], error) {
	of := in.Msg.GetTenant() + "/" + in.Msg.GetSubject().GetKind() + ":" + in.Msg.GetSubject().GetName()
	o.asked = append(o.asked, of)
	if o.down {
		return nil, errors.New("away")
	}
	private, public, err := sealed.NewKey()
	if err != nil {
		return nil, err
	}
	if o.private == nil {
		o.private = map[string][]byte{}
	}
	o.private["key of "+of] = private
	return connect.NewResponse(&auditv1.SubjectKeyResponse{Id: "key of " + of, PublicKey: public}), nil
}

type tenants map[string]*resourcev1.Recording

func (t tenants) Recording(tenant string) *resourcev1.Recording { return t[tenant] }

type desk struct {
	t      *testing.T
	office *office
	keeper *keep.Keeper
	now    time.Time
}

func newDesk(t *testing.T, defaults tenants) *desk {
	t.Helper()
	d := &desk{t: t, office: &office{}, now: time.Unix(1_800_000_000, 0)}
	d.keeper = keep.New(d.office, defaults, inspect.Inspector{}, func() time.Time { return d.now })
	t.Cleanup(d.keeper.Close)
	return d
}

func (d *desk) copy(wish *resourcev1.Recording, arguments string) (guard.Copy, error) {
	return d.keeper.Copy(d.t.Context(), &guard.Caller{Tenant: "acme", Person: "ana"}, &guard.Tool{Recording: wish}, "c1", []byte(arguments))
}

func (d *desk) put(wish *resourcev1.Recording, arguments string) (*eventsv1.Payload, string) {
	d.t.Helper()
	made, err := d.copy(wish, arguments)
	if err != nil || made == nil {
		d.t.Fatalf("no copy: %v", err)
	}
	var into eventsv1.Payload
	note, err := made.Arguments(&into, []byte(arguments), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return &into, note
}

func TestWithoutAWishNothingIsCopied(t *testing.T) {
	d := newDesk(t, tenants{"globex": {Arguments: "redacted"}})
	for _, wish := range []*resourcev1.Recording{nil, {}, {Arguments: "hash", Results: "hash"}} {
		if made, err := d.copy(wish, `{"a":1}`); made != nil || err != nil {
			t.Errorf("%v: %v, %v", wish, made, err)
		}
	}
}

func TestTheToolsWishGoesBeforeTheTenants(t *testing.T) {
	d := newDesk(t, tenants{"acme": {Arguments: "redacted"}})
	if into, _ := d.put(nil, `{"a":1}`); into.GetDocument() != `{"a":1}` {
		t.Errorf("the tenant's wish: %v", into)
	}
	if made, err := d.copy(&resourcev1.Recording{Arguments: "hash"}, `{"a":1}`); made != nil || err != nil {
		t.Errorf("the tool's wish: %v, %v", made, err)
	}
}

func TestRedactedCopiesHaveNeitherWhatIsNamedNorSecrets(t *testing.T) {
	d := newDesk(t, nil)
	for name, c := range map[string]struct{ in, want string }{
		"a path":                    {`{"ssn":"078-05-1120","n":1.50}`, `{"ssn":"[redacted:policy]","n":1.50}`},
		"a path in each element":    {`{"people":[{"born":"x"},{"born":"y","id":7}]}`, `{"people":[{"born":"[redacted:policy]"},{"born":"[redacted:policy]","id":7}]}`},
		"a secret by its name":      {`{"api_key":"abc","user":{"Password":{"x":1}},"max_tokens":5}`, `{"api_key":"[redacted:secret]","user":{"Password":"[redacted:secret]"},"max_tokens":5}`},
		"no secret":                 {`{"password":null,"note":"a secret garden"}`, `{"password":null,"note":"a secret garden"}`},
		"a secret by its form":      {`{"h":"Bearer abcdefghijklmnop rest","k":"AKIAIOSFODNN7EXAMPLE"}`, `{"h":"[redacted:secret] rest","k":"[redacted:secret]"}`},
		"a password in a URL":       {`{"u":"postgres://bob:hunter2@db/x"}`, `{"u":"postgres://bob:[redacted:secret]@db/x"}`},
		"a private key":             {`{"f":"-----BEGIN RSA PRIVATE KEY-----\nabc"}`, `{"f":"[redacted:secret]"}`},
		"a secret in JSON in text":  {`{"t":"{\"token\":\"abc\",\"id\":3}"}`, `{"t":"{\"token\":\"[redacted:secret]\",\"id\":3}"}`},
		"a class of data":           {`{"t":"pay with 4111 1111 1111 1111 please"}`, `{"t":"[redacted:card]"}`},
		"a class in a number":       {`{"t":4111111111111111}`, `{"t":"[redacted:card]"}`},
		"a class that is not asked": {`{"t":"bob@acme.example"}`, `{"t":"bob@acme.example"}`},
	} {
		into, _ := d.put(&resourcev1.Recording{Arguments: "redacted", Redact: []string{"/ssn", "/people/*/born"}, RedactClasses: []string{"card"}}, c.in)
		if into.GetDocument() != c.want || into.GetSealed() != nil {
			t.Errorf("%s: kept %s, want %s", name, into.GetDocument(), c.want)
		}
	}
}

func TestSealedCopiesShowNothingAndOpenForTheSubjectsKey(t *testing.T) {
	d := newDesk(t, nil)
	wish := &resourcev1.Recording{Arguments: "sealed", Results: "sealed", Subject: &resourcev1.Subject{Kind: "patient", Path: "/patient/id"}}
	for arguments, of := range map[string]string{
		`{"patient":{"id":"P-7"}}`:     "acme/patient:P-7",
		`{"patient":{"id":1029}}`:      "acme/patient:1029",
		`{"patient":{"id":""}}`:        "acme/person:ana",
		`{"patient":{"id":{"x":"y"}}}`: "acme/person:ana",
		`{}`:                           "acme/person:ana",
	} {
		made, err := d.copy(wish, arguments)
		if err != nil {
			t.Fatal(err)
		}
		var into, result eventsv1.Payload
		if _, err := made.Arguments(&into, []byte(arguments), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := made.Result(&result, []byte(`{"diagnosis":"x"}`)); err != nil {
			t.Fatal(err)
		}
		if into.GetDocument() != "" || result.GetDocument() != "" || strings.Contains(into.String()+result.String(), "diagnosis") {
			t.Errorf("%s: it shows: %v %v", arguments, &into, &result)
		}
		b := sealed.Binding{Tenant: "acme", Key: "key of " + of, Call: "c1", Part: sealed.Arguments}
		if text, err := sealed.Open(d.office.private[into.GetSealed().GetKey()], b, into.GetSealed().GetBox()); err != nil || string(text) != arguments {
			t.Errorf("%s: sealed for %s: %s, %v", arguments, into.GetSealed().GetKey(), text, err)
		}
		b.Part = sealed.Result
		if text, err := sealed.Open(d.office.private[result.GetSealed().GetKey()], b, result.GetSealed().GetBox()); err != nil || string(text) != `{"diagnosis":"x"}` {
			t.Errorf("%s: result: %s, %v", arguments, text, err)
		}
	}
	if len(d.office.asked) != 3 {
		t.Errorf("keys were asked for %v: each once", d.office.asked)
	}
}

// A record says whom a call is about by the id of a key alone, whatever else is copied of it, so that the calls about somebody can be found.
func TestARecordSaysWhomACallIsAbout(t *testing.T) {
	of := &resourcev1.Subject{Kind: "patient", Path: "/patient"}
	for name, c := range map[string]struct {
		wish      *resourcev1.Recording
		arguments string
		want      string
	}{
		"hashes":           {&resourcev1.Recording{Subject: of}, `{"patient":"P-7"}`, "key of acme/patient:P-7"},
		"a redacted copy":  {&resourcev1.Recording{Arguments: "redacted", Subject: of}, `{"patient":"P-7"}`, "key of acme/patient:P-7"},
		"a sealed result":  {&resourcev1.Recording{Results: "sealed", Subject: of}, `{"patient":"P-7"}`, "key of acme/patient:P-7"},
		"nobody is named":  {&resourcev1.Recording{Arguments: "sealed", Subject: of}, `{}`, ""},
		"nobody is looked": {&resourcev1.Recording{Arguments: "redacted"}, `{"patient":"P-7"}`, ""},
	} {
		d := newDesk(t, nil)
		into, _ := d.put(c.wish, c.arguments)
		if into.GetSubjectKey() != c.want {
			t.Errorf("%s: about %q, want %q", name, into.GetSubjectKey(), c.want)
		}
		if strings.Contains(strings.ReplaceAll(into.String(), c.want, ""), "P-7") && c.wish.GetArguments() != "redacted" {
			t.Errorf("%s: shows %v", name, into)
		}
	}
	d := newDesk(t, nil)
	d.office.down = true
	if _, err := d.copy(&resourcev1.Recording{Subject: of}, `{"patient":"P-7"}`); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("whom it is about cannot be recorded: %v", err)
	}
}

func TestWithoutAKeyNothingHappens(t *testing.T) {
	d := newDesk(t, nil)
	wish := &resourcev1.Recording{Arguments: "sealed"}
	if _, err := d.copy(wish, `{}`); err != nil {
		t.Fatal(err)
	}
	d.office.down = true
	if _, err := d.copy(wish, `{}`); err != nil {
		t.Errorf("a key that is known is not asked for: %v", err)
	}
	d.now = d.now.Add(time.Hour)
	if _, err := d.copy(wish, `{}`); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("a key that is too old: %v", err)
	}
	alone := keep.New(nil, tenants{}, inspect.Inspector{}, time.Now)
	defer alone.Close()
	if _, err := alone.Copy(t.Context(), &guard.Caller{Tenant: "acme", Person: "ana"}, &guard.Tool{Recording: wish}, "c1", nil); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("an edge without audit: %v", err)
	}
}

func TestWhatIsTooLongHasItsHashAlone(t *testing.T) {
	d := newDesk(t, nil)
	into, note := d.put(&resourcev1.Recording{Arguments: "redacted"}, `{"a":"`+strings.Repeat("x", keep.MaxCopy)+`"}`)
	if into.GetDocument() != "" || !strings.Contains(note, "hash alone") {
		t.Errorf("%d bytes, %q", len(into.GetDocument()), note)
	}
}

// bearing is a token behind the word that says so, which is none as the end of another word.
var bearing = regexp.MustCompile(`(^|[^0-9A-Za-z_])Bearer abcdefghijklmnop`)

// FuzzRedacted holds that whatever strict JSON comes, the copy is JSON and has no secret of a known form.
func FuzzRedacted(f *testing.F) {
	for _, seed := range []string{`{"a":"Bearer abcdefghijklmnop"}`, `{"t":"[{\"password\":1}]"}`, `[1.50,{"x":null}]`, `{"":{"":[[]]}}`, `"x"`, `{"a":"oBearer abcdefghijklmnop"}`} {
		f.Add(seed)
	}
	keeper := keep.New(nil, tenants{}, inspect.Inspector{}, time.Now)
	f.Cleanup(keeper.Close)
	f.Fuzz(func(t *testing.T, document string) {
		if !valid(document) {
			return
		}
		wish := &resourcev1.Recording{Arguments: "redacted", RedactClasses: []string{"card", "iban"}}
		made, err := keeper.Copy(t.Context(), &guard.Caller{Tenant: "acme"}, &guard.Tool{Recording: wish}, "c1", nil)
		if err != nil {
			t.Fatal(err)
		}
		var into eventsv1.Payload
		if _, err := made.Arguments(&into, []byte(document), nil); err != nil {
			return // refused, which is as good
		}
		if !valid(into.GetDocument()) || bearing.MatchString(into.GetDocument()) {
			t.Errorf("%q became %q", document, into.GetDocument())
		}
	})
}

func valid(text string) bool { return len(text) < keep.MaxCopy && jsontext.Value(text).IsValid() }
