// Command through is the client that the conformance suite is told to start: it declares the suite's server to a running Headgate and lets another client
// talk to it there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "through:", err)
		os.Exit(1)
	}
}
