package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headgate.dev/tools/proc"
)

// auditRow is what the audit service spends on one record of those that were written during the run.
type auditRow struct {
	Records   int64   `json:"records"`
	CPUMicros float64 `json:"cpu_us_per_record"`
}

const (
	auditGroup = "headgate.audit.index"
	auditTopic = "headgate.audit.v1"
	// auditFor is how long the audit service is let run.
	auditFor = 10 * time.Second
)

// audit lets the paused audit service work for a while on what waits for it.
func audit(ctx context.Context, f *field, c *config, r *report) error {
	if _, err := closedLoop(callOf(f.targets[len(f.targets)-1], c.eras[0], c.small), sizeCallers, c.length); err != nil {
		return err // there must be something to do
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(f.stack.Info().Kafka))
	if err != nil {
		return err
	}
	defer client.Close()
	pid := f.audit().PID()
	before, err := f.stored(ctx, client)
	if err != nil {
		return err
	}
	cpu, err := proc.CPU(pid)
	if err != nil {
		return err
	}
	if err := f.audit().Signal(syscall.SIGCONT); err != nil {
		return err
	}
	select {
	case <-time.After(auditFor):
	case <-ctx.Done():
	}
	if err := f.audit().Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	after, err := f.stored(ctx, client)
	if err != nil {
		return err
	}
	spent, err := proc.CPU(pid)
	if err != nil {
		return err
	}
	if after == before {
		return errors.New("the audit service stored nothing while it was let run")
	}
	r.Audit = &auditRow{Records: after - before, CPUMicros: float64((spent - cpu).Microseconds()) / float64(after-before)}
	return nil
}

// stored is how many records the audit service has committed.
func (f *field) stored(ctx context.Context, client *kgo.Client) (int64, error) {
	ask := kmsg.NewPtrOffsetFetchRequest()
	ask.Group = auditGroup
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = auditGroup
	topic, inGroup := kmsg.NewOffsetFetchRequestTopic(), kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, inGroup.Topic = auditTopic, auditTopic
	for partition := range int32(4) { // as tools/stack makes them
		topic.Partitions, inGroup.Partitions = append(topic.Partitions, partition), append(inGroup.Partitions, partition)
	}
	ask.Topics, group.Topics = append(ask.Topics, topic), append(group.Topics, inGroup)
	ask.Groups = append(ask.Groups, group)
	answer, err := ask.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			sum += max(0, p.Offset)
		}
	}
	for _, g := range answer.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				sum += max(0, p.Offset)
			}
		}
	}
	return sum, nil
}
