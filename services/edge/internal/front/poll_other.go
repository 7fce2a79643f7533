//go:build !linux

package front

import "errors"

// poll does nothing here: that a client went away is seen when the next comment cannot be written.
type poll struct{ ended chan struct{} }

func newPoll() (*poll, error)   { return &poll{ended: make(chan struct{})}, nil }
func (*poll) add(*idle) error   { return errors.ErrUnsupported }
func (*poll) drop(*idle)        {}
func (p *poll) run(func(*idle)) { <-p.ended }
func (p *poll) close()          { close(p.ended) }
