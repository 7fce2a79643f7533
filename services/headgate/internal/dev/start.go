package dev

import (
	"context"
	"fmt"
	"os"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/services/headgate/internal/demo"
)

// start applies what was asked for once all services are ready, makes the tokens, and tells the world.
func start(ctx context.Context, o Options, h *home, ports *listeners, s *suite, broker string, objects []resource.Object) error {
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	token, err := os.ReadFile(h.path("admin.token"))
	if err != nil {
		return fmt.Errorf("the administrator's first token: %w", err)
	}
	conn, err := rpc.Dial(rpc.DialConfig{URL: base(ports.api), Token: secret.New(strings.TrimSpace(string(token)))})
	if err != nil {
		return err
	}
	defer conn.Close()
	if !o.NoDemo {
		close, seed, err := startDemo(h)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, close)
		objects = append(withTenants(seed), objects...)
	}
	if err := (seeder{conn: conn, said: o.Err}).apply(ctx, objects); err != nil {
		return err
	}
	tokens, err := tokensFor(ctx, conn)
	if err != nil {
		return err
	}
	r := Ready{MCP: base(ports.mcp) + "/mcp", API: base(ports.api), Metrics: base(ports.metrics) + "/metrics",
		Kafka: broker, Tokens: tokens, PIDs: s.pids()}
	if o.ReadyFile != "" {
		if err := r.write(o.ReadyFile); err != nil {
			return fmt.Errorf("write the ready file: %w", err)
		}
	}
	return greet(o, r)
}

// tokensFor makes a token for each person: under the person's name where it is unique, and always under tenant/person.
func tokensFor(ctx context.Context, conn *rpc.Conn) (map[string]string, error) {
	identity := rpc.Client(conn, identityv1connect.NewIdentityServiceClient)
	tokens, owners := map[string]string{}, map[string]int{}
	for page := ""; ; {
		list, err := identity.List(ctx, connect.NewRequest(&identityv1.ListRequest{Kind: "Person", PageSize: 1000, PageToken: page}))
		if err != nil {
			return nil, err
		}
		for _, res := range list.Msg.GetResources() {
			meta := res.GetPerson().GetMetadata()
			if res.GetPerson().GetSpec().GetDisabled() {
				continue
			}
			issued, err := identity.IssueToken(ctx, connect.NewRequest(&identityv1.IssueTokenRequest{
				Person: meta.GetName(), Tenant: meta.GetTenant(), Ttl: durationpb.New(tokenFor)}))
			if err != nil {
				return nil, err
			}
			tokens[meta.GetTenant()+"/"+meta.GetName()] = issued.Msg.GetToken()
			tokens[meta.GetName()] = issued.Msg.GetToken()
			owners[meta.GetName()]++
		}
		if page = list.Msg.GetNextPageToken(); page == "" {
			break
		}
	}
	for name, count := range owners {
		if count > 1 {
			delete(tokens, name)
		}
	}
	tokens["admin"] = tokens["system/admin"]
	return tokens, nil
}

// startDemo starts the demo servers and makes the resources that declare them.
func startDemo(h *home) (stop func(), objects []resource.Object, err error) {
	servers, err := demo.Start(h.path("demo"))
	if err != nil {
		return nil, nil, err
	}
	located, err := resource.Parse("demo", servers.Seed())
	if err != nil {
		servers.Close()
		return nil, nil, err
	}
	for _, one := range located {
		objects = append(objects, one.Object)
	}
	return servers.Close, objects, nil
}
