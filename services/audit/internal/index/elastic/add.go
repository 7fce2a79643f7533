package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/record"
	"headgate.dev/services/audit/internal/index"
)

const (
	largestBulk   = 5 << 20 // what Elastic advises for one request
	idsAQuestion  = 10_000
	attempts      = 6
	firstPause    = 100 * time.Millisecond
	longestPause  = 2 * time.Second
	alreadyStored = http.StatusConflict
	// recordsAQuestion bounds an answer with whole records.
	recordsAQuestion = 100
	heldRecord       = "headgate.index.record"
)

// item is a document on its way.
type item struct {
	record index.Record
	stream string
	body   []byte
	there  string // the backing index that has its id already
}

// Add implements index.Index.
func (x *Index) Add(ctx context.Context, records []index.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := x.installed(ctx); err != nil {
		return err
	}
	fresh, taken, err := x.unknown(ctx, records)
	if err != nil {
		return fmt.Errorf("store %d records: %w", len(records), err)
	}
	items, err := x.items(fresh)
	if err != nil {
		return err
	}
	rejected, err := x.insist(ctx, items)
	rejected = append(taken, rejected...)
	switch {
	case err != nil:
		return fmt.Errorf("store %d records: %w", len(records), err)
	case len(rejected) > 0:
		return &index.Rejected{Records: rejected}
	default:
		return nil
	}
}

// unknown leaves out what is there already, and those whose ids others have. Within one backing index the id alone would do; this also sees what was stored before the
// data stream rolled over, or for another tenant.
func (x *Index) unknown(ctx context.Context, records []index.Record) (fresh []index.Record, taken []index.Rejection, err error) {
	seen := map[string]bool{}
	for part := range slices.Chunk(records, idsAQuestion) {
		hits, err := x.ask(ctx, x.cfg.every(), byID(part, len(part), false))
		if err != nil {
			return nil, nil, err
		}
		for _, h := range hits {
			seen[h.ID] = true
		}
	}
	var old []index.Record
	first := map[string]index.Record{}
	for _, r := range records {
		id := r.Event.GetId()
		before, twice := first[id]
		switch {
		case seen[id]:
			old = append(old, r)
		case !twice:
			first[id] = r
			fresh = append(fresh, r)
		case !bytes.Equal(before.Bytes, r.Bytes):
			taken = append(taken, index.Taken(r))
		}
	}
	others, err := x.others(ctx, old)
	return fresh, append(others, taken...), err
}

// byID is a question for the documents of these records, with the records that they hold or without.
func byID(records []index.Record, size int, held bool) map[string]any {
	ids := make([]string, len(records))
	for i, r := range records {
		ids[i] = r.Event.GetId()
	}
	out := map[string]any{"size": size, "query": map[string]any{"ids": map[string]any{"values": ids}}, "_source": held, "sort": []string{"_doc"}}
	if held {
		out["_source"] = []string{heldRecord}
	}
	return out
}

// others are those of the records that documents of their ids do not hold.
func (x *Index) others(ctx context.Context, records []index.Record) ([]index.Rejection, error) {
	var out []index.Rejection
	for part := range slices.Chunk(records, recordsAQuestion) {
		hits, err := x.ask(ctx, x.cfg.every(), byID(part, 2*len(part), true)) // an id may be in two streams
		if err != nil {
			return nil, err
		}
		out = append(out, apart(part, hits)...)
	}
	return out, nil
}

// apart are the records whose ids documents have, none of which holds their bytes. A document that is gone meanwhile tells nothing.
func apart(records []index.Record, hits []hit) []index.Rejection {
	found, same := map[string]bool{}, map[string]bool{}
	for _, h := range hits {
		found[h.ID], same[h.ID+string(record.Hash(h.Source.Headgate.Index.Record))] = true, true
	}
	var out []index.Rejection
	for _, r := range records {
		if id := r.Event.GetId(); found[id] && !same[id+string(record.Hash(r.Bytes))] {
			out = append(out, index.Taken(r))
		}
	}
	return out
}

// conflicts are those of the items that were there already and that are other records under the same ids. It reads the documents by the names of their backing indices:
// a search may not find them yet.
func (x *Index) conflicts(ctx context.Context, items []item) ([]index.Rejection, error) {
	var out []index.Rejection
	for part := range slices.Chunk(items, recordsAQuestion) {
		var docs []map[string]string
		var records []index.Record
		for _, it := range part {
			if it.there != "" {
				docs = append(docs, map[string]string{"_index": it.there, "_id": it.record.Event.GetId()})
				records = append(records, it.record)
			}
		}
		if len(docs) == 0 {
			continue
		}
		body, err := json.Marshal(map[string]any{"docs": docs})
		if err != nil {
			return nil, err
		}
		answer, err := x.do(ctx, esapi.MgetRequest{Body: bytes.NewReader(body), SourceIncludes: []string{heldRecord}})
		if err != nil {
			return nil, err
		}
		var said struct {
			Docs []hit `json:"docs"`
		}
		if err := json.Unmarshal(answer, &said); err != nil {
			return nil, fmt.Errorf("elasticsearch: the answer to mget is not JSON: %w", err)
		}
		out = append(out, apart(records, slices.DeleteFunc(said.Docs, func(h hit) bool { return !h.Found }))...)
	}
	return out, nil
}

func (x *Index) items(records []index.Record) ([]item, error) {
	items := make([]item, len(records))
	order, now := x.order(len(records)), x.now()
	for i, r := range records {
		doc, err := x.cfg.document(r, order+int64(i), now)
		if err != nil {
			return nil, fmt.Errorf("event %s as a document: %w", r.Event.GetId(), err)
		}
		id, err := json.Marshal(r.Event.GetId())
		if err != nil {
			return nil, err
		}
		body := append([]byte(`{"create":{"_id":`), id...)
		body = append(append(append(body, "}}\n"...), doc...), '\n')
		items[i] = item{record: r, stream: x.cfg.stream(r.Event.GetTenant()), body: body}
	}
	return items, nil
}

// insist sends what is left again, more and more slowly, and gives up after some times: the caller comes again with all of it, and what was stored by then
// is known by its id.
func (x *Index) insist(ctx context.Context, items []item) ([]index.Rejection, error) {
	var rejected []index.Rejection
	var there []item
	pause := firstPause
	for attempt := 1; ; attempt++ {
		outcome, err := x.send(ctx, items)
		rejected, there = append(rejected, outcome.rejected...), append(there, outcome.there...)
		if len(outcome.again) == 0 && err == nil {
			taken, err := x.conflicts(ctx, there)
			return append(rejected, taken...), err
		}
		if attempt == attempts || ctx.Err() != nil || !outcome.worthwhile {
			return nil, errors.Join(err, ctx.Err())
		}
		items = outcome.again
		if !clock.Sleep(ctx, pause) {
			return nil, ctx.Err()
		}
		pause = min(2*pause, longestPause)
	}
}

// outcome is how a round of requests went.
type outcome struct {
	rejected   []index.Rejection
	again      []item
	there      []item // a document has their id
	worthwhile bool   // nothing stands against trying again
}

// send stores the items of each data stream, in requests of a moderate size. Records of one stream keep their order.
func (x *Index) send(ctx context.Context, items []item) (outcome, error) {
	out := outcome{worthwhile: true}
	var errs []error
	for _, part := range parts(items) {
		statuses, err := x.bulk(ctx, part)
		var answer *refusal
		switch {
		case errors.As(err, &answer) && answer.status == http.StatusRequestEntityTooLarge && len(part) == 1:
			out.rejected = append(out.rejected, index.Rejection{Record: part[0].record, Class: answer.kind, Reason: "larger than Elasticsearch takes"})
			continue
		case errors.As(err, &answer) && answer.status == http.StatusRequestEntityTooLarge:
			half, err := x.halves(ctx, part)
			out.rejected, out.again, out.there = append(out.rejected, half.rejected...), append(out.again, half.again...), append(out.there, half.there...)
			errs = append(errs, err)
			continue
		case err != nil:
			out.again, errs = append(out.again, part...), append(errs, err)
			out.worthwhile = out.worthwhile && (answer == nil || passing(answer.status))
			continue
		}
		errs = append(errs, out.sort(part, statuses))
	}
	return out, errors.Join(errs...)
}

func (x *Index) halves(ctx context.Context, part []item) (outcome, error) {
	a, errA := x.send(ctx, part[:len(part)/2])
	b, errB := x.send(ctx, part[len(part)/2:])
	return outcome{rejected: append(a.rejected, b.rejected...), again: append(a.again, b.again...), there: append(a.there, b.there...), worthwhile: true}, errors.Join(errA, errB)
}

// sort says for each document whether it is stored, worth another try, or refused for what it is.
func (o *outcome) sort(part []item, statuses []status) error {
	var last error
	for i, s := range statuses {
		switch {
		case s.Status >= 200 && s.Status < 300:
		case s.Status == alreadyStored:
			part[i].there = s.Index
			o.there = append(o.there, part[i])
		case s.Status == http.StatusBadRequest && !s.Error.ours():
			o.rejected = append(o.rejected, index.Rejection{Record: part[i].record, Class: s.Error.Type, Reason: s.Error.Reason})
		default:
			o.again = append(o.again, part[i])
			o.worthwhile = o.worthwhile && passing(s.Status)
			last = (&refusal{status: s.Status, kind: s.Error.Type, reason: s.Error.Reason}).told()
		}
	}
	return last
}

// passing reports whether a status may be another one soon.
func passing(code int) bool { return code == http.StatusTooManyRequests || code >= 500 }

// ours reports whether the refusal is about how the cluster is set up, not about the document. Putting records aside for it would empty the index.
func (c cause) ours() bool {
	return strings.Contains(c.Reason, "pipeline with id") || strings.Contains(c.Reason, "require_data_stream") || c.Type == "invalid_index_name_exception"
}

// parts divides items by data stream and size, in their order.
func parts(items []item) [][]item {
	var out [][]item
	open := map[string]int{} // the part of each stream that still takes some
	sizes := map[string]int{}
	for _, it := range items {
		at, ok := open[it.stream]
		if !ok || sizes[it.stream]+len(it.body) > largestBulk {
			at = len(out)
			out = append(out, nil)
			open[it.stream], sizes[it.stream] = at, 0
		}
		out[at] = append(out[at], it)
		sizes[it.stream] += len(it.body)
	}
	return out
}

type status struct {
	Index  string `json:"_index"`
	Status int    `json:"status"`
	Error  cause  `json:"error"`
}

// bulk stores documents of one data stream and returns how each went.
func (x *Index) bulk(ctx context.Context, part []item) ([]status, error) {
	var body bytes.Buffer
	for _, it := range part {
		body.Write(it.body)
	}
	yes, no := true, false
	answer, err := x.do(ctx, esapi.BulkRequest{
		Index: part[0].stream, Body: &body, RequireDataStream: &yes, IncludeSourceOnError: &no, FilterPath: []string{"items.*._index", "items.*.status", "items.*.error.type", "items.*.error.reason"},
	})
	if err != nil {
		return nil, err
	}
	var said struct {
		Items []struct {
			Create status `json:"create"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return nil, fmt.Errorf("elasticsearch: the answer to bulk is not JSON: %w", err)
	}
	if len(said.Items) != len(part) {
		return nil, fmt.Errorf("elasticsearch: answered for %d of %d documents", len(said.Items), len(part))
	}
	statuses := make([]status, len(part))
	for i, s := range said.Items {
		statuses[i] = s.Create
	}
	return statuses, nil
}
