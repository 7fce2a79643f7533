package journal

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/wholefile"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// crashed is what a final record says of a call that nobody ended.
const crashed = "The process died between the started and the final record. Whether the call took effect is not known: look at the server."

// recover brings the directory into order and the writer to its end.
func (w *Writer) recover() error {
	ship, err := openPosition(w.cfg.Dir)
	if err != nil {
		return unusable(w.cfg.Dir, err)
	}
	w.ship = ship
	open, err := w.load()
	if err != nil {
		return err
	}
	if len(w.segments) == 0 {
		if err := w.begin(); err != nil {
			return err
		}
	}
	if ship.get() > w.sequence {
		return damaged(w.cfg.Dir, fmt.Errorf("its last record is %d, but %d were already shipped", w.sequence, ship.get()))
	}
	if first := w.segments[0].first; ship.get() < first-1 {
		// The file that held the position is lost; what was deleted had been shipped.
		if err := ship.set(first - 1); err != nil {
			return unusable(w.cfg.Dir, err)
		}
	}
	w.settle(open)
	w.written.Store(w.sequence)
	if err := w.disk.sync(w.segments[len(w.segments)-1].file); err != nil {
		return unusable(w.cfg.Dir, err)
	}
	if err := wholefile.SyncDir(w.cfg.Dir); err != nil {
		return unusable(w.cfg.Dir, err)
	}
	w.synced.Store(w.sequence)
	return nil
}

// begin starts a journal that has no records.
func (w *Writer) begin() error {
	w.name = w.service + "-" + ids.New()
	w.suffix = writerField(w.name)
	s, err := w.create(1, header{writer: w.name, first: 1}.frame())
	if err != nil {
		return unusable(w.cfg.Dir, err)
	}
	w.segments = []*segment{s}
	return nil
}

// load reads the segments in order and cuts what comes after the first byte that is not in order.
func (w *Writer) load() (map[string]started, error) {
	paths, err := listSegments(w.cfg.Dir)
	if err != nil {
		return nil, unusable(w.cfg.Dir, err)
	}
	var open map[string]started
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, unusable(w.cfg.Dir, err)
		}
		c, err := readSegment(data)
		if err == nil {
			err = w.follows(path, c)
		}
		if err != nil {
			if i < len(paths)-1 || !headless(data) {
				return nil, damaged(path, err)
			}
			// The process died while it began this file: nothing was recorded in it.
			w.recovered.Cut += int64(meaningful(data))
			return open, w.reopen(os.Remove(path))
		}
		open = c.open
		w.adopt(path, c, int64(len(data)))
		if c.cut != nil {
			w.recovered.Cut += int64(meaningful(data[c.end:]))
			if err := w.setAside(paths[i+1:]); err != nil {
				return nil, unusable(w.cfg.Dir, err)
			}
			w.log.Warn("journal cut", "file", path, "offset", c.end, "last", c.last, "cause", c.cut.Error())
			break
		}
	}
	return open, w.reopen(nil)
}

// follows checks that a segment continues the one before.
func (w *Writer) follows(path string, c *contents) error {
	if path != segmentPath(w.cfg.Dir, c.header.first) {
		return fmt.Errorf("its name is not that of a file whose first record is %d", c.header.first)
	}
	if len(w.segments) == 0 {
		return nil
	}
	if c.header.writer != w.name || c.header.first != w.sequence+1 || c.header.previous != w.previous {
		return fmt.Errorf("it begins with record %d of %s and does not continue record %d of %s", c.header.first, c.header.writer, w.sequence, w.name)
	}
	return nil
}

func (w *Writer) adopt(path string, c *contents, size int64) {
	w.name, w.suffix = c.header.writer, writerField(c.header.writer)
	w.sequence, w.previous = c.last, c.tail
	w.segments = append(w.segments, &segment{path: path, first: c.header.first, last: c.last, base: c.base, offset: c.end, reserved: size})
	w.total += size
}

// reopen makes the last segment the one that is appended to. What lies behind its end is given back to the disk.
func (w *Writer) reopen(err error) error {
	if err != nil || len(w.segments) == 0 {
		return err
	}
	s := w.segments[len(w.segments)-1]
	s.file, err = os.OpenFile(s.path, os.O_RDWR, 0)
	if err == nil {
		err = s.file.Truncate(s.offset)
	}
	if err != nil {
		return unusable(w.cfg.Dir, err)
	}
	w.total -= s.reserved - s.offset
	s.reserved = s.offset
	return nil
}

// setAside keeps files whose records follow a cut for a person to look at; they are no part of the journal any more.
func (w *Writer) setAside(paths []string) error {
	var errs []error
	for _, path := range paths {
		w.log.Error("journal file set aside: it follows a record that is not whole", "file", path)
		errs = append(errs, os.Rename(path, path+".cut"))
	}
	return errors.Join(errs...)
}

// settle writes the final record of every call that was open when the process died. One that cannot be written stays open for the next time.
func (w *Writer) settle(open map[string]started) {
	for id, s := range open {
		w.open[id] = s.at
	}
	order := slices.SortedFunc(maps.Values(open), func(a, b started) int { return cmp.Compare(a.event.GetSequence(), b.event.GetSequence()) })
	for _, s := range order {
		if err := w.Append(Crashed(s.event), Spool); err != nil {
			w.log.Error("no final record for a call that a crash ended", "call", s.event.GetCallId(), "cause", errors.Unwrap(err))
			continue
		}
		w.recovered.Crashed++
	}
	if w.recovered.Crashed > 0 {
		w.log.Warn("calls ended by a crash", "calls", w.recovered.Crashed)
	}
}

// Crashed is the final record of a call of which only the started record is there.
func Crashed(startedEvent *eventsv1.Event) *eventsv1.Event {
	ev := proto.CloneOf(startedEvent)
	ev.Id, ev.Time = "", nil
	ev.Phase, ev.Outcome = eventsv1.Phase_PHASE_FINAL, eventsv1.Outcome_OUTCOME_UNKNOWN
	if ev.GetDecision() == nil {
		ev.Decision = &eventsv1.Decision{}
	}
	ev.Decision.Reason, ev.Decision.Sentence = faultv1.Reason_REASON_CRASH, crashed
	return ev
}

// headless reports whether a file was only begun: its header is not whole, so no record can have been acknowledged from it.
func headless(data []byte) bool {
	_, _, _, err := nextFrame(data)
	return err != nil
}

// meaningful is the length of data without the zeros at its end.
func meaningful(data []byte) int {
	for n := len(data); n > 0; n-- {
		if data[n-1] != 0 {
			return n
		}
	}
	return 0
}

func damaged(path string, cause error) error {
	return fault.New(faultv1.Reason_REASON_JOURNAL,
		"The journal %s is damaged: %v. Records may be missing. Keep the directory for examination and give the service an empty one.",
		path, cause).Because(cause)
}
