package openfga

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	sdk "github.com/openfga/go-sdk"
	"github.com/openfga/go-sdk/client"

	"headgate.dev/services/authz/internal/relations"
)

// MaxWrite is the most tuples that one write may touch; OpenFGA refuses more.
const MaxWrite = 100

const readPage = 100

// Store is one tenant's relations. Every error is a fault with REASON_UNAVAILABLE. Safe for concurrent use.
type Store struct {
	id, model string
	types     []sdk.TypeDefinition // of the model
	own       sdk.WriteAuthorizationModelRequest
	fga       *client.OpenFgaClient
	connect   func(store, model string) (*client.OpenFgaClient, error)
}

// Model is the id of the model that questions are asked with.
func (s *Store) Model() string { return s.model }

// Read returns every tuple of the store.
func (s *Store) Read(ctx context.Context) ([]relations.Tuple, error) {
	var all []relations.Tuple
	token := ""
	for {
		opts := client.ClientReadOptions{PageSize: sdk.PtrInt32(readPage), Consistency: strong()}
		if token != "" {
			opts.ContinuationToken = &token
		}
		page, err := s.fga.Read(ctx).Body(client.ClientReadRequest{}).Options(opts).Execute()
		if err != nil {
			return nil, unavailable(fmt.Errorf("read the relations: %w", err))
		}
		for _, t := range page.Tuples {
			all = append(all, fromWire(t.Key))
		}
		if page.ContinuationToken == "" {
			return all, nil
		}
		token = page.ContinuationToken
	}
}

// Write removes gone, then adds come, at most MaxWrite in all, as one transaction. What is already gone or there is no error.
// A tuple must not be in both.
func (s *Store) Write(ctx context.Context, gone, come []relations.Tuple) error {
	var req client.ClientWriteRequest
	for _, t := range gone {
		req.Deletes = append(req.Deletes, client.ClientTupleKeyWithoutCondition{Object: t.Object, Relation: t.Relation, User: t.User})
	}
	for _, t := range come {
		req.Writes = append(req.Writes, toWire(t))
	}
	_, err := s.fga.Write(ctx).Body(req).Options(client.ClientWriteOptions{Conflict: client.ClientWriteConflictOptions{
		OnDuplicateWrites: client.CLIENT_WRITE_REQUEST_ON_DUPLICATE_WRITES_IGNORE,
		OnMissingDeletes:  client.CLIENT_WRITE_REQUEST_ON_MISSING_DELETES_IGNORE,
	}}).Execute()
	if err != nil {
		return unavailable(fmt.Errorf("write the relations: %w", err))
	}
	return nil
}

// Question asks whether user has relation to object.
type Question struct{ User, Relation, Object string }

// Check answers questions at a moment, in their order. One that cannot be answered makes an error of all.
func (s *Store) Check(ctx context.Context, questions []Question, now time.Time) ([]bool, error) {
	var req client.ClientBatchCheckRequest
	for i, q := range questions {
		req.Checks = append(req.Checks, client.ClientBatchCheckItem{
			User: q.User, Relation: q.Relation, Object: q.Object, CorrelationId: strconv.Itoa(i), Context: at(now),
		})
	}
	resp, err := s.fga.BatchCheck(ctx).Body(req).Options(client.BatchCheckOptions{Consistency: strong()}).Execute()
	if err != nil {
		return nil, unavailable(fmt.Errorf("check: %w", err))
	}
	answers := make([]bool, len(questions))
	for i := range questions {
		one, ok := resp.GetResult()[strconv.Itoa(i)]
		if !ok {
			return nil, unavailable(errors.New("check: an answer is missing"))
		}
		if one.Error != nil {
			return nil, unavailable(fmt.Errorf("check: %s", one.Error.GetMessage()))
		}
		answers[i] = one.GetAllowed()
	}
	return answers, nil
}

// Objects lists the ids of a type's objects that user has relation to at a moment, however many there are.
func (s *Store) Objects(ctx context.Context, user, relation, kind string, now time.Time) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.fga.StreamedListObjects(ctx).
		Body(client.ClientStreamedListObjectsRequest{User: user, Relation: relation, Type: kind, Context: at(now)}).
		Options(client.ClientStreamedListObjectsOptions{Consistency: strong()}).Execute()
	if err != nil {
		return nil, unavailable(fmt.Errorf("list %s: %w", kind, err))
	}
	defer stream.Close()
	var ids []string
	for o := range stream.Objects {
		id, ok := strings.CutPrefix(o.Object, kind+":")
		if !ok {
			return nil, unavailable(fmt.Errorf("list %s: an object of another type came back", kind))
		}
		ids = append(ids, id)
	}
	if err := <-stream.Errors; err != nil {
		return nil, unavailable(fmt.Errorf("list %s: %w", kind, err))
	}
	return ids, nil
}

// People lists the ids of the people who have relation to an object at a moment.
func (s *Store) People(ctx context.Context, kind, id, relation string, now time.Time) ([]string, error) {
	resp, err := s.fga.ListUsers(ctx).Body(client.ClientListUsersRequest{
		Object: sdk.FgaObject{Type: kind, Id: id}, Relation: relation,
		UserFilters: []sdk.UserTypeFilter{{Type: relations.TypeUser}}, Context: at(now),
	}).Options(client.ClientListUsersOptions{Consistency: strong()}).Execute()
	if err != nil {
		return nil, unavailable(fmt.Errorf("list people: %w", err))
	}
	var ids []string
	for _, u := range resp.Users {
		if u.Object != nil {
			ids = append(ids, u.Object.Id)
		}
	}
	return ids, nil
}

// Delete removes the whole store.
func (s *Store) Delete(ctx context.Context) error {
	if _, err := s.fga.DeleteStore(ctx).Execute(); err != nil {
		return unavailable(fmt.Errorf("delete the store: %w", err))
	}
	return nil
}

// strong asks for what is stored now: a server's caches must not keep a right alive that was taken away.
func strong() *sdk.ConsistencyPreference { return sdk.CONSISTENCYPREFERENCE_HIGHER_CONSISTENCY.Ptr() }

// at is the context of every question: a parameter that a condition needs and nobody sends would be an error.
func at(now time.Time) *map[string]any {
	return &map[string]any{contextNow: now.UTC().Format(time.RFC3339Nano)}
}

func toWire(t relations.Tuple) client.ClientTupleKey {
	key := client.ClientTupleKey{User: t.User, Relation: t.Relation, Object: t.Object}
	if !t.Until.IsZero() {
		key.Condition = &sdk.RelationshipCondition{
			Name: condition, Context: &map[string]any{conditionUntil: t.Until.UTC().Format(time.RFC3339Nano)},
		}
	}
	return key
}

// fromWire reads a stored tuple. One with a condition that is not ours ends at the epoch, which no tuple of ours does, so it is replaced.
func fromWire(key sdk.TupleKey) relations.Tuple {
	t := relations.Tuple{Object: key.Object, Relation: key.Relation, User: key.User}
	if key.Condition == nil {
		return t
	}
	t.Until = time.Unix(0, 0)
	if key.Condition.Name != condition || key.Condition.Context == nil {
		return t
	}
	if text, ok := (*key.Condition.Context)[conditionUntil].(string); ok {
		if until, err := time.Parse(time.RFC3339Nano, text); err == nil {
			t.Until = until
		}
	}
	return t
}
