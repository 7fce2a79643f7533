package resource_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// FuzzParse wants that any bytes are refused as invalid or read, and that what was read can be written and read again without change.
func FuzzParse(f *testing.F) {
	f.Add(example(f), false)
	f.Add([]byte(`{"apiVersion":"headgate/v1","kind":"Tenant","metadata":{"name":"acme"}}`), true)
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		file := "it.yaml"
		if asJSON {
			file = "it.json"
		}
		located, err := resource.Parse(file, data)
		if err != nil {
			if !fault.Is(err, faultv1.Reason_REASON_INVALID) {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		for _, l := range located {
			if err := resource.Check(l.Object); err != nil {
				t.Fatalf("was read but does not hold: %v", err)
			}
			text, err := resource.YAML(l.Object)
			if err != nil {
				t.Fatal(err)
			}
			again, err := resource.Parse("again.yaml", text)
			if err != nil || len(again) != 1 || !proto.Equal(l.Object, again[0].Object) {
				t.Fatalf("reads back differently: %v\n%s", err, text)
			}
		}
	})
}
