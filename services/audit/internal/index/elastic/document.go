package elastic

import (
	"encoding/json"
	"strings"
	"time"

	"headgate.dev/libs/record"
	"headgate.dev/services/audit/internal/index"
)

// stream is the data stream of a tenant's records.
func (c Config) stream(tenant string) string {
	return "logs-" + c.dataset() + "-" + record.Namespace(tenant)
}

func (c Config) dataset() string {
	if c.alerts {
		return c.Name + ".anomaly"
	}
	return c.Name + ".audit"
}

// anomalies is the same configuration for the data streams of alerts.
func (c Config) anomalies() Config {
	c.alerts = true
	return c
}

// document is what is stored of a record: what people and their SIEM see, and under headgate.index what this index itself needs: exact order, the
// words, and the bytes that were journaled.
func (c Config) document(r index.Record, order int64, now time.Time) ([]byte, error) {
	doc := record.ECS(r.Event)
	dataset := c.dataset()
	inside(doc, "data_stream")["dataset"] = dataset
	event := inside(doc, "event")
	event["dataset"] = dataset
	event["created"] = now.UTC().Format(time.RFC3339Nano)
	event["ingested"] = event["created"] // the ingest pipeline knows better, where there is one
	inside(doc, "headgate")["index"] = map[string]any{
		"lag":  max(0, now.Sub(r.Event.GetTime().AsTime()).Milliseconds()), // from when it happened until it can be found
		"time": index.Nanos(r.Event.GetTime().AsTime()), "order": order, "words": strings.Join(record.Words(record.Text(r.Event)), " "), "record": r.Bytes,
	}
	return json.Marshal(doc)
}

// inside is the object of that name, made where it is missing.
func inside(doc map[string]any, name string) map[string]any {
	found, ok := doc[name].(map[string]any)
	if !ok {
		found = map[string]any{}
		doc[name] = found
	}
	return found
}
