package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"headgate.dev/libs/record"
)

const (
	// neighbours is how many records that follow each other say together what time it was when they came: one alone may be late, or of a clock that is wrong.
	neighbours = 64
	// paceRead is how many records' times are held at once.
	paceRead = 4096
)

// pace holds the times of checkpoints, which nobody signs, against those of the records, which stand in the log.
type pace struct {
	from          int64     // the first record that the next checkpoint is the first to sign
	first, latest time.Time // of the neighbours there, and of all since
	late, early   lines
}

// lines counts lines of the history, and has the first of them.
type lines struct{ count, first int }

func (l *lines) add(line int) {
	if l.count++; l.first == 0 {
		l.first = line
	}
}

func (p *pace) record(index int64, happened time.Time) {
	if index < p.from+neighbours {
		p.first = later(p.first, happened)
	}
	p.latest = later(p.latest, happened)
}

// checkpoint is told of one whose records were all told.
func (p *pace) checkpoint(s Signed, line int) {
	if s.Size <= p.from {
		return
	}
	if !p.first.IsZero() && s.At.Sub(p.first) > arrival {
		p.late.add(line)
	}
	if p.latest.Sub(s.At) > arrival {
		p.early.add(line)
	}
	p.from, p.first, p.latest = s.Size, time.Time{}, time.Time{}
}

func (p *pace) notes() []string {
	var out []string
	if p.late.count > 0 {
		out = append(out, fmt.Sprintf("%s: %d checkpoints, the first in line %d, were signed more than %s after what they are the first to sign happened: records came late, "+
			"lines before these were dropped, or their times, which nobody signs, were changed", historyFile, p.late.count, p.late.first, arrival))
	}
	if p.early.count > 0 {
		out = append(out, fmt.Sprintf("%s: %d checkpoints, the first in line %d, were signed more than %s before what they sign happened: a clock was wrong, "+
			"or their times, which nobody signs, were changed", historyFile, p.early.count, p.early.first, arrival))
	}
	return out
}

// arrived is how many records the log had minutes before its end, by what the records say themselves: behind them stands one that happened so much later.
func arrived(ctx context.Context, v *View) (int64, error) {
	var behind time.Time
	for end := v.Size; end > 0; end -= min(end, paceRead) {
		first := max(0, end-paceRead)
		from := max(0, first-neighbours+1)
		times := make([]time.Time, 0, end-from)
		for index := from; index < end; index++ {
			times = append(times, v.happened(index))
		}
		for index := end - 1; index >= first; index-- {
			at := index - from
			if !slices.MaxFunc(times[max(0, at-neighbours+1):at+1], time.Time.Compare).After(behind.Add(-arrival)) {
				return index + 1, nil
			}
			behind = later(behind, times[at])
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// happened is the time that a record says; zero for one that cannot be read, which is told where it is checked.
func (v *View) happened(index int64) time.Time {
	data, err := v.Record(index)
	if err != nil {
		return time.Time{}
	}
	ev, err := record.Decode(data)
	if err != nil {
		return time.Time{}
	}
	return ev.GetTime().AsTime()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
