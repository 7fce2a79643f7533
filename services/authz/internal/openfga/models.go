package openfga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sdk "github.com/openfga/go-sdk"
	"github.com/openfga/go-sdk/client"

	"headgate.dev/libs/fault"
)

// Model is one of the models that a store has. None of them ever changes.
type Model struct {
	ID string
	// Written is when it came into the store.
	Written time.Time
	// Own says that it is the one that this program carries.
	Own bool
}

// crockford is the alphabet of the ids of models, which begin with their time in milliseconds.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func written(id string) time.Time {
	if len(id) != 26 {
		return time.Time{}
	}
	var ms int64
	for _, c := range id[:10] {
		digit := strings.IndexRune(crockford, c)
		if digit < 0 {
			return time.Time{}
		}
		ms = ms<<5 | int64(digit)
	}
	return time.UnixMilli(ms).UTC()
}

// Models lists the models of the store, the newest first.
func (s *Store) Models(ctx context.Context) ([]Model, error) {
	var all []Model
	token := ""
	for {
		opts := client.ClientReadAuthorizationModelsOptions{}
		if token != "" {
			opts.ContinuationToken = &token
		}
		page, err := s.fga.ReadAuthorizationModels(ctx).Options(opts).Execute()
		if err != nil {
			return nil, unavailable(fmt.Errorf("list the models: %w", err))
		}
		for _, m := range page.AuthorizationModels {
			own, err := sameModel(&m, s.own)
			if err != nil {
				return nil, unavailable(err)
			}
			all = append(all, Model{ID: m.Id, Written: written(m.Id), Own: own})
		}
		if token = page.GetContinuationToken(); token == "" {
			return all, nil
		}
	}
}

// With is the same store, asked by another of its models. One that lacks anything of what this program writes or asks is refused.
func (s *Store) With(ctx context.Context, id string) (*Store, error) {
	answer, err := s.fga.ReadAuthorizationModel(ctx).Options(client.ClientReadAuthorizationModelOptions{AuthorizationModelId: &id}).Execute()
	if err != nil {
		if refused, ok := errors.AsType[sdk.FgaApiValidationError](err); ok && refused.ResponseCode() == sdk.ERRORCODE_AUTHORIZATION_MODEL_NOT_FOUND {
			return nil, fault.NotFound("The store has no model %s. headgate relations models lists those that it has.", id)
		}
		return nil, unavailable(fmt.Errorf("read model %s: %w", id, err))
	}
	found := answer.GetAuthorizationModel()
	if lacks := lacking(found, s.own); len(lacks) > 0 {
		return nil, fault.Invalid("The model %s lacks what this version writes and asks: %s. Nothing was changed; use a model that has it, or go back to the version that came with this one.",
			id, strings.Join(lacks, ", "))
	}
	c, err := s.connect(s.id, id)
	if err != nil {
		return nil, err
	}
	return &Store{id: s.id, model: id, types: found.TypeDefinitions, own: s.own, fga: c, connect: s.connect}, nil
}

// lacking names the types, relations, conditions and kinds of users of a relation that a model does not have.
func lacking(has sdk.AuthorizationModel, want sdk.WriteAuthorizationModelRequest) []string {
	known, users := map[string]map[string]sdk.Userset{}, map[string]map[string]bool{}
	for _, t := range has.TypeDefinitions {
		known[t.Type], users[t.Type] = t.GetRelations(), assignable(t)
	}
	var lacks []string
	for _, t := range want.TypeDefinitions {
		relations, ok := known[t.Type]
		if !ok {
			lacks = append(lacks, "type "+t.Type)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(t.GetRelations())) {
			if _, ok := relations[name]; !ok {
				lacks = append(lacks, t.Type+"#"+name)
			}
		}
		for _, kind := range slices.Sorted(maps.Keys(assignable(t))) {
			if name, _, _ := strings.Cut(kind, ": "); !users[t.Type][kind] && hasRelation(relations, name) {
				lacks = append(lacks, t.Type+"#"+kind)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.GetConditions())) {
		if _, ok := has.GetConditions()[name]; !ok {
			lacks = append(lacks, "condition "+name)
		}
	}
	return lacks
}

func hasRelation(relations map[string]sdk.Userset, name string) bool {
	_, ok := relations[name]
	return ok
}

// assignable are the kinds of users that tuples of a type's relations may name: a tuple of another kind cannot be written.
func assignable(t sdk.TypeDefinition) map[string]bool {
	kinds := map[string]bool{}
	metadata := t.GetMetadata()
	for name, relation := range metadata.GetRelations() {
		for _, user := range relation.GetDirectlyRelatedUserTypes() {
			kind := name + ": " + user.Type
			if user.GetRelation() != "" {
				kind += "#" + user.GetRelation()
			}
			if user.Wildcard != nil {
				kind += ":*"
			}
			if user.GetCondition() != "" {
				kind += " with " + user.GetCondition()
			}
			kinds[kind] = true
		}
	}
	return kinds
}

// OwnModel names the model that this program carries, by what it says: a program that carries another one has another name.
func OwnModel() (string, error) {
	m, err := model()
	if err != nil {
		return "", err
	}
	doc, err := document(m)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("openfga: write the model as JSON: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
