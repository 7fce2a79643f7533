// Command greeter is an MCP server on its standard input and output, made with the official SDK, for tests that let Headgate start one.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type person struct {
	Name string `json:"name"`
}

func main() {
	s := mcp.NewServer(&mcp.Implementation{Name: "greeter", Version: "1"}, &mcp.ServerOptions{Instructions: "Be polite."})
	mcp.AddTool(s, &mcp.Tool{Name: "greet", Description: "Greets somebody."}, func(_ context.Context, _ *mcp.CallToolRequest, in person) (*mcp.CallToolResult, any, error) {
		return text("hello " + in.Name), nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "self", Description: "Says what it runs as."}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return text(fmt.Sprintf("%d\n%s", os.Getpid(), strings.Join(os.Environ(), "\n"))), nil, nil
	})
	if err := s.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func text(said string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: said}}}
}
