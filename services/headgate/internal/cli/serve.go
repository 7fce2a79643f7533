package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"headgate.dev/libs/rpc"
	"headgate.dev/libs/serve"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/audit"
	"headgate.dev/services/authz"
	"headgate.dev/services/credentials"
	"headgate.dev/services/edge"
	"headgate.dev/services/identity"
	"headgate.dev/services/trust"
)

// runners run one service each, as its own image does.
func runners() map[string]func(ctx context.Context, args []string) error {
	return map[string]func(ctx context.Context, args []string) error{
		"identity":    runner("identity", buildIdentity),
		"authz":       runner("authz", buildAuthz),
		"credentials": runner("credentials", buildCredentials),
		"trust":       runner("trust", buildTrust),
		"audit":       runner("audit", buildAudit),
		"edge":        runner("edge", buildEdge),
	}
}

func runner[C any](name string, build func(C, serve.Deps) (serve.Service, error)) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error { return serve.Run(ctx, name, args, build) }
}

func serveCommand(_ IO) *cobra.Command {
	names := slices.Sorted(maps.Keys(runners()))
	var config string
	var check, show bool
	cmd := &cobra.Command{
		Use:       "serve SERVICE --config FILE",
		Short:     "Run one service: " + strings.Join(names, ", "),
		Example:   "  headgate serve edge --config edge.yaml\n  headgate serve edge --config edge.yaml --check-config",
		Args:      usageArgs(cobra.ExactArgs(1)),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			run, ok := runners()[args[0]]
			if !ok {
				return usageError{fmt.Errorf("no service %q; there are %s", args[0], strings.Join(names, ", "))}
			}
			if config == "" {
				return usageError{fmt.Errorf("no configuration: give --config FILE")}
			}
			return run(cmd.Context(), []string{"--config", config, fmt.Sprintf("--check-config=%v", check), fmt.Sprintf("--print-config=%v", show)})
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the configuration file, YAML")
	cmd.Flags().BoolVar(&check, "check-config", false, "only say what is wrong with the configuration")
	cmd.Flags().BoolVar(&show, "print-config", false, "print the configuration as it was understood, without secrets")
	return cmd
}

func buildIdentity(cfg identity.Config, d serve.Deps) (serve.Service, error) {
	return identity.New(cfg, identity.Deps{Journal: d.Journal, Log: d.Log, Now: d.Now})
}

func buildCredentials(cfg credentials.Config, d serve.Deps) (serve.Service, error) {
	return credentials.New(cfg, credentials.Deps{Journal: d.Journal, Log: d.Log, Now: d.Now})
}

func buildAudit(cfg audit.Config, d serve.Deps) (serve.Service, error) {
	return audit.New(cfg, audit.Deps{Journal: d.Journal, Log: d.Log, Now: d.Now, Metrics: d.Metrics})
}

func buildAuthz(cfg authz.Config, d serve.Deps) (serve.Service, error) {
	directory, err := d.Dial("identity")
	if err != nil {
		return nil, err
	}
	servers, err := d.Dial("trust")
	if err != nil {
		return nil, err
	}
	records, err := authz.Records(d.Knows, d.Dial)
	if err != nil {
		return nil, err
	}
	return authz.New(cfg, authz.Deps{
		Identity: rpc.Client(directory, identityv1connect.NewIdentityServiceClient), Trust: rpc.Client(servers, trustv1connect.NewTrustServiceClient),
		Audit: records, Journal: d.Journal, Log: d.Log, Now: d.Now,
	})
}

func buildTrust(cfg trust.Config, d serve.Deps) (serve.Service, error) {
	secrets, err := d.Dial("credentials")
	if err != nil {
		return nil, err
	}
	return trust.New(cfg, trust.Deps{Credentials: rpc.Client(secrets, credentialsv1connect.NewCredentialsServiceClient), Journal: d.Journal, Log: d.Log, Now: d.Now})
}

func buildEdge(cfg edge.Config, d serve.Deps) (serve.Service, error) {
	peers := map[string]*rpc.Conn{}
	for _, name := range []string{"identity", "authz", "trust", "credentials"} {
		conn, err := d.Dial(name)
		if err != nil {
			return nil, err
		}
		peers[name] = conn
	}
	keys, err := edge.Keys(d.Knows, d.Dial)
	if err != nil {
		return nil, err
	}
	return edge.New(cfg, edge.Deps{
		Identity:    rpc.Client(peers["identity"], identityv1connect.NewIdentityServiceClient),
		Authz:       rpc.Client(peers["authz"], authzv1connect.NewAuthzServiceClient),
		Trust:       rpc.Client(peers["trust"], trustv1connect.NewTrustServiceClient),
		Credentials: rpc.Client(peers["credentials"], credentialsv1connect.NewCredentialsServiceClient),
		Edge:        edge.Others(d.DialAt), Audit: keys,
		Journal: d.Journal, Log: d.Log, Now: d.Now, Metrics: d.Metrics,
	})
}
