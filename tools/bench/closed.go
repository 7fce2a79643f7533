package main

import (
	"context"
	"fmt"
)

// calls measures closed loops of small calls.
func calls(_ context.Context, f *field, c *config, r *report) error {
	for _, e := range c.eras {
		if err := f.warm(c, e, c.small); err != nil {
			return err
		}
		for _, callers := range c.callers {
			if err := f.closed(c, r, "calls", e, callers, c.small); err != nil {
				return err
			}
		}
	}
	return nil
}

// sizeCallers is how many callers there are where sizes are compared.
const sizeCallers = 16

// sizes measures closed loops of calls with larger replies.
func sizes(_ context.Context, f *field, c *config, r *report) error {
	for _, e := range c.eras {
		for _, size := range c.large {
			if err := f.warm(c, e, size); err != nil {
				return err
			}
			if err := f.closed(c, r, "sizes", e, sizeCallers, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// warm makes sure that everything answers, opens its connections and has its code in the caches.
func (f *field) warm(c *config, e era, size int) error {
	for _, t := range f.targets {
		of := callOf(t, e, size)
		if err := of.probe(); err != nil {
			return fmt.Errorf("before the run, %s: %w", t.name, err)
		}
		if _, err := closedLoop(of, sizeCallers, c.length/4); err != nil {
			return err
		}
	}
	return nil
}

// closed measures one closed loop for all targets.
func (f *field) closed(c *config, r *report, part string, e era, callers, size int) error {
	what := fmt.Sprintf("%s-%s-%d-%d", part, e.name, callers, size)
	samples, err := f.rounds(c, f.targets, what, func(t target) (outcome, error) {
		return closedLoop(callOf(t, e, size), callers, c.length)
	})
	if err != nil {
		return err
	}
	for _, t := range f.targets {
		w, err := summarise(t, samples[t.name], samples[f.targets[0].name])
		if err != nil {
			return err
		}
		w.Part, w.Era, w.Callers, w.Bytes = part, e.name, callers, size
		r.Rows = append(r.Rows, w)
	}
	return nil
}
