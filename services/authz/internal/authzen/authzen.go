// Package authzen answers the OpenID AuthZEN Authorization API 1.0: the evaluation and the evaluations endpoint and the metadata, mapped to Decide and
// BatchDecide of the same service, as the person or application whose access token the request carries.
package authzen

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// The paths that the API says.
const (
	evaluation  = "/access/v1/evaluation"
	evaluations = "/access/v1/evaluations"
	metadata    = "/.well-known/authzen-configuration"
)

// mostBody is what a request may have, in bytes.
const mostBody = 12 << 20

// Handler serves the API.
type Handler struct {
	// As is the service as somebody with this access token sees it; who may ask is decided there.
	As func(token secret.String) authzv1connect.AuthzServiceClient
	// URL is where clients reach this service, as https://api.example.com; empty takes what a request says.
	URL string
}

// Register adds the endpoints to a mux.
func (h *Handler) Register(handle func(pattern string, handler http.Handler)) {
	handle("POST "+evaluation, answering(h.one))
	handle("POST "+evaluations, answering(h.many))
	handle("GET "+metadata, http.HandlerFunc(h.describe))
}

// answering is an endpoint: it reads the body, and writes what comes out or why nothing does.
func answering(answer func(r *http.Request, body []byte) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Request-ID"); id != "" && len(id) <= 256 {
			w.Header().Set("X-Request-ID", id)
		}
		out, err := func() (any, error) {
			if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
				return nil, fault.Invalid("The request is not of content type application/json.")
			}
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
			if err != nil {
				return nil, fault.New(faultv1.Reason_REASON_TOO_LARGE, "The request has more than %d bytes, or did not come whole. Send less at once.", mostBody).Because(err)
			}
			return answer(r, body)
		}()
		if err != nil {
			refuse(w, err)
			return
		}
		write(w, http.StatusOK, out)
	})
}

// client is the service as the caller sees it. Without one clear token the caller is nobody, which the service refuses.
func (h *Handler) client(r *http.Request) authzv1connect.AuthzServiceClient {
	token := ""
	if values := r.Header.Values("Authorization"); len(values) == 1 {
		if scheme, rest, _ := strings.Cut(values[0], " "); strings.EqualFold(scheme, "bearer") {
			token = rest
		}
	}
	return h.As(secret.New(token))
}

func (h *Handler) one(r *http.Request, body []byte) (any, error) {
	var asked tuple
	if err := read(body, &asked); err != nil {
		return nil, err
	}
	return h.decide(r, asked)
}

func (h *Handler) decide(r *http.Request, asked tuple) (any, error) {
	call, err := asked.call()
	if err != nil {
		return nil, err
	}
	found, err := h.client(r).Decide(r.Context(), connect.NewRequest(call))
	if err != nil {
		return nil, err
	}
	return decided(found.Msg.GetDecision()), nil
}

// many answers several questions. All are decided; a semantic that ends early leaves the answers behind its end out.
func (h *Handler) many(r *http.Request, body []byte) (any, error) {
	var asked several
	if err := read(body, &asked); err != nil {
		return nil, err
	}
	semantic := asked.Options.Semantic
	switch {
	case len(asked.Evaluations) == 0:
		return h.decide(r, asked.tuple)
	case len(asked.Evaluations) > mostEvaluations:
		return nil, fault.Invalid("The request has %d evaluations; at most %d are taken.", len(asked.Evaluations), mostEvaluations)
	case semantic != "" && semantic != executeAll && semantic != denyOnFirst && semantic != permitOnFirst:
		return nil, fault.Invalid("There is no evaluations_semantic %q. Use %s, %s or %s.", semantic, executeAll, denyOnFirst, permitOnFirst)
	}
	if err := asked.exact(); err != nil { // what each has in common
		return nil, err
	}
	answers := make([]answer, len(asked.Evaluations))
	batch := &authzv1.BatchDecideRequest{}
	var at []int
	for i, raw := range asked.Evaluations {
		var one tuple
		err := read(raw, &one)
		if err == nil {
			one.over(asked.tuple)
			var call *authzv1.DecideRequest
			if call, err = one.call(); err == nil {
				batch.Calls, at = append(batch.Calls, call), append(at, i)
				continue
			}
		}
		answers[i] = misunderstood(err)
	}
	if len(batch.GetCalls()) > 0 {
		found, err := h.client(r).BatchDecide(r.Context(), connect.NewRequest(batch))
		if err != nil {
			return nil, err
		}
		for n, d := range found.Msg.GetDecisions() {
			answers[at[n]] = decided(d)
		}
	}
	return map[string]any{"evaluations": ended(answers, semantic)}, nil
}

func ended(answers []answer, semantic string) []answer {
	for i, a := range answers {
		if semantic == denyOnFirst && !a.Decision || semantic == permitOnFirst && a.Decision {
			return answers[:i+1]
		}
	}
	return answers
}

// describe is the metadata, which is open to anyone.
func (h *Handler) describe(w http.ResponseWriter, r *http.Request) {
	at := strings.TrimRight(h.URL, "/")
	if at == "" {
		at = "http://" + r.Host
		if r.TLS != nil {
			at = "https://" + r.Host
		}
	}
	write(w, http.StatusOK, map[string]string{
		"policy_decision_point": at, "access_evaluation_endpoint": at + evaluation, "access_evaluations_endpoint": at + evaluations,
	})
}

// refuse answers a request that nothing was decided about. The API wants a message as the body.
func refuse(w http.ResponseWriter, err error) {
	code := status(err)
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	write(w, code, err.Error())
}

func status(err error) int {
	switch fault.From(err).Reason {
	case faultv1.Reason_REASON_INVALID, faultv1.Reason_REASON_NOT_FOUND:
		return http.StatusBadRequest
	case faultv1.Reason_REASON_UNAUTHENTICATED:
		return http.StatusUnauthorized
	case faultv1.Reason_REASON_ROLE_REQUIRED, faultv1.Reason_REASON_WRONG_TENANT, faultv1.Reason_REASON_KILLED:
		return http.StatusForbidden
	case faultv1.Reason_REASON_TOO_LARGE:
		return http.StatusRequestEntityTooLarge
	case faultv1.Reason_REASON_UNAVAILABLE, faultv1.Reason_REASON_STALE, faultv1.Reason_REASON_CLOCK, faultv1.Reason_REASON_RELATION_UNAVAILABLE:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

func write(w http.ResponseWriter, code int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // arguments that a rule made are not JSON: nothing is permitted
		code, body = http.StatusInternalServerError, []byte(`"The decision could not be written."`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a caller that is gone needs no answer
}
