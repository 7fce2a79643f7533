package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"headgate.dev/libs/kafka"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/serve"
	"headgate.dev/services/audit"
)

// operator is who the person at the command line is to the clusters that audit leans on: the service itself does not have these rights.
type operator struct {
	config, key, user, passwordFile string
}

func (o *operator) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.config, "config", "", "the audit service's configuration file")
	cmd.Flags().StringVar(&o.user, "kafka-user", "", "the user in Kafka who may do this, instead of the service's own")
	cmd.Flags().StringVar(&o.passwordFile, "kafka-password-file", "", "a file that holds that user's password")
}

// configuration is the service's, with this person in the service's place.
func (o *operator) configuration() (audit.Config, error) {
	if o.config == "" {
		return audit.Config{}, usageError{fmt.Errorf("no configuration: give --config FILE, that of the audit service")}
	}
	if (o.user == "") != (o.passwordFile == "") {
		return audit.Config{}, usageError{fmt.Errorf("--kafka-user and --kafka-password-file go together")}
	}
	cfg, err := serve.ReadOwn[audit.Config](o.config)
	if err != nil {
		return cfg, err
	}
	if o.key != "" {
		cfg.Elasticsearch.APIKeyFile = o.key
	}
	if o.user == "" {
		return cfg, nil
	}
	password, err := os.ReadFile(o.passwordFile)
	if err != nil {
		return cfg, fmt.Errorf("the password cannot be read: %w", err)
	}
	mechanism := cfg.Kafka.SASL.Mechanism
	if mechanism == "" {
		mechanism = "SCRAM-SHA-512"
	}
	cfg.Kafka.SASL = kafka.SASL{Mechanism: mechanism, User: o.user, Password: secret.New(strings.TrimRight(string(password), "\r\n"))}
	return cfg, nil
}

// auditInstall prepares what the audit service leans on. It talks to that directly.
func auditInstall(stdio IO) *cobra.Command {
	var who operator
	var only string
	var acls, show bool
	cmd := &cobra.Command{
		Use:   "install --config FILE",
		Short: "Put templates into Elasticsearch and topics into Kafka; to do it again changes nothing",
		Example: "  headgate audit install --config audit.yaml --api-key-file admin.key --kafka-user headgate-install --kafka-password-file kafka.password\n" +
			"  headgate audit install --config audit.yaml --print",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what := audit.Installation{Elasticsearch: only != "kafka", Topics: only != "elasticsearch", Rights: acls}
			if only != "" && only != "elasticsearch" && only != "kafka" {
				return usageError{fmt.Errorf("--only takes elasticsearch or kafka, not %q", only)}
			}
			cfg, err := who.configuration()
			if err != nil {
				return err
			}
			if show {
				what.Rights = what.Topics
				return audit.Print(cfg, what, stdio.Out)
			}
			return audit.Install(cmd.Context(), cfg, what, func(sentence string) { _, _ = fmt.Fprintln(stdio.Err, sentence) })
		},
	}
	who.flags(cmd)
	cmd.Flags().StringVar(&who.key, "api-key-file", "", "an API key of Elasticsearch that may do this, instead of the service's own")
	cmd.Flags().StringVar(&only, "only", "", "only elasticsearch or kafka")
	cmd.Flags().BoolVar(&acls, "kafka-acls", false, "also make the rules of who may read and write what in Kafka; it takes a superuser")
	cmd.Flags().BoolVar(&show, "print", false, "only print what would be put where, for Kibana's console and Kafka's programs")
	return cmd
}
