package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"
)

// maxStretches bounds what the chain of one writer may take of memory.
const maxStretches = 100_000

// seen is one end of a stretch: a record's number, its hash, the hash of the one before, its place in the log and what to call it.
type seen struct {
	sequence     uint64
	before, hash []byte
	index        int64
	name         string
}

// stretch is numbers of a writer without a gap.
type stretch struct{ first, last seen }

// chains follows the numbers and hashes of all writers. Records of one writer may stand in the log in any order: they came through several partitions.
type chains map[string][]stretch

// add returns what is wrong with a record's place in its writer's chain.
func (c chains) add(h Head, index int64, name string) []string {
	all := c[h.Writer]
	at := sort.Search(len(all), func(i int) bool { return all[i].last.sequence >= h.Sequence })
	if at < len(all) && all[at].first.sequence <= h.Sequence {
		return []string{fmt.Sprintf("%s is a second record with the number %d of writer %s: it was added, or the writer counted twice", name, h.Sequence, h.Writer)}
	}
	if len(all) >= maxStretches {
		return []string{fmt.Sprintf("%s: writer %s has more than %d gaps, its chain cannot be followed", name, h.Writer, maxStretches)}
	}
	one := seen{sequence: h.Sequence, before: h.Previous, hash: h.Hash, index: index, name: name}
	s := stretch{first: one, last: one}
	var wrong []string
	from, to := at, at
	if at > 0 && all[at-1].last.sequence+1 == h.Sequence {
		wrong = append(wrong, joint(all[at-1].last, one, h.Writer)...)
		s.first, from = all[at-1].first, at-1
	}
	if at < len(all) && all[at].first.sequence == h.Sequence+1 {
		wrong = append(wrong, joint(one, all[at].first, h.Writer)...)
		s.last, to = all[at].last, at+1
	}
	c[h.Writer] = slices.Replace(all, from, to, s)
	return wrong
}

func joint(left, right seen, writer string) []string {
	if bytes.Equal(left.hash, right.before) {
		return nil
	}
	return []string{fmt.Sprintf("%s was changed, or %s: writer %s's record %d carries another hash of its record %d",
		left.name, right.name, writer, right.sequence, left.sequence)}
}

// gap is numbers that a writer's chain lacks.
type gap struct {
	writer      string
	first, last uint64
	next        seen
}

func (g gap) String() string {
	if g.first == g.last {
		return fmt.Sprintf("record %d of writer %s is missing: it should stand before %s", g.first, g.writer, g.next.name)
	}
	return fmt.Sprintf("records %d to %d of writer %s are missing: they should stand before %s", g.first, g.last, g.writer, g.next.name)
}

// gaps lists what is missing, by writer and number. What a writer wrote before its first record here counts only where the export begins with the log.
func (c chains) gaps(whole bool) []gap {
	var out []gap
	for _, writer := range slices.Sorted(maps.Keys(c)) {
		next := uint64(1)
		for i, s := range c[writer] {
			if s.first.sequence > next && (i > 0 || whole) {
				out = append(out, gap{writer: writer, first: next, last: s.first.sequence - 1, next: s.first})
			}
			next = s.last.sequence + 1
		}
	}
	return out
}

// Range is numbers that a writer's chain lacks, from First to Last. They may be very many: who forges a record chooses its number.
type Range struct {
	Writer      string
	First, Last uint64
}

// Tracker follows the numbers and hashes of writers outside of a verification. The zero value has seen nothing.
type Tracker struct{ chains chains }

// Add takes the head of a record and returns what is wrong with its place in its writer's chain.
func (t *Tracker) Add(h Head, index int64, name string) []string {
	if t.chains == nil {
		t.chains = chains{}
	}
	return t.chains.add(h, index, name)
}

// Gaps says which numbers are missing before records that stand before settled.
func (t *Tracker) Gaps(settled int64) []string {
	var out []string
	for _, g := range t.chains.gaps(true) {
		if g.next.index < settled {
			out = append(out, g.String())
		}
	}
	return out
}

// Missing are the numbers between those that were added, by writer and number.
func (t *Tracker) Missing() []Range {
	var out []Range
	for _, g := range t.chains.gaps(false) {
		out = append(out, Range{Writer: g.writer, First: g.first, Last: g.last})
	}
	return out
}

// Writers is how many writers were seen.
func (t *Tracker) Writers() int { return len(t.chains) }
