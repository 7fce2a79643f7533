package cli

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"headgate.dev/libs/record"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func auditCommand(s *session) *cobra.Command {
	return group("audit", "Read and prove the record, and prepare where it is kept", searchCommand(s), auditInstall(s.stdio), auditReplay(s), tailCommand(s), exportCommand(s),
		reportCommand(s), verifyCommand(s), proveCommand(s), revealCommand(s), eraseCommand(s), holdCommand(s), retentionCommand(s),
		keyCommand(s),
		logCommand(s, "checkpoint", "Print the log's last signed checkpoint: keep it elsewhere, and verify exports against it", (*auditv1.GetLogResponse).GetCheckpoint))
}

// span is a duration that can also be said in days, as 7d.
type span time.Duration

// String implements pflag.Value.
func (s *span) String() string { return time.Duration(*s).String() }

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		count, err := strconv.ParseUint(days, 10, 16)
		*s = span(time.Duration(count) * 24 * time.Hour)
		return err
	}
	length, err := time.ParseDuration(text)
	*s = span(length)
	return err
}

// Type implements pflag.Value.
func (s *span) Type() string { return "duration" }

// moment is an instant, as 2026-11-01T08:00:00Z or 2026-11-01 (which begins in UTC), or how long ago it is, as 90m, 24h or 7d.
type moment struct {
	text    string
	instant time.Time
	ago     time.Duration
}

// String implements pflag.Value.
func (m *moment) String() string { return m.text }

// Set implements pflag.Value.
func (m *moment) Set(text string) error {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if instant, err := time.Parse(layout, text); err == nil {
			*m = moment{text: text, instant: instant}
			return nil
		}
	}
	var ago span
	if err := ago.Set(text); err != nil || ago <= 0 {
		return errors.New("takes an instant as 2026-11-01T08:00:00Z, a day as 2026-11-01, or how long ago as 90m, 24h or 7d")
	}
	*m = moment{text: text, ago: time.Duration(ago)}
	return nil
}

// Type implements pflag.Value.
func (m *moment) Type() string { return "time" }

// at is the instant; zero when none was said.
func (m *moment) at(now time.Time) time.Time {
	if m.ago > 0 {
		return now.Add(-m.ago)
	}
	return m.instant
}

// end is the instant, or of a day its end; zero when none was said.
func (m *moment) end(now time.Time) time.Time {
	if _, err := time.Parse(time.DateOnly, m.text); err == nil {
		return m.instant.AddDate(0, 0, 1)
	}
	return m.at(now)
}

func eventRow(event *eventsv1.Event) []string {
	decision, target, who := event.GetDecision(), event.GetTarget(), event.GetPrincipal()
	return []string{event.GetTime().AsTime().Format("2006-01-02T15:04:05.000Z"), event.GetAction(), record.Outcome(event), decision.GetEffect(), record.PersonOf(event), who.GetAgent(),
		target.GetServer(), target.GetTool(), decision.GetRule(), cmp.Or(decision.GetSentence(), changed(event.GetChange()))}
}

// inTenant says in a row whose record it is, where they are of several tenants.
func inTenant(row []string, tenant string) []string { return slices.Insert(row, 1, tenant) }

// changed says what an administrator did, as "killed person carl (laptop stolen)".
func changed(change *eventsv1.Change) string {
	if change == nil {
		return ""
	}
	text := strings.TrimSpace(change.GetAction() + " " + change.GetKind() + " " + change.GetName())
	if change.GetReason() != "" {
		text += " (" + change.GetReason() + ")"
	}
	return text
}
