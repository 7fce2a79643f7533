// Package rpc answers the methods of CredentialsService.
package rpc

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/credentials/internal/vault"
)

const kindConnection = "Connection"

// Handler answers the methods of the service.
type Handler struct {
	DB        *sqlstore.DB
	Resources *resourcestore.Store
	Vault     *vault.Vault
	Journal   record.Sink
	Now       clock.Now
	LeaseFor  time.Duration // how long a lease is good
}

// append writes one event of this service. When the journal cannot take it, what it was to record must not happen.
func (h *Handler) append(ev *eventsv1.Event) error {
	ev.Time = timestamppb.New(h.Now())
	return h.Journal.Append(ev, journal.Spool)
}

// asConnection is the stored object as a connection.
func asConnection(o resource.Object) (*credentialsv1.Connection, error) {
	c, ok := o.(*credentialsv1.Connection)
	if !ok {
		return nil, fault.Invalid("%s is not a resource that this service keeps; %s does.", o.GetKind(), resource.Owner(o.GetKind()))
	}
	return c, nil
}

// shown is a stored connection as an answer. The secret is never stored with it; that it is not there is checked all the same.
func shown(o resource.Object) (*credentialsv1.Resource, error) {
	c, err := asConnection(o)
	if err != nil {
		return nil, err
	}
	if c.GetSpec().GetSecret() != "" {
		return nil, fmt.Errorf("connection %s is stored with a secret in the clear", c.GetMetadata().GetName())
	}
	return &credentialsv1.Resource{Kind: &credentialsv1.Resource_Connection{Connection: proto.CloneOf(c)}}, nil
}
