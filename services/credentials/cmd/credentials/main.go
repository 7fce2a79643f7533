// Command credentials runs the service that keeps the credentials of upstream servers.
package main

import (
	"headgate.dev/libs/serve"
	"headgate.dev/services/credentials"
)

func main() {
	serve.Main("credentials", func(cfg credentials.Config, d serve.Deps) (serve.Service, error) {
		return credentials.New(cfg, credentials.Deps{Journal: d.Journal, Log: d.Log, Now: d.Now})
	})
}
