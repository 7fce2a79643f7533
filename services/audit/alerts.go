package audit

import (
	"context"
	"errors"

	"headgate.dev/libs/kafka"
	"headgate.dev/services/audit/internal/anomaly"
	"headgate.dev/services/audit/internal/index/elastic"
	"headgate.dev/services/audit/internal/ingest"
)

// alerts is the consumer beside ledger and index that passes alerts on.
type alerts struct {
	reader    *kafka.Reader
	publisher *kafka.Publisher
	store     *elastic.Index // nil without Elasticsearch
	loop      *ingest.Loop
}

func openAlerts(cfg Config, deps Deps, metrics *ingest.Metrics) (*alerts, error) {
	reader, err := kafka.NewReader(cfg.Kafka, kafka.AnomalyGroup, deps.Log)
	if err != nil {
		return nil, err
	}
	publisher, err := kafka.NewAlertPublisher(cfg.Kafka)
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	a := &alerts{reader: reader, publisher: publisher}
	road := &anomaly.Road{Detectors: []anomaly.Detector{anomaly.Recorded{}}, Topic: publisher}
	if cfg.Elasticsearch.Used() {
		if a.store, err = elastic.OpenAlerts(cfg.Elasticsearch, deps.Now); err != nil {
			publisher.Close()
			return nil, errors.Join(err, reader.Close())
		}
		road.Store = a.store
	}
	a.loop = ingest.New(ingest.Config{Source: reader, Index: road, Group: kafka.AnomalyGroup, Share: cfg.Share, Sink: deps.Journal, Metrics: metrics, Log: deps.Log, Now: deps.Now})
	return a, nil
}

// run passes alerts on until ctx ends, and closes what was opened.
func (a *alerts) run(ctx context.Context) error {
	err := errors.Join(a.loop.Run(ctx), a.reader.Close())
	a.publisher.Close()
	if a.store != nil {
		err = errors.Join(err, a.store.Close())
	}
	return err
}
