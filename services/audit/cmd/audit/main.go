// Command audit runs the service that keeps and finds the record.
package main

import (
	"headgate.dev/libs/serve"
	"headgate.dev/services/audit"
)

func main() {
	serve.Main("audit", func(cfg audit.Config, d serve.Deps) (serve.Service, error) {
		return audit.New(cfg, audit.Deps{Journal: d.Journal, Log: d.Log, Now: d.Now, Metrics: d.Metrics})
	})
}
