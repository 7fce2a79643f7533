// Command identity runs the service that knows tenants and people and signs them in.
package main

import (
	"headgate.dev/libs/serve"
	"headgate.dev/services/identity"
)

func main() {
	serve.Main("identity", func(cfg identity.Config, d serve.Deps) (serve.Service, error) {
		return identity.New(cfg, identity.Deps{Journal: d.Journal, Log: d.Log, Now: d.Now})
	})
}
