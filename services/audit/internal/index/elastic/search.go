package elastic

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

// hit is what is read of a found document.
type hit struct {
	ID     string `json:"_id"`
	Found  bool   `json:"found"` // of what was read by its id
	Source struct {
		Headgate struct {
			Index struct {
				Record []byte `json:"record"`
			} `json:"index"`
		} `json:"headgate"`
	} `json:"_source"`
	Sort []json.RawMessage `json:"sort"`
}

// Search implements index.Index.
func (x *Index) Search(ctx context.Context, q index.Query) (index.Page, error) {
	filter, err := conditions(q)
	if err != nil {
		return index.Page{}, err
	}
	body := map[string]any{
		"size": q.Limit + 1, "query": map[string]any{"bool": filter}, "_source": []string{heldRecord}, "track_total_hits": false,
		"sort": []map[string]string{{"headgate.index.time": "desc"}, {"headgate.index.order": "desc"}, {"event.id": "desc"}},
	}
	if q.After != "" {
		if body["search_after"], err = parsePlace(q.After); err != nil {
			return index.Page{}, err
		}
	}
	where := x.cfg.every()
	if q.Tenant != "" {
		where = x.cfg.stream(q.Tenant)
	}
	hits, err := x.ask(ctx, where, body)
	if err != nil {
		return index.Page{}, err
	}
	return page(hits, q)
}

func page(hits []hit, q index.Query) (index.Page, error) {
	var out index.Page
	if limit := q.Limit; len(hits) > limit {
		hits = hits[:limit]
		place, err := json.Marshal(hits[limit-1].Sort)
		if err != nil {
			return index.Page{}, err
		}
		out.Next = base64.RawURLEncoding.EncodeToString(place)
	}
	for _, h := range hits {
		ev := &eventsv1.Event{}
		if err := proto.Unmarshal(h.Source.Headgate.Index.Record, ev); err != nil || ev.GetId() != h.ID {
			return index.Page{}, fmt.Errorf("document %s of the index does not hold its record: %w", h.ID, err)
		}
		if q.Own && !record.Told(ev) { // what was stored by a version that did not look at it
			continue
		}
		out.Events = append(out.Events, ev)
	}
	return out, nil
}

func term(field, value string) map[string]any {
	return map[string]any{"term": map[string]any{field: value}}
}

// conditions is the query as clauses that all must hold. None of them scores.
func conditions(q index.Query) (map[string]any, error) {
	filters := []map[string]any{
		{"range": map[string]any{"headgate.index.time": map[string]any{"gte": index.Nanos(q.Since), "lte": index.Last(q.Until)}}},
		// The same, coarser, on the field by which Elasticsearch knows which shards need not be asked.
		{"range": map[string]any{"@timestamp": map[string]any{"gte": instant(q.Since), "lte": instant(q.Until), "format": "strict_date_time"}}},
	}
	for _, c := range []struct{ field, value string }{
		{"organization.id", q.Tenant}, {"user.id", q.Person}, {"gen_ai.agent.id", q.Agent}, {"headgate.server.id", q.Server}, {"gen_ai.tool.name", q.Tool},
		{"headgate.decision.effect", q.Effect}, {"event.action", q.Action}, {"event.outcome", q.Outcome}, {"rule.id", q.Rule}, {"event.code", q.Code},
		{"headgate.call.id", q.Call}, {"trace.id", q.Trace},
	} {
		if c.value != "" {
			filters = append(filters, term(c.field, c.value))
		}
	}
	if q.Alerts {
		filters = append(filters, term("event.kind", "alert"))
	}
	if q.Text != "" {
		words, err := phrases(q.Text)
		if err != nil {
			return nil, err
		}
		filters = append(filters, words...)
	}
	out := map[string]any{"filter": filters}
	never := []map[string]any{}
	if !q.Started {
		never = append(never, term("headgate.call.phase", "started"))
	}
	if q.Own {
		never = append(never, term("headgate.decision.hidden", "true"), term("event.code", fault.Code(faultv1.Reason_REASON_UNKNOWN_TOOL)), hidings())
	}
	if len(never) > 0 {
		out["must_not"] = never
	}
	return out, nil
}

// hidings are the records of before a decision says that it hid something.
func hidings() map[string]any {
	codes := []string{}
	for _, reason := range record.Hidings() {
		codes = append(codes, fault.Code(reason))
	}
	return map[string]any{"bool": map[string]any{"filter": []map[string]any{
		term("headgate.decision.stage", record.Hiding), {"terms": map[string]any{"event.code": codes}},
	}}}
}

// instant is a time as Elasticsearch reads it: years from 1 to 9999.
func instant(t time.Time) string {
	const layout = "2006-01-02T15:04:05.000Z"
	if latest := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC); t.After(latest) {
		t = latest
	}
	if t.Year() < 1 {
		t = time.Time{}
	}
	return t.UTC().Format(layout)
}

// phrases is the user's text as clauses.
func phrases(text string) ([]map[string]any, error) {
	var out []map[string]any
	for _, words := range record.Phrases(text) {
		out = append(out, map[string]any{"match_phrase": map[string]any{"headgate.index.words": strings.Join(words, " ")}})
	}
	if len(out) == 0 {
		return nil, fault.Invalid("text: has no letter or number to search for")
	}
	return out, nil
}

// ask searches and returns the hits. A data stream that is not there has none.
func (x *Index) ask(ctx context.Context, where string, query map[string]any) ([]hit, error) {
	body, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	answer, err := x.patiently(ctx, where, body)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	var said struct {
		TimedOut bool `json:"timed_out"`
		Hits     struct {
			Hits []hit `json:"hits"`
		} `json:"hits"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return nil, fmt.Errorf("search: the answer is not what Elasticsearch answers: %w", err)
	}
	if said.TimedOut {
		return nil, fmt.Errorf("search: Elasticsearch did not look through everything in time")
	}
	return said.Hits.Hits, nil
}

// patiently searches again while a shard is not there yet, as just after a data stream was made.
func (x *Index) patiently(ctx context.Context, where string, body []byte) ([]byte, error) {
	yes, no := true, false
	pause := firstPause
	for attempt := 1; ; attempt++ {
		answer, err := x.do(ctx, esapi.SearchRequest{
			Index: []string{where}, Body: bytes.NewReader(body), IgnoreUnavailable: &yes, AllowNoIndices: &yes, AllowPartialSearchResults: &no,
		})
		var refused *refusal
		if err == nil || !errors.As(err, &refused) || !passing(refused.status) || attempt == attempts || !clock.Sleep(ctx, pause) {
			return answer, err
		}
		pause = min(2*pause, longestPause)
	}
}

// parsePlace reads where a page ended: the three sort values of its last hit.
func parsePlace(text string) ([]any, error) {
	wrong := fault.Invalid("pageToken: is not one that a search returned; begin again without it")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, wrong
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil || len(parts) != 3 {
		return nil, wrong
	}
	var at, order int64
	var id string
	if json.Unmarshal(parts[0], &at) != nil || json.Unmarshal(parts[1], &order) != nil || json.Unmarshal(parts[2], &id) != nil {
		return nil, wrong
	}
	return []any{at, order, id}, nil
}
