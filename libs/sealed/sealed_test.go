package sealed_test

import (
	"bytes"
	"testing"

	"headgate.dev/libs/sealed"
)

func pair(t *testing.T) ([]byte, sealed.Public) {
	t.Helper()
	private, public, err := sealed.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := sealed.ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, key
}

func TestWhatWasSealedOpensForItsRecordAlone(t *testing.T) {
	private, public := pair(t)
	own := sealed.Binding{Tenant: "acme", Key: "k1", Call: "c1", Part: sealed.Arguments}
	document := []byte(`{"patient_id":"P-7"}`)
	box, err := public.Seal(own, document)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(box, []byte("P-7")) {
		t.Fatal("the box shows what is in it")
	}
	if got, err := sealed.Open(private, own, box); err != nil || !bytes.Equal(got, document) {
		t.Fatalf("opened %q, %v", got, err)
	}
	for name, other := range map[string]sealed.Binding{
		"another tenant":   {Tenant: "globex", Key: "k1", Call: "c1", Part: sealed.Arguments},
		"another key":      {Tenant: "acme", Key: "k2", Call: "c1", Part: sealed.Arguments},
		"another call":     {Tenant: "acme", Key: "k1", Call: "c2", Part: sealed.Arguments},
		"another part":     {Tenant: "acme", Key: "k1", Call: "c1", Part: sealed.Result},
		"parts run across": {Tenant: "acmek", Key: "1", Call: "c1", Part: sealed.Arguments},
	} {
		if _, err := sealed.Open(private, other, box); err == nil {
			t.Errorf("%s: it opened", name)
		}
	}
	stranger, _ := pair(t)
	if _, err := sealed.Open(stranger, own, box); err == nil {
		t.Error("it opened with another key")
	}
	for i := range box {
		changed := bytes.Clone(box)
		changed[i] ^= 1
		if _, err := sealed.Open(private, own, changed); err == nil {
			t.Fatalf("it opened with byte %d changed", i)
		}
	}
}

func TestTheSameDocumentIsNeverSealedTwiceAlike(t *testing.T) {
	_, public := pair(t)
	b := sealed.Binding{Tenant: "acme", Key: "k1", Call: "c1", Part: sealed.Result}
	one, err := public.Seal(b, []byte("{}"))
	other, again := public.Seal(b, []byte("{}"))
	if err != nil || again != nil || bytes.Equal(one, other) {
		t.Errorf("%v %v, alike: %t", err, again, bytes.Equal(one, other))
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	for _, bad := range [][]byte{nil, {1}, make([]byte, 33)} {
		if _, err := sealed.ParsePublic(bad); err == nil {
			t.Errorf("%d bytes were taken for a public key", len(bad))
		}
		if _, err := sealed.Open(bad, sealed.Binding{}, nil); err == nil {
			t.Errorf("%d bytes were taken for a private key", len(bad))
		}
	}
	if _, err := (sealed.Public{}).Seal(sealed.Binding{}, nil); err == nil {
		t.Error("no key at all sealed something")
	}
	// The neutral point: everything sealed for it could be opened by anyone.
	if public, err := sealed.ParsePublic(make([]byte, sealed.KeyBytes)); err == nil {
		if _, err := public.Seal(sealed.Binding{}, []byte("x")); err == nil {
			t.Error("a key whose secret everybody knows sealed something")
		}
	}
}
