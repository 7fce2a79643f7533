package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/mcp/sse"
	"headgate.dev/libs/secret/forms"
)

var errNoAddress = errors.New("spec.url is not an address that a request can be sent to")

// answerError says that the server answered, but not as it was asked.
type answerError struct{ says string }

// Error implements error.
func (e *answerError) Error() string { return e.says }

const (
	clientName  = "headgate-trust"
	mostSession = 1024
	mostHeaders = 64 << 10
)

// wire is the way to one server for one look. It is used by one goroutine.
type wire struct {
	target  Target
	limits  Limits
	client  *http.Client
	speaker mcp.Speaker
	session string
	status  int        // of the last answer
	stream  *sse.Conn  // of a server of HTTP+SSE; nil for others
	secrets *forms.Set // what must not come back, in every form
	left    int        // bytes that the server may still send
	ids     uint64
}

func newWire(target Target, limits Limits) (*wire, error) {
	u, err := url.Parse(target.URL)
	if err != nil {
		return nil, errNoAddress
	}
	secured, err := target.Identities.TLS(egress.Server{
		Tenant: target.Tenant, Host: u.Hostname(), CA: target.CA, Pins: target.Pins, ClientCertificate: target.ClientCertificate,
	})
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, limits.Request)
			defer cancel()
			return egress.Dial(ctx, network, address)
		},
		TLSClientConfig:        secured,
		TLSHandshakeTimeout:    limits.Request,
		ResponseHeaderTimeout:  limits.Request,
		MaxResponseHeaderBytes: mostHeaders,
		DisableCompression:     true, // so that the limits count what is read
		Proxy:                  nil,  // the address that was declared, and no other
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	values := make([]string, len(target.Headers))
	for i, field := range target.Headers {
		values[i] = field.Value
	}
	return &wire{target: target, limits: limits, client: client, secrets: forms.Of(target.Secrets, values...), left: limits.Bytes}, nil
}

// close ends the session, if there is one, and the connections. A server need not support ending, so its answer does not matter.
func (w *wire) close() {
	if w.stream != nil {
		w.stream.Close()
	}
	if w.session != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if req, err := http.NewRequestWithContext(ctx, http.MethodDelete, w.target.URL, http.NoBody); err == nil {
			w.dress(req, w.speaker.Headers("", ""))
			if res, err := w.client.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
	}
	w.client.CloseIdleConnections()
}

func (w *wire) speak(version string) {
	w.speaker = mcp.Speaker{Version: version, ClientName: clientName, ClientVersion: "1", Capabilities: json.RawMessage(mcp.Everything)}
}

func (w *wire) dress(req *http.Request, fields []mcp.Field) {
	for _, field := range fields {
		req.Header.Set(field.Name, field.Value)
	}
	for _, field := range w.target.Headers {
		req.Header.Set(field.Name, field.Value)
	}
	if w.session != "" {
		req.Header.Set(mcp.HeaderSessionID, w.session)
	}
}

// ask sends one request and reads its answer.
func (w *wire) ask(ctx context.Context, build func(id json.RawMessage) mcp.Outgoing) (*mcp.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, w.limits.Request)
	defer cancel()
	w.ids++
	id := mcp.NewID(w.ids)
	if w.stream != nil {
		if err := w.send(ctx, build(id)); err != nil {
			return nil, err
		}
		return w.hear(ctx, id)
	}
	res, err := w.post(ctx, build(id))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized {
		return nil, ErrUnauthorized
	}
	reply, err := w.read(res, id)
	if err != nil {
		return nil, w.explain(ctx, err)
	}
	if given := res.Header.Get(mcp.HeaderSessionID); given != "" && w.session == "" && !mcp.Modern(w.speaker.Version) {
		if len(given) > mostSession || strings.Trim(given, visible()) != "" {
			return nil, errors.New("the server's session id is too long or holds characters that a header must not")
		}
		w.session = given
	}
	return reply, nil
}

// visible are the characters that a session id may have: 0x21 to 0x7E (2025-11-25, basic/transports).
func visible() string {
	var b strings.Builder
	for c := byte(0x21); c <= 0x7e; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

// tell sends a notification.
func (w *wire) tell(ctx context.Context, out mcp.Outgoing) error {
	ctx, cancel := context.WithTimeout(ctx, w.limits.Request)
	defer cancel()
	if w.stream != nil {
		return w.send(ctx, out)
	}
	res, err := w.post(ctx, out)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the server answers a notification with HTTP status %d", res.StatusCode)
	}
	return nil
}

func (w *wire) post(ctx context.Context, out mcp.Outgoing) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target.URL, bytes.NewReader(out.Body))
	if err != nil {
		return nil, errNoAddress
	}
	w.status = 0
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	w.dress(req, out.Headers)
	res, err := w.client.Do(req)
	if err != nil {
		return nil, w.explain(ctx, err)
	}
	w.status = res.StatusCode
	if res.StatusCode >= http.StatusMultipleChoices && res.StatusCode < http.StatusBadRequest {
		_ = res.Body.Close()
		return nil, fmt.Errorf("the server redirects (HTTP status %d) to %s, which is never followed. Set spec.url to the address that it really has",
			res.StatusCode, w.redirectedTo(req, res))
	}
	return res, nil
}

// redirectedTo says where to, unless it holds the credential that was sent.
func (w *wire) redirectedTo(req *http.Request, res *http.Response) string {
	to := egress.RedirectedTo(req.URL, res.Header.Get("Location"))
	if w.secrets.Found([]byte(to)) {
		return "another address"
	}
	return to
}

// explain says in words why the server could not be reached; errors of this package are left as they are.
func (w *wire) explain(ctx context.Context, err error) error {
	why := egress.Explain(err)
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
		return fmt.Errorf("the server does not answer within %s", w.limits.Request)
	case why != "":
		return errors.New(why)
	case errors.As(err, &op) && op.Op == "dial":
		return errors.New("the server cannot be reached: nothing accepts connections at that address")
	}
	return err
}

// read finds the reply to a request in a JSON body or in a stream of events.
func (w *wire) read(res *http.Response, id json.RawMessage) (*mcp.Reply, error) {
	body := &meter{from: res.Body, left: &w.left}
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "text/event-stream" && res.StatusCode == http.StatusOK:
		return w.readStream(body, id)
	case err == nil && kind == "application/json":
		content, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		reply, err := w.reply(content)
		if err != nil {
			return nil, err
		}
		if reply.Kind != mcp.Response || reply.Error == nil && !mcp.SameID(reply.ID, id) {
			return nil, &answerError{"the server answers with a message that is not the answer"}
		}
		return reply, nil
	}
	return nil, &answerError{fmt.Sprintf("the server answers with HTTP status %d and no MCP message", res.StatusCode)}
}

func (w *wire) readStream(body io.Reader, id json.RawMessage) (*mcp.Reply, error) {
	events := mcp.NewEventReader(body, w.limits.Bytes)
	for {
		event, err := events.Next()
		if errors.Is(err, io.EOF) {
			return nil, &answerError{"the server ends its stream without the answer"}
		}
		if err != nil {
			return nil, err
		}
		if len(event.Data) == 0 {
			continue // an event that only carries an id
		}
		reply, err := w.reply(event.Data)
		if err != nil {
			return nil, err
		}
		if reply.Kind == mcp.Response && mcp.SameID(reply.ID, id) {
			return reply, nil
		}
	}
}

func (w *wire) reply(content []byte) (*mcp.Reply, error) {
	reply, err := mcp.ReadReply(content, mcp.Limits{Bytes: w.limits.Bytes})
	if err != nil {
		return nil, &answerError{"the server answers with something that is not one strict JSON-RPC message"}
	}
	if w.secrets.Found(content) {
		return nil, errors.New("the server shows the credential that it was sent. What it showed was thrown away; replace the credential and ask the server's owner")
	}
	return reply, nil
}

// texts lists every string of a strict JSON document, names of members included.
func texts(content []byte) []string {
	var out []string
	decoder := jsontext.NewDecoder(bytes.NewReader(content))
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return out // the end, or what strict reading has refused before
		}
		if token.Kind() == '"' {
			out = append(out, token.String())
		}
	}
}

// meter reads until the look's budget of bytes is used up.
type meter struct {
	from io.Reader
	left *int
}

var errTooLarge = errors.New("the server sends more than a look takes (16 MiB by default)")

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if *m.left <= 0 {
		var one [1]byte
		if n, err := m.from.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, errTooLarge
	}
	n, err := m.from.Read(p[:min(len(p), *m.left)])
	*m.left -= n
	return n, err
}
