// Command headgate is Headgate for people: dev runs everything in one process, serve runs one service, the rest are clients of the same API.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"headgate.dev/services/headgate/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv}))
}
