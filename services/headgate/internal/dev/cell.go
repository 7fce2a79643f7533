package dev

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/life"
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
	life      life.Config
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
	of := life.Config{Service: name, Dir: h.path("journal", name), Sink: writer}
	return &cell{name: name, mux: mux, journal: writer, publisher: publisher, life: of, log: log}, nil
}

// attach gives the cell its service, which was built from that configuration.
func (c *cell) attach(s service, configuration any) (err error) {
	if c.life.Configuration, err = yaml.Marshal(configuration); err != nil {
		return err
	}
	c.service = s
	s.Register(c.mux)
	return c.mux.Check()
}

// run runs the service and then ends its journal, so that also the end is recorded. It returns when all is joined.
func (c *cell) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var working sync.WaitGroup
	for _, part := range []func(context.Context) error{
		c.service.Run, c.mux.Run, func(ctx context.Context) error { return life.Run(ctx, c.life) },
	} {
		working.Add(1)
		group.Go(func() error {
			defer working.Done()
			return part(ctx)
		})
	}
	for _, part := range []func(context.Context) error{c.journal.Run, journal.NewShipper(c.journal, c.publisher, c.log).Run} {
		group.Go(func() error { return part(recording) })
	}
	group.Go(func() error {
		working.Wait()
		stop()
		return nil
	})
	err := group.Wait()
	c.publisher.Close()
	return errors.Join(err, c.journal.Close())
}
