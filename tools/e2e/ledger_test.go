package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/tools/e2e/product"
)

// entry is one record as the API returns it.
type entry struct {
	ID       string
	Action   string
	Phase    string
	Outcome  string
	Service  string
	CallID   string
	Writer   string
	Sequence uint64 `json:",string"`
	Request  struct{ ID string }
	Decision struct{ Effect, Reason, Sentence string }
}

const (
	started = "PHASE_STARTED"
	final   = "PHASE_FINAL"
	success = "OUTCOME_SUCCESS"
	unknown = "OUTCOME_UNKNOWN"
	crash   = "REASON_CRASH"
)

// ledger reads every record of every service since an instant, started ones too, page by page.
func ledger(p *product.Product, since time.Time) ([]entry, error) {
	var all []entry
	query := map[string]any{"started": true, "pageSize": 5000, "since": since.UTC().Format(time.RFC3339Nano), "until": time.Now().Add(time.Minute).UTC().Format(time.RFC3339Nano)}
	for {
		var page struct {
			Events        []entry
			NextPageToken string
		}
		if err := ask(p, "headgate.audit.v1.AuditService/Search", query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
		if page.NextPageToken == "" {
			return all, nil
		}
		query["pageToken"] = page.NextPageToken
	}
}

// ask calls a method of the API as the administrator.
func ask(p *product.Product, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, p.Info().API+"/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+p.Token("admin"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d: %.300s: %w", method, response.StatusCode, answer, err)
	}
	return json.Unmarshal(answer, out)
}

// complaints are what is wrong with a record.
type complaints []string

func (c *complaints) add(format string, args ...any) { *c = append(*c, fmt.Sprintf(format, args...)) }

// sequences checks that each writer's records stand at 1, 2, 3, ... without a gap, each once.
func (c *complaints) sequences(records []entry) {
	writers, ids := map[string][]uint64{}, map[string]bool{}
	for _, r := range records {
		if ids[r.ID] {
			c.add("the record %s is there twice", r.ID)
		}
		ids[r.ID] = true
		writers[r.Writer] = append(writers[r.Writer], r.Sequence)
	}
	for writer, sequences := range writers {
		slices.Sort(sequences)
		for i, sequence := range sequences {
			if want := uint64(i) + 1; sequence != want {
				c.add("%s: at place %d of %d stands the record %d", writer, want, len(sequences), sequence)
				break
			}
		}
	}
}

// pairs checks that each started record has one final record with its call id, which comes later.
func (c *complaints) pairs(records []entry) {
	begun, ended := map[string]entry{}, map[string]entry{}
	for _, r := range records {
		if r.CallID == "" {
			continue
		}
		half := ended
		if r.Phase == started {
			half = begun
		}
		if first, twice := half[r.CallID]; twice {
			c.add("the call %s has two records of %s: %s and %s", r.CallID, r.Phase, first.ID, r.ID)
		}
		half[r.CallID] = r
	}
	for id, first := range begun {
		if last, ok := ended[id]; !ok {
			c.add("the call %s (%s) was started and has no final record", id, first.Request.ID)
		} else if last.Sequence <= first.Sequence || last.Writer != first.Writer {
			c.add("the call %s ends at %s/%d before it starts at %s/%d", id, last.Writer, last.Sequence, first.Writer, first.Sequence)
		}
	}
}

// calls compares what the server executed and what the callers saw with the records.
func (c *complaints) calls(records []entry, executed map[string]int, seen []outcome) {
	begun, ended := map[string][]entry{}, map[string][]entry{}
	for _, r := range records {
		if r.Action != "tool-call" {
			continue
		}
		id := strings.Trim(r.Request.ID, `"`)
		if r.Phase == started {
			begun[id] = append(begun[id], r)
		} else {
			ended[id] = append(ended[id], r)
		}
	}
	for id, times := range executed {
		switch {
		case times != 1:
			c.add("the server executed %s %d times", id, times)
		case len(begun[id]) != 1:
			c.add("%s was executed with %d started records", id, len(begun[id]))
		case len(ended[id]) != 1:
			c.add("%s was executed and has %d final records", id, len(ended[id]))
		case ended[id][0].Outcome != success && ended[id][0].Outcome != unknown:
			c.add("%s was executed and is recorded as %s: %s", id, ended[id][0].Outcome, ended[id][0].Decision.Sentence)
		}
	}
	for _, call := range seen {
		last := ended[call.id]
		switch {
		case call.ok && executed[call.id] != 1:
			c.add("%s was answered and executed %d times", call.id, executed[call.id])
		case call.ok && (len(last) != 1 || last[0].Outcome != success):
			c.add("%s was answered and is recorded as %v", call.id, last)
		case call.answered && !call.ok && executed[call.id] == 0 && len(last) > 1:
			c.add("%s was refused and has %d final records", call.id, len(last))
		}
	}
	for id, last := range ended {
		if last[0].Outcome == success && executed[id] == 0 {
			c.add("%s is recorded as a success and was never executed", id)
		}
	}
}

// complete waits until the record is whole, as what was journaled last may still be on its way, and returns it. As long as more arrives, it waits.
func complete(t *testing.T, p *product.Product, since time.Time, executed map[string]int, seen []outcome) []entry {
	t.Helper()
	const within = 60 * time.Second
	most, grew := 0, time.Now()
	for {
		asked := time.Now()
		records, err := ledger(p, since)
		var wrong complaints
		if err != nil {
			wrong.add("%v", err)
		}
		wrong.sequences(records)
		wrong.pairs(records)
		wrong.calls(records, executed, seen)
		if len(wrong) == 0 {
			return records
		}
		if len(records) > most {
			most, grew = len(records), time.Now()
		}
		if time.Since(grew) > within {
			for _, one := range wrong[:min(20, len(wrong))] {
				t.Error(one)
			}
			t.Fatalf("%d things are wrong in %d records, and no more came for %s", len(wrong), len(records), within)
		}
		// To read a long record takes what would bring the rest: it is left alone for longer than it was asked.
		if !clock.Sleep(t.Context(), 200*time.Millisecond+2*time.Since(asked)) {
			t.Fatal("the test ended")
		}
	}
}

// finals are the final records of tool calls by their JSON-RPC id.
func finals(records []entry) map[string]entry {
	found := map[string]entry{}
	for _, r := range records {
		if r.Action == "tool-call" && r.Phase == final {
			found[strings.Trim(r.Request.ID, `"`)] = r
		}
	}
	return found
}
