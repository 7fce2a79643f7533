package stdio

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"
)

const (
	// mostWords is how many bytes of a line of a process's own log are kept.
	mostWords = 2 << 10
	// mostMore is how many behind those are looked at for secrets that begin in them.
	mostMore = 512
	// mostRead is how many are looked at for secrets before the line is cut, so that none of them is cut in two.
	mostRead = 32 << 10
	// perSecond and burst are how many lines are kept.
	perSecond, burst = 10, 100
	// lastLines is how many lines are said again when the process ends by itself.
	lastLines = 5
)

// stderr keeps what a process says on its standard error in the edge's log: in bounds, without the secrets that it was given, and without those that it names.
type stderr struct {
	log    *slog.Logger
	redact func(string) string
	tells  *telltale
	now    func() time.Time

	left    float64
	filled  time.Time
	dropped int
	last    []spoken
}

// spoken is a line, and what of it belongs to a secret of those before it.
type spoken struct {
	line string
	was  part
}

// read keeps lines until the process, and who has inherited its standard error, is gone.
func (s *stderr) read(from io.Reader) {
	lines := bufio.NewReaderSize(from, mostRead)
	for {
		line, err := lines.ReadSlice('\n')
		s.say(string(line))
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			_, err = lines.ReadSlice('\n')
		}
		if err != nil {
			s.flush()
			return
		}
	}
}

func (s *stderr) say(line string) {
	line = strings.ToValidUTF8(strings.TrimSpace(line), "\uFFFD")
	if line == "" {
		return
	}
	one := spoken{line: cut(s.redact(line), mostWords+mostMore)}
	one.was = s.tells.behind(one.line) // what is cut here still stands behind its name
	if s.last = append(s.last, one); len(s.last) > lastLines {
		s.last = s.last[1:]
	}
	if !s.room() {
		s.dropped++
		return
	}
	s.flush()
	s.log.Info("a server says", "line", s.told(one))
}

// told is a line as it is kept.
func (s *stderr) told(one spoken) string { return cut(s.tells.without(one.line, one.was), mostWords) }

func cut(line string, most int) string {
	if len(line) <= most {
		return line
	}
	return strings.ToValidUTF8(line[:most], "")
}

// lines are the last ones.
func (s *stderr) lines() []string {
	out := make([]string, len(s.last))
	for i, one := range s.last {
		out[i] = s.told(one)
	}
	return out
}

// flush says how much was not kept.
func (s *stderr) flush() {
	if s.dropped > 0 {
		s.log.Warn("a server says too much", "dropped", s.dropped)
		s.dropped = 0
	}
}

// room takes one line from what may be kept now.
func (s *stderr) room() bool {
	now := s.now()
	if s.filled.IsZero() {
		s.left = burst
	} else {
		s.left = min(burst, s.left+now.Sub(s.filled).Seconds()*perSecond)
	}
	s.filled = now
	if s.left < 1 {
		return false
	}
	s.left--
	return true
}
