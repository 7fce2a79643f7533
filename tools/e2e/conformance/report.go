package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what the suite found, by scenario.
type Report map[string]Outcome

// Outcome is one scenario's.
type Outcome struct {
	Checks []Check
	// Stderr is what the client of a client scenario wrote.
	Stderr string
}

// Check is one thing that a scenario looked at.
type Check struct {
	ID      string          `json:"id"`
	Status  string          `json:"status"` // SUCCESS, FAILURE, WARNING, SKIPPED, INFO
	Error   string          `json:"errorMessage"`
	Details json.RawMessage `json:"details"`
}

// resultFolder is a scenario's name and the time at which it ran; before it stands server- when it is a server's.
var resultFolder = regexp.MustCompile(`^(?:server-)?(.+)-\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}-\d{3}Z$`)

// readReport reads the result files under a folder.
func readReport(folder string) (Report, error) {
	report := Report{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "checks.json" {
			return err
		}
		dir := filepath.Dir(path)
		name, err := filepath.Rel(folder, dir)
		if err != nil {
			return err
		}
		parts := resultFolder.FindStringSubmatch(filepath.ToSlash(name))
		if parts == nil {
			return fmt.Errorf("%s is not named like a result", name)
		}
		outcome, err := readOutcome(dir)
		report[parts[1]] = outcome
		return err
	})
	return report, err
}

func readOutcome(dir string) (Outcome, error) {
	var outcome Outcome
	text, err := os.ReadFile(filepath.Join(dir, "checks.json"))
	if err != nil {
		return outcome, err
	}
	if err := json.Unmarshal(text, &outcome.Checks); err != nil {
		return outcome, fmt.Errorf("%s: %w", dir, err)
	}
	stderr, err := os.ReadFile(filepath.Join(dir, "stderr.txt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return outcome, err
	}
	outcome.Stderr = string(stderr)
	return outcome, nil
}

// Passed reports whether at least one check succeeded and none failed.
func (o Outcome) Passed() bool { return o.count("SUCCESS") > 0 && o.count("FAILURE") == 0 }

func (o Outcome) count(status string) int {
	n := 0
	for _, check := range o.Checks {
		if check.Status == status {
			n++
		}
	}
	return n
}

// Succeeded reports whether a check succeeded at least once and ended in no other way.
func (o Outcome) Succeeded(check string) bool {
	succeeded := false
	for _, one := range o.Checks {
		if one.ID != check {
			continue
		}
		if one.Status != "SUCCESS" {
			return false
		}
		succeeded = true
	}
	return succeeded
}

// Failures says in a line each what failed and why.
func (o Outcome) Failures() []string {
	var lines []string
	for _, check := range o.Checks {
		if check.Status == "FAILURE" {
			lines = append(lines, fmt.Sprintf("%s: %s %.600s", check.ID, check.Error, check.Details))
		}
	}
	return lines
}

// tally counts each check's statuses.
func (o Outcome) tally() map[string]int {
	counts := map[string]int{}
	for _, check := range o.Checks {
		counts[check.ID+" "+check.Status]++
	}
	return counts
}

// Differences lists the checks that another run of the scenario answered otherwise, as "check STATUS: n here, m there".
func (o Outcome) Differences(other Outcome) []string {
	mine, theirs := o.tally(), other.tally()
	all := maps.Clone(mine)
	maps.Copy(all, theirs)
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if mine[key] != theirs[key] {
			lines = append(lines, fmt.Sprintf("%s: %d here, %d there", key, mine[key], theirs[key]))
		}
	}
	return lines
}

// Worse lists the checks that another run of the scenario failed, warned about or skipped more often than this one.
func (o Outcome) Worse(other Outcome) []string {
	mine, theirs := o.tally(), other.tally()
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(theirs)) {
		_, status, _ := strings.Cut(key, " ")
		if theirs[key] > mine[key] && slices.Contains([]string{"FAILURE", "WARNING", "SKIPPED"}, status) {
			lines = append(lines, fmt.Sprintf("%s: %d here, %d there", key, mine[key], theirs[key]))
		}
	}
	return lines
}

// Passed counts the scenarios of a list that passed.
func (r Report) Passed(scenarios []string) int {
	n := 0
	for _, scenario := range scenarios {
		if r[scenario].Passed() {
			n++
		}
	}
	return n
}

// Table shows two runs side by side, a scenario a line: how many checks succeeded and failed, and whether it counts.
func Table(required Requirements, direct, through Report) string {
	var text strings.Builder
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	cell := func(o Outcome) string {
		return fmt.Sprintf("%d passed, %d failed", o.count("SUCCESS"), o.count("FAILURE"))
	}
	_, _ = fmt.Fprintln(columns, "scenario\tcounts\tdirect\tthrough Headgate\t")
	for _, scenario := range required.All() {
		counts := "no"
		if slices.Contains(required.Scored, scenario) {
			counts = "yes"
		}
		mark := ""
		if len(direct[scenario].Differences(through[scenario])) > 0 {
			mark = "differs"
		}
		_, _ = fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\n", scenario, counts, cell(direct[scenario]), cell(through[scenario]), mark)
	}
	_, _ = fmt.Fprintf(columns, "scored\t\t%d of %d\t%d of %d\t\n", direct.Passed(required.Scored), len(required.Scored), through.Passed(required.Scored), len(required.Scored))
	_ = columns.Flush()
	return text.String()
}
