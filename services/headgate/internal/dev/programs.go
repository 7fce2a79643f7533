package dev

import (
	"encoding/json"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

// allowed is which programs the edge may start: those that whoever started this named, in a file or by a flag. What comes over the API later is only
// started when it is one of them.
func allowed(commands []string, objects []resource.Object) (edge.Stdio, error) {
	var programs edge.Stdio
	for _, object := range objects {
		server, ok := object.(*trustv1.Server)
		if p := server.GetSpec().GetStdio(); ok && p != nil {
			programs.Exactly = append(programs.Exactly, edge.Command{
				Command: p.GetCommand(), Env: p.GetEnv(), Inherit: p.GetInherit(), Directory: p.GetDirectory(),
			})
		}
	}
	for _, text := range commands {
		prefix := []string{text}
		if strings.HasPrefix(text, "[") {
			prefix = nil
			if err := json.Unmarshal([]byte(text), &prefix); err != nil || len(prefix) == 0 {
				return programs, fault.Invalid("--allow-command %s is no JSON array of texts. Write it as '[\"npx\", \"-y\", \"PACKAGE\"]', or give the path of a program.", text)
			}
		}
		programs.Allow = append(programs.Allow, prefix)
	}
	return programs, programs.Check()
}
