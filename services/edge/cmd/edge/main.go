// Command edge serves the MCP endpoints.
package main

import (
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/serve"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/edge"
)

func main() {
	serve.Main("edge", func(cfg edge.Config, d serve.Deps) (serve.Service, error) {
		var peers [4]*rpc.Conn
		for i, name := range []string{"identity", "authz", "trust", "credentials"} {
			var err error
			if peers[i], err = d.Dial(name); err != nil {
				return nil, err
			}
		}
		keys, err := edge.Keys(d.Knows, d.Dial)
		if err != nil {
			return nil, err
		}
		return edge.New(cfg, edge.Deps{
			Identity:    rpc.Client(peers[0], identityv1connect.NewIdentityServiceClient),
			Authz:       rpc.Client(peers[1], authzv1connect.NewAuthzServiceClient),
			Trust:       rpc.Client(peers[2], trustv1connect.NewTrustServiceClient),
			Credentials: rpc.Client(peers[3], credentialsv1connect.NewCredentialsServiceClient),
			Edge:        edge.Others(d.DialAt), Audit: keys,
			Journal: d.Journal, Log: d.Log, Now: d.Now, Metrics: d.Metrics,
		})
	})
}
