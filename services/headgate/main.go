// Command headgate is Headgate for people: dev runs everything in one process, serve runs one service, the rest are clients of the same API.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"headgate.dev/libs/serve"
	"headgate.dev/services/headgate/internal/cli"
)

func main() {
	syscall.Umask(0o077) // what it writes is for its user alone
	if err := serve.Private(); err != nil {
		fmt.Fprintf(os.Stderr, "headgate: %v\n", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv})
	stop()
	os.Exit(code)
}
