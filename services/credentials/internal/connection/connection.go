// Package connection judges connections and puts a credential into the header that its connection declares. It is pure: no store, no clock.
package connection

import (
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"

	"headgate.dev/libs/fault"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
)

// placeholder is where the credential goes in a template.
const placeholder = "{secret}"

// minSecret is the shortest credential that is taken: what is shorter would be found, and redacted, in every other result.
const minSecret = 4

// reserved are headers that a credential must never be: hop-by-hop ones, those that frame or route the request, and those that the protocol sets.
var reserved = map[string]string{
	"host":                "it routes the request",
	"content-length":      "it frames the request",
	"content-type":        "the protocol sets it",
	"content-encoding":    "it frames the request",
	"transfer-encoding":   "it frames the request",
	"connection":          "it belongs to one hop",
	"keep-alive":          "it belongs to one hop",
	"proxy-connection":    "it belongs to one hop",
	"proxy-authenticate":  "it belongs to one hop",
	"proxy-authorization": "it belongs to one hop",
	"te":                  "it belongs to one hop",
	"trailer":             "it belongs to one hop",
	"upgrade":             "it belongs to one hop",
	"http2-settings":      "it belongs to one hop",
	"expect":              "it frames the request",
	"accept":              "the protocol sets it",
	"accept-encoding":     "the gateway sets it",
	"accept-charset":      "the gateway sets it",
	"origin":              "the gateway sets it",
	"referer":             "the gateway sets it",
	"user-agent":          "the gateway sets it",
	"forwarded":           "the gateway sets it",
	"via":                 "the gateway sets it",
	"date":                "the gateway sets it",
	"range":               "it changes what is asked for",
	"last-event-id":       "the protocol sets it",
	"traceparent":         "the gateway sets it",
	"tracestate":          "the gateway sets it",
	"baggage":             "the gateway sets it",
	"set-cookie":          "it belongs to answers",
	"www-authenticate":    "it belongs to answers",
}

// reservedPrefixes are families of such headers.
var reservedPrefixes = map[string]string{
	"mcp-":         "the protocol sets it",
	"x-forwarded-": "the gateway sets it",
	"sec-":         "it belongs to browsers",
	"access-":      "it belongs to browsers",
}

// Check refuses a connection that could send its credential where or how it must not go. The secret itself is CheckSecret's matter.
func Check(c *credentialsv1.Connection) error {
	name, spec := c.GetMetadata().GetName(), c.GetSpec()
	if err := checkHeader(name, spec.GetInject().GetName()); err != nil {
		return err
	}
	if err := checkTemplate(name, spec.GetInject().GetTemplate()); err != nil {
		return err
	}
	if len(spec.GetAllowHosts()) == 0 {
		return about(c, fault.Invalid("Connection %s names no host in allowHosts, so its credential could go nowhere. Name the server's host.", name))
	}
	for _, allowed := range spec.GetAllowHosts() {
		if _, err := ParseHost(allowed); err != nil {
			return about(c, fault.Invalid("Connection %s: allowHosts holds %q: %s. Write a name or name:port, without scheme, path or wildcard.", name, allowed, err))
		}
	}
	return nil
}

func checkHeader(name, header string) error {
	lower := strings.ToLower(header)
	why, bad := reserved[lower]
	for prefix, reason := range reservedPrefixes {
		if strings.HasPrefix(lower, prefix) {
			why, bad = reason, true
		}
	}
	if bad {
		return fault.Invalid("Connection %s: a credential cannot go into the header %s, because %s. "+
			"Use Authorization, or the header that the server's documentation names.", name, header, why).
			With("kind", "Connection").With("name", name).With("field", "spec.inject.name")
	}
	if !httpguts.ValidHeaderFieldName(header) {
		return fault.Invalid("Connection %s: %q is not a header name.", name, header).With("kind", "Connection").With("name", name).With("field", "spec.inject.name")
	}
	return nil
}

func checkTemplate(name, template string) error {
	refuse := func(why string) error {
		return fault.Invalid("Connection %s: the template %s.", name, why).With("kind", "Connection").With("name", name).With("field", "spec.inject.template")
	}
	switch {
	case template == "":
		return nil
	case !strings.Contains(template, placeholder):
		return refuse("does not hold {secret}, so the credential would not be sent. Write for example \"Bearer {secret}\"")
	case !httpguts.ValidHeaderFieldValue(template):
		return refuse("holds a line break or another control character, which a header cannot carry")
	}
	return nil
}

// CheckSecret refuses a secret that cannot travel in a header as it is. The sentence never holds the secret.
func CheckSecret(c *credentialsv1.Connection, secret string) error {
	name := c.GetMetadata().GetName()
	switch {
	case strings.ContainsAny(secret, "\r\n"):
		return about(c, fault.Invalid("Connection %s: the secret holds a line break. A file that ends with one is the usual cause: leave it out.", name))
	case !httpguts.ValidHeaderFieldValue(secret):
		return about(c, fault.Invalid("Connection %s: the secret holds a control character, which a header cannot carry.", name))
	case strings.TrimSpace(secret) != secret:
		return about(c, fault.Invalid("Connection %s: the secret begins or ends with a space.", name))
	case len(secret) < minSecret:
		return about(c, fault.Invalid("Connection %s: the secret is shorter than %d bytes.", name, minSecret))
	}
	return nil
}

// Value is the header's value with the secret in its place.
func Value(inject *credentialsv1.Inject, secret string) string {
	if inject.GetTemplate() == "" {
		return secret
	}
	return strings.ReplaceAll(inject.GetTemplate(), placeholder, secret)
}

// Allows says whether the credential may go to host, and if not, why in words for the person who wrote the connection.
func Allows(spec *credentialsv1.ConnectionSpec, host string) error {
	asked, err := ParseHost(host)
	if err != nil {
		return fmt.Errorf("%q is not a host: %w", host, err)
	}
	for _, text := range spec.GetAllowHosts() {
		allowed, err := ParseHost(text)
		if err != nil {
			continue // nothing is allowed by what cannot be read; Check refused it when it was applied
		}
		if allowed.Covers(asked) {
			return nil
		}
	}
	return fmt.Errorf("%s is not among its allowHosts (%s)", asked, strings.Join(spec.GetAllowHosts(), ", "))
}

func about(c *credentialsv1.Connection, err *fault.Error) error {
	return err.With("kind", "Connection").With("name", c.GetMetadata().GetName())
}
