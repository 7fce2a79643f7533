// Package sse is the client's side of HTTP+SSE, the transport of revision 2024-11-05: a GET opens a stream whose first event says where to post, and
// what the server says comes on the stream. Where to post is the server's word, so it is taken only within the origin that was declared.
package sse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"headgate.dev/libs/mcp"
)

// StatusError says that the server answered with an HTTP status that means no.
type StatusError struct{ Status int }

// Error says the status alone.
func (e *StatusError) Error() string { return fmt.Sprintf("HTTP status %d", e.Status) }

var (
	// ErrOther says that what answers at the address is no server of this transport.
	ErrOther = errors.New("no stream that begins with an endpoint")
	// ErrElsewhere says that the server wants its messages sent to another origin than the one that was declared, which is never done.
	ErrElsewhere = errors.New("the server names an endpoint at another host, port or scheme than its own")
)

const (
	// mostEndpoint bounds the address to post to, mostAnswer what is read of the answer to a post, which has nothing to say.
	mostEndpoint = 4096
	mostAnswer   = 64 << 10
)

// Config says which server to speak to.
type Config struct {
	// Client makes the requests. Its redirects are not followed, whatever it says.
	Client *http.Client
	// URL is where the stream is opened.
	URL string
	// Limit is the most bytes of one event; 0 means 8 MiB.
	Limit int
}

// Conn is one stream with the address to post to. Send is safe for concurrent use, Receive is for one goroutine.
type Conn struct {
	client   *http.Client
	endpoint string
	events   *mcp.EventReader
	body     io.Closer // of the stream; nil until there is one
	end      context.CancelFunc
	once     sync.Once
}

// Open opens the stream with these further headers and waits for its endpoint. The stream outlives ctx, which bounds the waiting alone.
func Open(ctx context.Context, cfg Config, headers []mcp.Field) (*Conn, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("the URL cannot be read: %w", err)
	}
	client := *cfg.Client
	client.Timeout = 0 // it would end the stream
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	waiting := context.AfterFunc(ctx, end)
	c := &Conn{client: &client, end: end}
	if err := c.open(life, base, cfg, headers); err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		return nil, err
	}
	if !waiting() {
		c.Close()
		return nil, ctx.Err()
	}
	return c, nil
}

func (c *Conn) open(ctx context.Context, base *url.URL, cfg Config, headers []mcp.Field) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.URL, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	dress(req, headers)
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = res.Body.Close()
		}
	}()
	if res.StatusCode != http.StatusOK {
		return &StatusError{res.StatusCode}
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "text/event-stream" {
		return ErrOther
	}
	c.events = mcp.NewEventReader(res.Body, cfg.Limit)
	first, err := c.events.Next()
	switch {
	case errors.Is(err, io.EOF), err == nil && first.Type != "endpoint":
		return ErrOther
	case err != nil:
		return err
	}
	if c.endpoint, err = Endpoint(base, string(first.Data)); err != nil {
		return err
	}
	c.body = res.Body
	return nil
}

// Endpoint answers the address that a server says to post to, resolved against the one of its stream. Another scheme, host or port is ErrElsewhere.
func Endpoint(base *url.URL, said string) (string, error) {
	if len(said) > mostEndpoint {
		return "", ErrOther
	}
	u, err := base.Parse(strings.TrimSpace(said))
	if err != nil {
		return "", ErrOther
	}
	if u.Scheme != base.Scheme || u.User != nil || u.Opaque != "" || !strings.EqualFold(u.Hostname(), base.Hostname()) || port(u) != port(base) {
		return "", ErrElsewhere
	}
	// What was compared is what is used: the origin is written as it was declared.
	u.Host, u.Fragment, u.RawFragment = base.Host, "", ""
	return u.String(), nil
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

func dress(req *http.Request, headers []mcp.Field) {
	for _, field := range headers {
		req.Header.Set(field.Name, field.Value)
	}
}

// Send posts one message, at most once. That it was taken does not say that it is answered.
func (c *Conn) Send(ctx context.Context, message []byte, headers []mcp.Field) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(message))
	if err != nil {
		return err
	}
	req.GetBody = nil // so that no transport sends it a second time
	req.Header.Set("Content-Type", "application/json")
	dress(req, headers)
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	// What the server says here is not read by anyone, but a connection that was read to its end is used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, mostAnswer))
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusMultipleChoices {
		return &StatusError{res.StatusCode}
	}
	return nil
}

// Receive answers the next message; any error ends the stream.
func (c *Conn) Receive() ([]byte, error) {
	for {
		event, err := c.events.Next()
		if err != nil {
			return nil, err
		}
		if event.Type == "" || event.Type == "message" {
			return event.Data, nil
		}
	}
}

// Close ends the stream, also while it is read.
func (c *Conn) Close() {
	c.once.Do(func() {
		c.end()
		if c.body != nil {
			_ = c.body.Close()
		}
	})
}
