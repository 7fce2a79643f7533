package openfga

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	sdk "github.com/openfga/go-sdk"
	"github.com/openfga/language/pkg/go/transformer"

	"headgate.dev/services/authz/internal/relations"
)

// An older version of the program comes back to a store to which a newer one wrote by a model with more types: it finds its own model where it was, and takes
// out what only the newer one knows.
func TestAnOlderVersionFindsItsModelAndTakesOutWhatItDoesNotKnow(t *testing.T) {
	s := start(t, t.TempDir())
	before := open(t, s, "acme")
	text, err := transformer.TransformDSLToJSON(strings.Replace(modelDSL, "type group\n", "type customer\n  relations\n    define owner: [user]\n\ntype group\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	var newer sdk.WriteAuthorizationModelRequest
	if err := json.Unmarshal([]byte(text), &newer); err != nil {
		t.Fatal(err)
	}
	later := &Server{cfg: s.cfg, model: newer, url: s.url, token: s.token, http: s.http}
	after := open(t, later, "acme")
	alien := relations.Tuple{Object: "customer:1", Relation: "owner", User: "user:ana"}
	if err := after.Write(t.Context(), nil, []relations.Tuple{alien}); err != nil {
		t.Fatal(unwrapped(err))
	}
	if yes, err := before.Check(t.Context(), []Question{{"user:ana", relations.Member, "organization:acme"}}, time.Now()); err != nil || yes[0] {
		t.Errorf("the version before, while the newer one runs: %v %v", yes, unwrapped(err))
	}
	again := open(t, s, "acme")
	if again.Model() != before.Model() || after.Model() == before.Model() {
		t.Errorf("models: %s before, %s after, %s again", before.Model(), after.Model(), again.Model())
	}
	if err := again.Write(t.Context(), []relations.Tuple{alien}, nil); err != nil {
		t.Errorf("a tuple of an unknown type stays: %v", unwrapped(err))
	}
	if left, err := again.Read(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
	models, err := again.Models(t.Context())
	if err != nil || len(models) != 2 || models[0].ID != after.Model() || models[0].Own || !models[1].Own || time.Since(models[0].Written) > time.Hour {
		t.Errorf("models %+v (%v)", models, err)
	}
}
