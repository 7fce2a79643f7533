package stdio

import (
	"fmt"

	"headgate.dev/libs/mcp"
)

// metaUnavailable names in a list the servers whose part is missing.
const metaUnavailable = "io.headgate/unavailable"

// empty says, once, what to do when a list of tools is empty: its client shows its user nothing, and for the protocol that is no error.
func (b *Bridge) empty(f *flight, r *mcp.Reply) {
	if b.cfg.Notice == nil || f.method != mcp.MethodToolsList || string(mcp.Get(r.Result, "tools")) != "[]" ||
		mcp.Get(r.Result, "nextCursor") != nil || mcp.Get(r.Result, "_meta", metaUnavailable) != nil {
		return
	}
	b.told.Do(func() { b.cfg.Notice(nothing(b.cfg.Server)) })
}

// nothing is the sentence for a server's empty list, or that of all servers where it has no name.
func nothing(server string) string {
	if server == "" {
		return "No server shows you a tool: there is none yet, or you may use none. \"headgate server list\" shows the servers, and \"headgate server show NAME --explain\" " +
			"who may use one and why. Ask your administrator where you may not run them."
	}
	return fmt.Sprintf("The server %s shows you no tool: there is no server of that name, it has no approved tool, or you may use none. \"headgate server list\" shows the servers, "+
		"and \"headgate server show %s --explain\" who may use this one and why. Ask your administrator where you may not run them.", server, server)
}
