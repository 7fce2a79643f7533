package ledger

import "slices"

// Elsewhere reads checkpoints from other places than what is verified, by size. One that does not hold, or that a log of checkpoint c cannot have had, is told; what
// names the place that has c, and is empty for a file.
func (k *Keyring) Elsewhere(report *Report, c Checkpoint, what string, checkpoints []string) []Checkpoint {
	var out []Checkpoint
	for i, text := range checkpoints {
		other, err := k.Checkpoint(text)
		switch {
		case err != nil:
			report.Problem("checkpoint %d from elsewhere does not hold: %v", i+1, err)
		case other.Size > c.Size && what == "":
			report.Problem("the log had %d records by a checkpoint from elsewhere, and the file covers %d: its tail was cut, or it is older; make a new one", other.Size, c.Size)
		case other.Size > c.Size:
			report.Problem("the log had %d records by a checkpoint from elsewhere, and %s signs %d: its tail was cut, or an older state was put back", other.Size, what, c.Size)
		case other.Size == c.Size && other.Root != c.Root:
			report.Problem("two checkpoints of %d records differ (%s and %s): the log was forked", c.Size, Short(c.Root), Short(other.Root))
		default:
			out = append(out, other)
		}
	}
	slices.SortFunc(out, func(a, b Checkpoint) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	return out
}
