package back_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"headgate.dev/libs/mcp"
)

// TestMain is also the programs that the tests let the back start: its own file, with the word child first.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

// child is one server on its standard input and output.
func child(kind string) {
	switch kind {
	case "go-sdk":
		if err := sdkGreeter().Run(context.Background(), &sdk.StdioTransport{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	case "mcp-go":
		if err := mcpgoserver.ServeStdio(mcpGoGreeter()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	case "dies":
		note(os.Args[3])
		fmt.Fprintln(os.Stderr, "cannot read its configuration")
		os.Exit(1)
	case "shy": // ends when it is asked what it does not know
		note(os.Args[3])
		plain(func(*bufio.Reader, *mcp.Message) { os.Exit(1) })
	case "plain":
		fmt.Println("Starting up...")
		plain(func(in *bufio.Reader, m *mcp.Message) {
			switch {
			case m.Method == mcp.MethodDiscover:
				fmt.Println(string(mcp.ErrorReply(m.ID, mcp.CodeMethodNotFound, "Method not found", nil)))
			case m.Name == "huge":
				fmt.Println(string(mcp.Result(m.ID, texts(strings.Repeat("x", 1<<20)))))
			case m.Name == "ask":
				fmt.Println(`{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"Who?"}}`)
				answer, err := in.ReadString('\n')
				if err == nil {
					fmt.Println(string(mcp.Result(m.ID, texts(answer))))
				}
			}
		})
	case "silent":
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// note counts a start in a file, which outlives the process.
func note(file string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintln(f, os.Getpid())
	_ = f.Close()
}

// plain is a server of an older revision by hand. What it does not know goes to other.
func plain(other func(*bufio.Reader, *mcp.Message)) {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		m, err := mcp.Read(line, mcp.DefaultLimits())
		if err != nil {
			continue
		}
		switch {
		case m.Method == mcp.MethodInitialize:
			fmt.Println(string(mcp.Result(m.ID, json.RawMessage(`{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"plain","version":"1"}}`))))
		case m.Method == mcp.MethodToolsList:
			fmt.Println(string(mcp.Result(m.ID, json.RawMessage(`{"tools":[]}`))))
		case m.Method == mcp.MethodToolsCall && m.Name == "pid":
			fmt.Println(string(mcp.Result(m.ID, texts(fmt.Sprint(os.Getpid())))))
		case m.Kind == mcp.Request:
			other(in, m)
		}
	}
}

// texts is a tool's result with one text.
func texts(text string) json.RawMessage {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return json.RawMessage(`{"content":[{"type":"text","text":` + string(quoted) + `}]}`)
}

type greeting struct {
	Name string `json:"name"`
}

// sdkGreeter is a server made with the official SDK: it greets, says its number, and waits.
func sdkGreeter() *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "greeter", Version: "1"}, &sdk.ServerOptions{Instructions: "Be polite."})
	text := func(text string) *sdk.CallToolResult {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}
	}
	sdk.AddTool(s, &sdk.Tool{Name: "greet", Description: "Greets."}, func(ctx context.Context, r *sdk.CallToolRequest, in greeting) (*sdk.CallToolResult, any, error) {
		if token := r.Params.GetProgressToken(); token != nil {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: 1, Message: "for " + in.Name}); err != nil {
				return nil, nil, err
			}
		}
		return text("hello " + in.Name), nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "pid", Description: "Says its number."}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
		return text(fmt.Sprint(os.Getpid())), nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "wait", Description: "Waits."}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: 1}); err != nil {
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return text("cancelled"), nil, nil
		case <-time.After(4 * time.Second):
			return text("waited"), nil, nil
		}
	})
	return s
}

// mcpGoGreeter is the same as far as the tests need it, made with mcp-go.
func mcpGoGreeter() *mcpgoserver.MCPServer {
	s := mcpgoserver.NewMCPServer("greeter", "1")
	s.AddTool(mcpgo.NewTool("greet", mcpgo.WithDescription("Greets."), mcpgo.WithString("name", mcpgo.Required())),
		func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			return mcpgo.NewToolResultText("hello " + r.GetString("name", "")), nil
		})
	s.AddTool(mcpgo.NewTool("pid"), func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(fmt.Sprint(os.Getpid())), nil
	})
	return s
}
