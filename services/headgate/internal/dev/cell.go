package dev

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/rpc"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// service is what every service looks like from outside.
type service interface {
	Register(mux *rpc.Mux)
	Run(ctx context.Context) error
	Ready(ctx context.Context) error
}

// cell is one service with what is its own also in production: its mux, its journal, its way to the broker.
type cell struct {
	name      string
	mux       *rpc.Mux
	journal   *journal.Writer
	publisher *kafka.Publisher
	service   service
	log       *slog.Logger
}

// authenticate says whose token this is.
type authenticate func(ctx context.Context, token string) (*identityv1.Caller, error)

// newCell opens a service's journal and builds its mux. The service itself is set by attach, as it may need the muxes of others.
func newCell(name string, h *home, broker kafka.Config, who authenticate, log *slog.Logger) (*cell, error) {
	log = log.With("service", name)
	writer, err := journal.Open(journal.Config{Dir: h.path("journal", name)}, name, log, clock.System)
	if err != nil {
		return nil, err
	}
	publisher, err := kafka.NewPublisher(broker)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	mux := rpc.NewMux(rpc.MuxConfig{
		Self: rpc.ServiceByName(name), Authenticate: who, Log: log, Now: clock.System,
		Record: func(ev *eventsv1.Event) error { return writer.Append(ev, journal.Spool) },
	})
	return &cell{name: name, mux: mux, journal: writer, publisher: publisher, log: log}, nil
}

func (c *cell) attach(s service) error {
	c.service = s
	s.Register(c.mux)
	return c.mux.Check()
}

// run runs the service, then lets its journal ship what is left. It returns when all is joined.
func (c *cell) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.service.Run(ctx) })
	group.Go(func() error { return c.journal.Run(ctx) })
	group.Go(func() error { return journal.NewShipper(c.journal, c.publisher, c.log).Run(ctx) })
	err := group.Wait()
	c.publisher.Close()
	return errors.Join(err, c.journal.Close())
}
