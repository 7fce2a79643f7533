package serve

import (
	"context"
	"fmt"
	"slices"
)

// stages are the running parts of a process. They start in order and end in the opposite order, each only when the one that started after it has
// ended: what others lean on ends last.
type stages struct {
	asked   context.Context // ends when the process is asked to end
	running []*stage
	broken  chan *stage
}

type stage struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error
}

func newStages(ctx context.Context) *stages {
	return &stages{asked: ctx, broken: make(chan *stage, 16)}
}

// start runs a part in its own goroutine until its stage is ended.
func (s *stages) start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.asked))
	st := &stage{name: name, stop: cancel, done: make(chan struct{})}
	s.running = append(s.running, st)
	go func() {
		defer close(st.done)
		st.err = run(ctx)
		s.broken <- st
	}()
}

// wait blocks until the process is asked to end or a part ends by itself, then ends all. It returns the first part's error; a part that ends
// unasked is an error even without one.
func (s *stages) wait(ending func()) error {
	var first error
	select {
	case <-s.asked.Done():
	case st := <-s.broken:
		if first = st.err; first == nil {
			first = fmt.Errorf("%s ended by itself", st.name)
		} else {
			first = fmt.Errorf("%s failed: %w", st.name, first)
		}
	}
	ending()
	for _, st := range slices.Backward(s.running) {
		st.stop()
		<-st.done
		if first == nil && st.err != nil {
			first = fmt.Errorf("%s failed: %w", st.name, st.err)
		}
	}
	return first
}
