// Command trust runs the service that knows the upstream servers and what of them is approved.
package main

import (
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/serve"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/services/trust"
)

func main() {
	serve.Main("trust", func(cfg trust.Config, d serve.Deps) (serve.Service, error) {
		credentials, err := d.Dial("credentials")
		if err != nil {
			return nil, err
		}
		return trust.New(cfg, trust.Deps{
			Credentials: rpc.Client(credentials, credentialsv1connect.NewCredentialsServiceClient), Journal: d.Journal, Log: d.Log, Now: d.Now,
		})
	})
}
