package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"headgate.dev/tools/e2e/conformance"
)

// order says where Headgate is and who talks through it. HEADGATE_API and HEADGATE_TOKEN, the administrator's, come from the environment.
type order struct {
	binary, tenant, server string
	edge                   *url.URL
	token                  string
	client                 string
}

func run(ctx context.Context, args []string) error {
	o, upstream, err := parse(args)
	if err != nil {
		return err
	}
	if err := o.declare(ctx, upstream); err != nil {
		return err
	}
	talked := o.talk(ctx)
	// The server ends with the scenario: what declares it goes as well, also when this was told to stop.
	_, err = o.headgate(context.WithoutCancel(ctx), "delete", "Server", o.server, "--tenant", o.tenant)
	return errors.Join(talked, err)
}

func parse(args []string) (o order, upstream string, err error) {
	flags := flag.NewFlagSet("through", flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "", "the headgate binary")
	flags.StringVar(&o.tenant, "tenant", "", "the tenant of the server and the person")
	flags.StringVar(&o.client, "client", "", "the client that talks through Headgate; the endpoint's URL is its last argument")
	edge := flags.String("edge", "", "URL of the edge's /mcp")
	if err := flags.Parse(args); err != nil {
		return o, "", err
	}
	o.server, o.token = os.Getenv("MCP_CONFORMANCE_SCENARIO"), os.Getenv("HEADGATE_PERSON_TOKEN")
	if o.edge, err = url.Parse(*edge); err != nil {
		return o, "", err
	}
	if flags.NArg() != 1 || o.binary == "" || o.tenant == "" || o.client == "" || o.edge.Host == "" || o.server == "" || o.token == "" {
		return o, "", errors.New("wants --binary, --tenant, --client, --edge, the suite's URL, and MCP_CONFORMANCE_SCENARIO and HEADGATE_PERSON_TOKEN in the environment")
	}
	return o, flags.Arg(0), nil
}

// declare makes the suite's server one of Headgate's, under the scenario's name, and waits until trust has seen it.
func (o order) declare(ctx context.Context, upstream string) error {
	declared := fmt.Sprintf("{apiVersion: headgate/v1, kind: Server, metadata: {name: %q, tenant: %q}, spec: {url: %q, approve: initial}}\n", o.server, o.tenant, upstream)
	folder, err := os.MkdirTemp("", "through-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "server.yaml")
	if err := os.WriteFile(file, []byte(declared), 0o600); err != nil {
		return err
	}
	if _, err := o.headgate(ctx, "apply", "-f", file); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := o.headgate(ctx, "server", "show", o.server, "--tenant", o.tenant, "-o", "json")
		if err != nil {
			return err
		}
		var seen struct{ Standing, Note string }
		if err := json.Unmarshal(out, &seen); err != nil {
			return fmt.Errorf("server show printed %s: %w", out, err)
		}
		if seen.Standing != "pending" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is still pending (%s): %w", seen.Note, ctx.Err())
		case <-tick.C:
		}
	}
}

// talk lets the client talk to the server's endpoint of the edge, with the person's token on each request.
func (o order) talk(ctx context.Context) error {
	forward, err := conformance.Forward(o.edge.Host, o.token)
	if err != nil {
		return err
	}
	endpoint := url.URL{Scheme: "http", Host: forward.Address, Path: o.edge.Path + "/" + o.server}
	client := exec.CommandContext(ctx, o.client, endpoint.String())
	client.Stdout, client.Stderr = os.Stdout, os.Stderr
	return errors.Join(client.Run(), forward.Close())
}

func (o order) headgate(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, o.binary, args...)
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("headgate %v: %w: %s", args, err, words.Bytes())
	}
	return out, nil
}
