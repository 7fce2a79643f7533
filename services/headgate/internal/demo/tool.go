package demo

import (
	"context"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// effect says what a tool does to the world; it becomes the tool's annotations.
type effect int

const (
	reads effect = iota
	writes
	destroys
)

func (e effect) annotate(title string) mcp.ToolOption {
	return mcp.WithToolAnnotation(mcp.ToolAnnotation{
		Title:           title,
		ReadOnlyHint:    new(e == reads),
		DestructiveHint: new(e == destroys),
		IdempotentHint:  new(e == reads),
		OpenWorldHint:   new(false),
	})
}

// tool makes a tool whose arguments are bound to A and whose result R travels as structuredContent and as text.
// An error is the tool's own answer: the model reads it.
func tool[A, R any](
	name, title, description string, does effect, run func(ctx context.Context, args A) (R, error), inputs ...mcp.ToolOption,
) server.ServerTool {
	options := append([]mcp.ToolOption{
		mcp.WithDescription(description), mcp.WithToolTitle(title), does.annotate(title), mcp.WithOutputSchema[R](),
	}, inputs...)
	handle := func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var args A
		if err := req.BindArguments(&args); err != nil {
			return mcp.NewToolResultError("The arguments do not fit: " + err.Error()), nil
		}
		result, err := run(ctx, args)
		if err != nil {
			return mcp.NewToolResultError(err.Error()), nil
		}
		return mcp.NewToolResultStructuredOnly(result), nil
	}
	return server.ServerTool{Tool: mcp.NewTool(name, options...), Handler: handle}
}
