package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"headgate.dev/services/audit/internal/index"
)

// Drop implements index.Index. The copies among the alerts go too.
func (x *Index) Drop(ctx context.Context, tenant string, before time.Time, within func(batch func() error) error) (int64, error) {
	body, err := json.Marshal(map[string]any{"query": map[string]any{"bool": map[string]any{"filter": []map[string]any{
		term("organization.id", tenant), {"range": map[string]any{"headgate.index.time": map[string]any{"lt": index.Nanos(before)}}},
	}}}})
	if err != nil {
		return 0, err
	}
	if _, err := x.dropIn(ctx, x.cfg.anomalies().stream(tenant), body, within); err != nil {
		return 0, err
	}
	return x.dropIn(ctx, x.cfg.stream(tenant), body, within)
}

// dropBatch is how many records one request drops: so few that it is answered long before anybody gives up, however many may go.
const dropBatch = 2000

// dropIn drops what fits a query from one data stream, batch by batch. One that is not there has nothing.
func (x *Index) dropIn(ctx context.Context, stream string, query []byte, within func(batch func() error) error) (int64, error) {
	for total := int64(0); ; {
		var done dropped
		err := within(func() (err error) {
			done, err = x.dropSome(ctx, stream, query)
			return err
		})
		total += done.Deleted
		switch {
		case err != nil:
			return total, err
		case done.TimedOut || len(done.Failures) > 0:
			return total, fmt.Errorf("elasticsearch: %d records were dropped and %d could not be", total, len(done.Failures))
		case done.Total < dropBatch:
			return total, nil
		case done.Deleted == 0:
			return total, fmt.Errorf("elasticsearch: %d records were dropped, and then others are changed faster than they can be", total)
		}
	}
}

// dropped is what became of a batch.
type dropped struct {
	Total    int64             `json:"total"`
	Deleted  int64             `json:"deleted"`
	TimedOut bool              `json:"timed_out"`
	Failures []json.RawMessage `json:"failures"`
}

func (x *Index) dropSome(ctx context.Context, stream string, query []byte) (dropped, error) {
	yes, most := true, dropBatch
	answer, err := x.do(ctx, esapi.DeleteByQueryRequest{
		Index: []string{stream}, Body: bytes.NewReader(query), Conflicts: "proceed", MaxDocs: &most, ScrollSize: &most,
		Refresh: &yes, IgnoreUnavailable: &yes, AllowNoIndices: &yes, // refreshed, so that the next batch does not find the same
	})
	if why, ok := errors.AsType[*refusal](err); ok && why.status == http.StatusNotFound {
		return dropped{}, nil
	}
	if err != nil {
		return dropped{}, err
	}
	var done dropped
	if err := json.Unmarshal(answer, &done); err != nil {
		return dropped{}, fmt.Errorf("elasticsearch: the answer is not JSON: %w", err)
	}
	return done, nil
}
