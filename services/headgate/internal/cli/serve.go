package cli

import "github.com/spf13/cobra"

func serveCommand(stdio IO) *cobra.Command { return &cobra.Command{Use: "serve"} }
