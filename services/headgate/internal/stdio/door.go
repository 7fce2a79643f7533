package stdio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/secret"
)

const (
	mediaJSON   = "application/json"
	mediaEvents = "text/event-stream"
)

// door is the MCP endpoint. Safe for concurrent use.
type door struct {
	endpoint string
	host     string
	tokens   Tokens
	limits   mcp.Limits // of a message that comes back
	client   *http.Client
}

// newDoor checks an endpoint; nothing is connected yet.
func newDoor(endpoint string, tokens Tokens, maxReply int) (*door, error) {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.Invalid("%q is not the URL of an MCP endpoint. Give one like https://HOST/mcp.", endpoint)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fault.Invalid("The access token would cross the network in the clear to %s. Use https.", u.Host)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		// Shorter than the edge keeps an idle connection, so that a call is not sent into one that is just being closed.
		IdleConnTimeout:     60 * time.Second,
		MaxIdleConnsPerHost: 64,
		DisableCompression:  true, // a stream that is compressed is held back until there is enough of it
		ForceAttemptHTTP2:   true,
		// A stream may be silent for long; a dead connection must not look like that.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},

		MaxResponseHeaderBytes: 256 << 10,
	}
	return &door{
		endpoint: endpoint, host: u.Host, tokens: tokens,
		// Wider than what the gateway takes of servers, since it adds to that.
		limits: mcp.Limits{Bytes: maxReply, Depth: 192, ID: 1024, Method: 128, Name: 2048},
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (d *door) close() { d.client.CloseIdleConnections() }

// answer is what came back for one HTTP request: a whole body, or a stream.
type answer struct {
	status  int
	session string
	retry   string
	body    []byte
	stream  io.ReadCloser // of events; nil unless the answer is one
}

// done lets go of the stream.
func (a *answer) done() {
	if a.stream != nil {
		_ = a.stream.Close()
	}
}

// call is one HTTP request to the endpoint.
type call struct {
	verb   string
	body   []byte
	fields []mcp.Field
	sent   func() // is called when the request is on its way; nil for nobody
}

// do sends one request. A 401 is tried once more where there is another token by now: the gateway did nothing yet. Its faults are for the client.
func (d *door) do(ctx context.Context, c call) (*answer, *mcp.Error) {
	token, err := d.tokens.Token(false)
	if err != nil {
		return nil, d.tokenless(err)
	}
	a, failed := d.once(ctx, c, token)
	if failed != nil || a.status != http.StatusUnauthorized {
		return a, failed
	}
	again, err := d.tokens.Token(true)
	switch {
	case err != nil:
		return nil, d.tokenless(err)
	case again.Reveal() == token.Reveal():
		return a, nil
	}
	a.done()
	return d.once(ctx, c, again)
}

func (d *door) once(ctx context.Context, c call, token secret.String) (*answer, *mcp.Error) {
	var onWay atomic.Bool // the connection writes while its answer is waited for
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err != nil {
			return
		}
		onWay.Store(true)
		if c.sent != nil {
			c.sent()
		}
	}})
	request, err := http.NewRequestWithContext(ctx, c.verb, d.endpoint, bytes.NewReader(c.body))
	if err != nil {
		return nil, d.failed(err, false)
	}
	request.Header.Set("Accept", mediaJSON+", "+mediaEvents)
	if c.verb == http.MethodPost {
		request.Header.Set("Content-Type", mediaJSON)
	}
	if c.verb == http.MethodGet {
		request.Header.Set("Accept", mediaEvents)
	}
	request.Header.Set("User-Agent", "headgate-stdio")
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	for _, field := range c.fields {
		request.Header.Add(field.Name, field.Value)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return nil, d.failed(err, onWay.Load())
	}
	a, failed := d.take(response)
	if a == nil || a.stream == nil {
		_ = response.Body.Close()
	}
	return a, failed
}

// take reads an answer that is no stream; of one that is, the body stays open.
func (d *door) take(response *http.Response) (*answer, *mcp.Error) {
	a := &answer{status: response.StatusCode, session: response.Header.Get(mcp.HeaderSessionID), retry: response.Header.Get("Retry-After")}
	media, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	if a.status == http.StatusOK && strings.EqualFold(strings.TrimSpace(media), mediaEvents) {
		a.stream = response.Body
		return a, nil
	}
	var err error
	if a.body, err = io.ReadAll(io.LimitReader(response.Body, int64(d.limits.Bytes)+1)); err != nil {
		return nil, d.failed(err, true)
	}
	if len(a.body) > d.limits.Bytes {
		return nil, d.tooLarge()
	}
	return a, nil
}

// tokenless says that there is no token to send.
func (d *door) tokenless(err error) *mcp.Error {
	return &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "The call was not sent: " + err.Error() + "."}
}

// failed says what went wrong on the way. Onway is whether the request had left.
func (d *door) failed(err error, onWay bool) *mcp.Error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err // without the URL, which the sentence names
	}
	if onWay {
		return &mcp.Error{Code: mcp.CodeInternal, Message: fmt.Sprintf("The connection to the gateway at %s failed before its answer was whole (%v). "+
			"Look whether the call took effect before you call again.", d.host, err)}
	}
	return &mcp.Error{Code: mcp.CodeInternal, Message: fmt.Sprintf("The gateway at %s cannot be reached (%v). The call was not made. "+
		"Check that it runs and that --mcp or HEADGATE_MCP names it, then call again.", d.host, err)}
}

// outside says that what came back is not of the protocol.
func (d *door) outside(format string, args ...any) *mcp.Error {
	return &mcp.Error{Code: mcp.CodeInternal, Message: fmt.Sprintf("What %s answered is no MCP message: %s. Check that --mcp or HEADGATE_MCP names the gateway's MCP endpoint, "+
		"and look whether the call took effect before you call again.", d.host, fmt.Sprintf(format, args...))}
}

func (d *door) tooLarge() *mcp.Error { return d.outside("it is longer than %d bytes", d.limits.Bytes) }

// refusal says in words what an HTTP status means. Said is what the gateway itself said, if it said something.
func (d *door) refusal(a *answer) *mcp.Error {
	said := d.said(a)
	e := &mcp.Error{Code: mcp.CodeInvalidRequest, Data: map[string]any{"httpStatus": a.status}}
	switch {
	case a.status == http.StatusUnauthorized:
		e.Message = "The gateway did not take the access token." + said + " " + d.tokens.Advice()
	case a.status >= 300 && a.status < 400:
		e.Message = fmt.Sprintf("%s sends the call somewhere else (HTTP %d), where the access token does not belong. Name the gateway's own URL with --mcp or HEADGATE_MCP.", d.host, a.status)
	case a.status == http.StatusNotFound:
		e.Message = fmt.Sprintf("There is no MCP endpoint at %s (HTTP 404).%s Check --mcp, HEADGATE_MCP and --server.", d.endpoint, said)
	case a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable:
		e.Message = fmt.Sprintf("The gateway takes no call now (HTTP %d).%s%s", a.status, said, after(a.retry))
	case a.status >= 500:
		e.Code = mcp.CodeInternal
		e.Message = fmt.Sprintf("%s failed (HTTP %d).%s Look whether the call took effect before you call again.", d.host, a.status, said)
	case a.status >= 400:
		e.Message = fmt.Sprintf("The gateway refused the call (HTTP %d).%s", a.status, said)
	default:
		return d.outside("a request was answered with HTTP %d and no message", a.status)
	}
	return e
}

// said is the sentence of a JSON-RPC error in the body.
func (d *door) said(a *answer) string {
	if reply, err := mcp.ReadReply(a.body, d.limits); err == nil && reply.Error != nil && reply.ErrorMessage != "" {
		return " It said: " + reply.ErrorMessage
	}
	return ""
}

// errorCode is the code of a JSON-RPC error; 0 of anything else.
func errorCode(body []byte) int {
	reply, err := mcp.ReadReply(bytes.TrimSpace(body), mcp.Limits{})
	if err != nil {
		return 0
	}
	return reply.ErrorCode
}

func after(retry string) string {
	if seconds, err := time.ParseDuration(retry + "s"); err == nil && seconds > 0 {
		return fmt.Sprintf(" Call again after %s.", seconds)
	}
	return " Call again later."
}
