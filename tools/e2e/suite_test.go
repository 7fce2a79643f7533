// Package e2e proves the product from outside, in both shapes: headgate dev, and six processes with mutual TLS. Every test acts through a front door.
package e2e

import (
	"fmt"
	"testing"

	"headgate.dev/tools/e2e/product"
)

// scene is a running Headgate with one tenant and the servers that it guards.
type scene struct {
	*product.Product
	shape   product.Shape
	up      *product.Upstream // server echo
	secured *product.Upstream // server vault: takes a managed credential
	sent    int               // tool calls that were sent through the MCP endpoints
}

const managedSecret = "s3cr3t-managed-credential-9f2c"

func tenant(echo, vault string) string {
	return fmt.Sprintf(`
apiVersion: headgate/v1
kind: Server
metadata: {name: echo, tenant: acme}
spec: {url: %q, approve: initial}
---
apiVersion: headgate/v1
kind: Server
metadata: {name: vault, tenant: acme}
spec: {url: %q, approve: initial}
---
apiVersion: headgate/v1
kind: Connection
metadata: {name: vault, tenant: acme}
spec:
  server: vault
  inject: {in: header, name: X-Api-Key, template: "Key {secret}"}
  allowHosts: [%q]
  secret: %s
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [support], department: care}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: bob, tenant: acme}, spec: {email: bob@acme.example, roles: []}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: gil, tenant: globex}, spec: {email: gil@globex.example, roles: [support]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: acme}, spec: {grants: [{server: echo, tools: ["*"], can: call}, {server: vault, tools: ["*"], can: call}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: globex}, spec: {grants: [{server: echo, tools: ["*"], can: call}]}}
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: echo, tenant: acme}
spec:
  match: {server: echo, tools: [echo]}
  rules:
    - {name: small, when: 'has(args.n) && args.n > 10', effect: block, reason: "Numbers above 10 are too large."}
    - {name: clamp, when: 'has(args.n) && args.n > 5', effect: modify, modify: [{path: /n, clamp: {max: 5}}]}
    - {name: ask, when: 'has(args.text) && args.text == "ask"', effect: escalate, approval: {by: "role:lead"}}
    - {name: rest, when: 'true', effect: allow}
  tests:
    - {name: eleven is blocked, as: {roles: [support]}, args: {n: 11}, expect: block}
    - {name: seven is clamped, as: {roles: [support]}, args: {n: 7}, expect: modify, expectArgs: {n: 5}}
`, echo, vault, hostOf(vault), managedSecret)
}

// TestEverythingInOneProcess runs the suite against headgate dev, TestSixProcesses against six processes with certificates of their own.
func TestEverythingInOneProcess(t *testing.T) { suite(t, product.Dev) }

func TestSixProcesses(t *testing.T) { suite(t, product.Stack) }

// TestTwoEdgesInTurn runs it with each request at another edge than the one before.
func TestTwoEdgesInTurn(t *testing.T) { suite(t, product.Balanced) }

func suite(t *testing.T, shape product.Shape) {
	s := open(t, shape)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *scene)
	}{
		{"a person lists and calls what a role grants", granted},
		{"what is not granted looks like what is not there", invisible},
		{"rules block, change and escalate", ruled},
		{"clients that we did not write", foreignClients},
		{"clients that only know stdio", stdioClients},
		{"T19 broken messages are refused", brokenMessages},
		{"T20 headers differ from the body", headersDiffer},
		{"T11 bad tokens are refused", badTokens},
		{"T15 foreign hosts and origins are refused", foreignOrigins},
		{"T18 a managed credential reaches the server and nobody else", managedCredential},
		{"another tenant sees nothing", otherTenant},
		{"T2 a changed definition is not served until approved", changedDefinition},
		{"a kill stops a person on every edge within a second", killed},
		{"a role that is taken away stops calls within a second", revoked},
		{"the command line answers with the documented codes", exitCodes},
		{"every call is in the record once", recorded},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, s) })
	}
}

func open(t *testing.T, shape product.Shape) *scene {
	t.Helper()
	up := product.StartUpstream(t, product.Echo())
	secured := product.StartUpstream(t, product.Echo())
	return &scene{Product: product.Start(t, shape, tenant(up.URL, secured.URL), extraFlags(shape)...), shape: shape, up: up, secured: secured}
}

func extraFlags(shape product.Shape) []string {
	if shape == product.Dev {
		return []string{"--no-demo"}
	}
	return nil
}
