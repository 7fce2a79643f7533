// Command authz runs the service that decides what a principal may do.
package main

import (
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/serve"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/authz"
)

func main() {
	serve.Main("authz", func(cfg authz.Config, d serve.Deps) (serve.Service, error) {
		identity, err := d.Dial("identity")
		if err != nil {
			return nil, err
		}
		trust, err := d.Dial("trust")
		if err != nil {
			return nil, err
		}
		records, err := authz.Records(d.Knows, d.Dial)
		if err != nil {
			return nil, err
		}
		return authz.New(cfg, authz.Deps{
			Identity: rpc.Client(identity, identityv1connect.NewIdentityServiceClient), Trust: rpc.Client(trust, trustv1connect.NewTrustServiceClient),
			Audit: records, Journal: d.Journal, Log: d.Log, Now: d.Now,
		})
	})
}
