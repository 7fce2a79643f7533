package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"headgate.dev/tools/stack"
)

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say prepare, broker, ingress or up")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the local installation")
	listen := flags.String("listen", "", "address of the broker; by default as prepared")
	binary := flags.String("binary", "", "the headgate binary, for up")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("say which folder with --dir")
	}
	switch args[0] {
	case "prepare":
		return prepareOnce(*dir)
	case "broker":
		return broker(ctx, *dir, *listen)
	case "ingress":
		return ingress(ctx, *dir)
	case "up":
		return up(ctx, *dir, *binary)
	default:
		return fmt.Errorf("no command %q", args[0])
	}
}

// prepared is what prepare wrote.
type prepared struct {
	RPC    map[string]string `json:"rpc"`
	Fronts []string          `json:"fronts"`
	API    string            `json:"api"`
	Broker string            `json:"broker"`
}

func read(dir string) (prepared, error) {
	var p prepared
	text, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

// prepareOnce keeps the ports and certificates of an installation that is there.
func prepareOnce(dir string) error {
	if _, err := read(dir); err == nil {
		return nil
	}
	return stack.Prepare(stack.Config{Dir: dir})
}

func broker(ctx context.Context, dir, listen string) error {
	if listen != "" {
		return stack.Broker(ctx, dir, listen)
	}
	p, err := read(dir)
	if err != nil {
		return err
	}
	return stack.Broker(ctx, filepath.Join(dir, "kafka"), p.Broker)
}

func ingress(ctx context.Context, dir string) error {
	p, err := read(dir)
	if err != nil {
		return err
	}
	handler, err := stack.Ingress(filepath.Join(dir, "certs", "ca.pem"), p.RPC)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: p.API, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("API http://%s\nMCP http://%s/mcp\n", p.API, p.Fronts[0])
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func up(ctx context.Context, dir, binary string) error {
	s, err := stack.Start(stack.Config{Binary: binary, Dir: dir})
	defer s.Stop()
	if err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(s.Info(), "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(encoded))
	<-ctx.Done()
	return nil
}
