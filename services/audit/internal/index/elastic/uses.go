package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"headgate.dev/libs/record"
	"headgate.dev/services/audit/internal/index"
)

// usesAtOnce is how many sums one answer holds.
const usesAtOnce = 1000

// sums is what Elasticsearch answers to a question for sums.
type sums struct {
	TimedOut     bool `json:"timed_out"`
	Aggregations struct {
		Uses struct {
			After   json.RawMessage `json:"after_key"`
			Buckets []struct {
				Key struct {
					Person *string `json:"person"`
					Agent  *string `json:"agent"`
					Server *string `json:"server"`
					Tool   *string `json:"tool"`
				} `json:"key"`
				Calls int64 `json:"doc_count"`
				Last  struct {
					Value float64 `json:"value"` // milliseconds
				} `json:"last"`
			} `json:"buckets"`
		} `json:"uses"`
	} `json:"aggregations"`
}

// Uses implements index.Index. The sums come in pages, which Elasticsearch walks in the order of their keys.
func (x *Index) Uses(ctx context.Context, tenant string, since time.Time, yield func(index.Use) error) error {
	var after json.RawMessage
	for {
		said, err := x.sum(ctx, tenant, since, after)
		if err != nil {
			return err
		}
		for _, b := range said.Aggregations.Uses.Buckets {
			use := index.Use{
				Person: value(b.Key.Person), Agent: value(b.Key.Agent), Server: value(b.Key.Server), Tool: value(b.Key.Tool),
				Calls: b.Calls, Last: time.UnixMilli(int64(b.Last.Value)).UTC(),
			}
			if err := yield(use); err != nil {
				return err
			}
		}
		if after = said.Aggregations.Uses.After; len(after) == 0 || len(said.Aggregations.Uses.Buckets) == 0 {
			return nil
		}
	}
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (x *Index) sum(ctx context.Context, tenant string, since time.Time, after json.RawMessage) (sums, error) {
	source := func(name, field string) map[string]any {
		return map[string]any{name: map[string]any{"terms": map[string]any{"field": field, "missing_bucket": true}}}
	}
	composite := map[string]any{"size": usesAtOnce, "sources": []any{
		source("person", "user.id"), source("agent", "gen_ai.agent.id"), source("server", "headgate.server.id"), source("tool", "gen_ai.tool.name"),
	}}
	if len(after) > 0 {
		composite["after"] = after
	}
	body, err := json.Marshal(map[string]any{
		"size": 0, "track_total_hits": false,
		"query": map[string]any{"bool": map[string]any{
			"filter": []any{
				term("organization.id", tenant),
				map[string]any{"range": map[string]any{"headgate.index.time": map[string]any{"gte": index.Nanos(since)}}},
				map[string]any{"range": map[string]any{"@timestamp": map[string]any{"gte": instant(since), "format": "strict_date_time"}}},
				map[string]any{"terms": map[string]any{"headgate.decision.effect": []string{record.Allow, record.Modify}}},
				map[string]any{"terms": map[string]any{"event.action": record.Uses()}},
				map[string]any{"exists": map[string]any{"field": "headgate.server.id"}},
			},
			"must_not": []any{term("headgate.call.phase", "started")},
		}},
		"aggs": map[string]any{"uses": map[string]any{
			"composite": composite, "aggs": map[string]any{"last": map[string]any{"max": map[string]any{"field": "@timestamp"}}},
		}},
	})
	if err != nil {
		return sums{}, err
	}
	answer, err := x.patiently(ctx, x.cfg.stream(tenant), body)
	if err != nil {
		return sums{}, fmt.Errorf("sum up the uses: %w", err)
	}
	var said sums
	if err := json.Unmarshal(answer, &said); err != nil {
		return sums{}, fmt.Errorf("sum up the uses: the answer is not what Elasticsearch answers: %w", err)
	}
	if said.TimedOut {
		return sums{}, errors.New("sum up the uses: Elasticsearch did not look through everything in time")
	}
	return said, nil
}

// Oldest implements index.Index.
func (x *Index) Oldest(ctx context.Context, tenant string) (time.Time, error) {
	hits, err := x.ask(ctx, x.cfg.stream(tenant), map[string]any{
		"size": 1, "query": map[string]any{"bool": map[string]any{"filter": []any{term("organization.id", tenant)}}}, "track_total_hits": false,
		"_source": []string{"headgate.index.record"}, "sort": []map[string]string{{"headgate.index.time": "asc"}},
	})
	if err != nil || len(hits) == 0 {
		return time.Time{}, err
	}
	found, err := page(hits, index.Query{Limit: 1})
	if err != nil {
		return time.Time{}, err
	}
	return found.Events[0].GetTime().AsTime(), nil
}
