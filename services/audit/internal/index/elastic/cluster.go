package elastic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// cluster is what is installed into, and what it turned out to have.
type cluster struct {
	cfg    Config
	client *elasticsearch.BaseClient
	say    func(string)

	known map[string]int // how many nodes have each ingest processor; nil when nobody says
	nodes int

	withoutLifecycle, withoutPipeline, withoutRoles bool

	mappings []byte // as this cluster took them
}

// ask sends one request and returns the body of its answer.
func (c *cluster) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	return perform(ctx, c.client, call{method: method, path: path, body: body})
}

func (c *cluster) send(ctx context.Context, p Part) error {
	method, path := p.Request()
	_, err := c.ask(ctx, method, path, p.Body)
	return err
}

// call is a request by its path. The client's own types for what is installed say no more.
type call struct {
	method, path string
	body         []byte
}

// Do implements esapi.Request.
func (c call) Do(ctx context.Context, over esapi.Transport) (*esapi.Response, error) {
	r, err := http.NewRequestWithContext(ctx, c.method, "/"+c.path, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if len(c.body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := over.Perform(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestAnswer+1))
	if err != nil {
		return nil, err
	}
	return &esapi.Response{StatusCode: answer.StatusCode, Body: io.NopCloser(bytes.NewReader(body)), Header: answer.Header}, nil
}

// is reports whether the cluster answered with that status.
func is(err error, status int) bool {
	var answer *refusal
	return errors.As(err, &answer) && answer.status == status
}

// lacks reports whether the cluster refused for want of a feature of that name.
func lacks(err error, feature string) bool {
	var answer *refusal
	return errors.As(err, &answer) && strings.Contains(answer.reason, "["+feature+"]") && strings.Contains(answer.reason, "does not exist")
}

// unknownRoute reports whether the cluster has no such part at all.
func unknownRoute(err error) bool {
	var answer *refusal
	return errors.As(err, &answer) && (answer.status == http.StatusMethodNotAllowed || strings.Contains(answer.reason, "no handler found"))
}

func exists(err error) bool {
	var answer *refusal
	return errors.As(err, &answer) && strings.Contains(answer.reason, "already exists")
}
