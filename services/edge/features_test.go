package edge_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	libmcp "headgate.dev/libs/mcp"
)

// features are what every client can do with every server, in the order of the table.
var features = []struct {
	name string
	try  func(ctx context.Context, v *visitor) error
}{
	{"list", tryList}, {"list of two pages", tryPages}, {"call", tryCall}, {"error", tryError}, {"progress", tryProgress}, {"200 notices", tryNotices}, {"cancel", tryCancel}, {"elicitation", tryElicitation},
	{"sampling", trySampling}, {"subscription", trySubscription}, {"resource read", tryRead}, {"resource link", tryLink}, {"prompt", tryPrompt}, {"completion", tryCompletion},
	{"log", tryLog}, {"big payload", tryBig},
}

func differ(what string, got, want any) error {
	return fmt.Errorf("%s: %v, not %v", what, got, want)
}

// tryList finds all of a server's things, and under their names: at the endpoint of all servers among those of the others, and nothing twice.
func tryList(ctx context.Context, v *visitor) error {
	tools, prompts, resources, templates := []string{}, []string{}, []string{}, []string{}
	for one, err := range v.Tools(ctx, nil) {
		if err != nil {
			return err
		}
		tools = append(tools, one.Name)
	}
	for one, err := range v.Prompts(ctx, nil) {
		if err != nil {
			return err
		}
		if prompts = append(prompts, one.Name); len(one.Arguments) != 1 {
			return differ("arguments of "+one.Name, len(one.Arguments), 1)
		}
	}
	for one, err := range v.Resources(ctx, nil) {
		if err != nil {
			return err
		}
		resources = append(resources, one.URI)
	}
	for one, err := range v.ResourceTemplates(ctx, nil) {
		if err != nil {
			return err
		}
		templates = append(templates, one.URITemplate)
	}
	for _, one := range []struct {
		what              string
		got, own, visible []string
	}{
		{"tools", tools, fixtureNames(), v.all(v.named, fixtureNames())},
		{"prompts", prompts, []string{"greet"}, []string{v.named("greet")}},
		{"resources", resources, fixtureURIs(), v.all(v.uri, fixtureURIs())},
		{"templates", templates, []string{dayURI}, []string{v.uri(dayURI)}},
	} {
		if got := v.mine(one.got); !slices.Equal(got, one.visible) {
			return differ(one.what, got, one.visible)
		}
		if want := len(one.own) * max(1, v.servers); len(one.got) != want {
			return differ(one.what+" of all servers", len(one.got), want)
		}
	}
	return nil
}

// tryPages follows a list that each server gives on two pages. At the endpoint of all servers, a page has one page of each.
func tryPages(ctx context.Context, v *visitor) error {
	first, err := v.ListResources(ctx, nil)
	if err != nil {
		return err
	}
	servers := max(1, v.servers)
	if first.NextCursor == "" || len(first.Resources) != pageSize*servers {
		return differ("resources on the first page", len(first.Resources), pageSize*servers)
	}
	second, err := v.ListResources(ctx, &sdk.ListResourcesParams{Cursor: first.NextCursor})
	if err != nil {
		return err
	}
	if want := (len(fixtureURIs()) - pageSize) * servers; second.NextCursor != "" || len(second.Resources) != want {
		return differ("resources on the second page", len(second.Resources), want)
	}
	return nil
}

func tryCall(ctx context.Context, v *visitor) error {
	const arguments = `{"value":{"n":9007199254740993,"t":"é"}}`
	text, err := v.tool(ctx, "echo", arguments)
	if err == nil && text != arguments {
		return differ("echo", text, arguments)
	}
	return err
}

func tryError(ctx context.Context, v *visitor) error {
	result, text, err := v.toolWith(ctx, "fail", `{}`, nil)
	if err != nil {
		return err
	}
	if !result.IsError || text != "out of paper" {
		return differ("a tool's own error", text, "out of paper")
	}
	_, err = v.tool(ctx, "refuse", `{}`)
	if wire := wireError(err); wire == nil || wire.Code != ownCode || wire.Message != "no such tray" || string(wire.Data) != `{"tray":2}` {
		return differ("an error of the protocol", err, "the server's")
	}
	_, err = v.tool(ctx, "no-such-tool", `{}`)
	if wire := wireError(err); wire == nil || wire.Code != libmcp.CodeInvalidParams || wire.Message != "Unknown tool: "+v.named("no-such-tool") {
		return differ("a tool that is not there", err, "-32602")
	}
	_, err = v.ReadResource(ctx, &sdk.ReadResourceParams{URI: v.uri("memo://days/never")})
	if wire := wireError(err); wire == nil || wire.Code != libmcp.CodeInvalidParams || wire.Message != "Resource not found" {
		return differ("a resource that is not there", err, "the server's -32602")
	}
	return nil
}

func tryProgress(ctx context.Context, v *visitor) error {
	for _, token := range []any{"p-1", 7} {
		if err := v.counted(ctx, token, 3); err != nil {
			return err
		}
	}
	return nil
}

// tryNotices is told of one call more than any queue on the way holds, in order and with none left out.
func tryNotices(ctx context.Context, v *visitor) error { return v.counted(ctx, "many", manyNotices) }

// counted hears each notice of progress of one call.
func (v *visitor) counted(ctx context.Context, token any, notices int) error {
	if _, _, err := v.toolWith(ctx, "count", fmt.Sprintf(`{"value":%d}`, notices), sdk.Meta{"progressToken": token}); err != nil {
		return err
	}
	for i := range notices {
		select {
		case got := <-v.progress:
			if got != float64(i+1) {
				return differ("progress", got, i+1)
			}
		case <-ctx.Done():
			return fmt.Errorf("notice %d of progress did not come", i+1)
		}
	}
	return nil
}

// tryLink reads what a tool's result points to, by the name that the link gives it.
func tryLink(ctx context.Context, v *visitor) error {
	result, _, err := v.toolWith(ctx, "link", `{}`, nil)
	if err != nil {
		return err
	}
	if len(result.Content) != 2 {
		return differ("contents", len(result.Content), 2)
	}
	link, isLink := result.Content[0].(*sdk.ResourceLink)
	embedded, isEmbedded := result.Content[1].(*sdk.EmbeddedResource)
	if !isLink || !isEmbedded || link.URI != v.uri(noteURI) || embedded.Resource.URI != v.uri(noteURI) || embedded.Resource.Text != "embedded" {
		return differ("the link and what is embedded", result.Content, v.uri(noteURI))
	}
	read, err := v.ReadResource(ctx, &sdk.ReadResourceParams{URI: link.URI})
	if err != nil {
		return fmt.Errorf("read %s: %w", link.URI, err)
	}
	if len(read.Contents) != 1 || read.Contents[0].Text != "buy paper" || read.Contents[0].URI != link.URI {
		return differ(link.URI, read.Contents, "the note")
	}
	return nil
}

// tryCancel gives up a call that has begun and asks the server whether it noticed.
func tryCancel(ctx context.Context, v *visitor) error {
	before, err := v.counts(ctx)
	if err != nil {
		return err
	}
	calling, giveUp := context.WithCancel(ctx)
	defer giveUp()
	over := make(chan error, 1)
	go func() {
		_, err := v.tool(calling, "slow", `{}`)
		over <- err
	}()
	if err := v.until(ctx, "the call begins", func(now [2]int) bool { return now[0] == before[0]+1 }); err != nil {
		giveUp()
		<-over
		return err
	}
	giveUp()
	if err := <-over; err == nil {
		return fmt.Errorf("the call was not given up")
	}
	return v.until(ctx, "the server notices", func(now [2]int) bool { return now[1] == before[1]+1 })
}

// counts are how many slow calls the server began, and how many were given up.
func (v *visitor) counts(ctx context.Context) (now [2]int, err error) {
	text, err := v.tool(ctx, "given_up", `{}`)
	if err == nil {
		_, err = fmt.Sscanf(text, "%d %d", &now[0], &now[1])
	}
	return now, err
}

func (v *visitor) until(ctx context.Context, what string, holds func(now [2]int) bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := v.counts(ctx)
		if err != nil {
			return err
		}
		if holds(now) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not in time: %s", what)
		}
	}
}

func tryElicitation(ctx context.Context, v *visitor) error {
	text, err := v.tool(ctx, "ask", `{}`)
	if err != nil {
		return err
	}
	if question := <-v.asked; text != "hello eve" || question != v.question("Who are you?") {
		return differ("the answer to "+question, text, "hello eve")
	}
	text, err = v.tool(ctx, "ask_twice", `{}`)
	if err != nil {
		return err
	}
	if first, second := <-v.asked, <-v.asked; text != "eve and eve" || first != v.question("First?") || second != v.question("Second?") {
		return differ("the answers to "+first+" and "+second, text, "eve and eve")
	}
	return nil
}

func trySampling(ctx context.Context, v *visitor) error {
	text, err := v.tool(ctx, "sample", `{}`)
	if err != nil {
		return err
	}
	if question := <-v.asked; text != "the model says Paris" || question != "What is the capital of France?" {
		return differ("the answer to "+question, text, "the model says Paris")
	}
	return nil
}

// trySubscription hears of a change, and of no other after it is not subscribed any more. That nothing comes is known by what comes later: a change of
// another resource, made after one of the first that must not be heard of. The SDK's clients of 2026-07-28 end a subscription without waiting for it, so
// with them the first changes may still come, and silence has to follow.
func trySubscription(ctx context.Context, v *visitor) error {
	if err := v.Subscribe(ctx, &sdk.SubscribeParams{URI: v.uri(noteURI)}); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if _, err := v.hears(ctx, change{noteURI, "before"}); err != nil {
		return err
	}
	if err := v.Unsubscribe(ctx, &sdk.UnsubscribeParams{URI: v.uri(noteURI)}); err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	if err := v.touches(ctx, change{noteURI, "after"}); err != nil {
		return err
	}
	if err := v.Subscribe(ctx, &sdk.SubscribeParams{URI: v.uri(imageURI)}); err != nil {
		return fmt.Errorf("subscribe to another: %w", err)
	}
	for round, silent := 0, 0; silent < 3; round++ {
		others, err := v.hears(ctx, change{imageURI, strconv.Itoa(round)})
		if err != nil {
			return err
		}
		silent++
		if slices.Contains(others, change{v.uri(noteURI), "after"}) {
			if v.InitializeResult().ProtocolVersion != libmcp.V20260728 {
				return fmt.Errorf("a change was heard of after its subscription had ended")
			}
			silent = 0
		}
		if err := v.touches(ctx, change{noteURI, "after"}); err != nil {
			return err
		}
	}
	return v.Unsubscribe(ctx, &sdk.UnsubscribeParams{URI: v.uri(imageURI)})
}

func (v *visitor) touches(ctx context.Context, what change) error {
	if _, err := v.tool(ctx, "touch", `{"value":{"uri":"`+what.uri+`","mark":"`+what.mark+`"}}`); err != nil {
		return fmt.Errorf("touch %s %s: %w", what.uri, what.mark, err)
	}
	return nil
}

// hears changes a resource until that is heard of, and answers what else was.
func (v *visitor) hears(ctx context.Context, what change) (others []change, err error) {
	// Whoever subscribes is told of changes from some moment on: the standing stream may not be open yet.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := v.touches(ctx, what); err != nil {
			return nil, err
		}
		for waits := true; waits; {
			select {
			case got := <-v.updated:
				if got == (change{v.uri(what.uri), what.mark}) {
					return others, nil
				}
				others = append(others, got)
			case <-tick.C:
				waits = false
			case <-ctx.Done():
				return nil, fmt.Errorf("no change of %s was heard of", what.uri)
			}
		}
	}
}

func tryRead(ctx context.Context, v *visitor) error {
	for uri, want := range map[string]*sdk.ResourceContents{
		noteURI:              {URI: noteURI, MIMEType: "text/plain", Text: "buy paper"},
		imageURI:             {URI: imageURI, MIMEType: "image/png", Blob: []byte{0, 1, 0xfe, 0xff}},
		"memo://days/monday": {URI: "memo://days/monday", MIMEType: "text/plain", Text: "nothing on monday"},
	} {
		result, err := v.ReadResource(ctx, &sdk.ReadResourceParams{URI: v.uri(uri)})
		if err != nil {
			return err
		}
		if len(result.Contents) != 1 {
			return differ(uri, len(result.Contents), "one content")
		}
		got := result.Contents[0]
		if got.URI != v.uri(want.URI) || got.MIMEType != want.MIMEType || got.Text != want.Text || !bytes.Equal(got.Blob, want.Blob) {
			return differ(uri, *got, *want)
		}
	}
	return nil
}

func tryPrompt(ctx context.Context, v *visitor) error {
	result, err := v.GetPrompt(ctx, &sdk.GetPromptParams{Name: v.named("greet"), Arguments: map[string]string{"name": "eve"}})
	if err != nil {
		return err
	}
	if text, ok := result.Messages[0].Content.(*sdk.TextContent); !ok || len(result.Messages) != 1 || text.Text != "Greet eve." {
		return differ("the prompt", result.Messages, "Greet eve.")
	}
	return nil
}

func tryCompletion(ctx context.Context, v *visitor) error {
	for _, one := range []struct {
		ref   *sdk.CompleteReference
		begun string
		want  []string
	}{
		{&sdk.CompleteReference{Type: "ref/prompt", Name: v.named("greet")}, "a", []string{"ana", "anton"}},
		{&sdk.CompleteReference{Type: "ref/resource", URI: v.uri(dayURI)}, "tu", []string{"tuesday"}},
	} {
		result, err := v.Complete(ctx, &sdk.CompleteParams{Ref: one.ref, Argument: sdk.CompleteParamsArgument{Name: "name", Value: one.begun}})
		if err != nil {
			return err
		}
		if !slices.Equal(result.Completion.Values, one.want) {
			return differ("completion", result.Completion.Values, one.want)
		}
	}
	return nil
}

// tryLog hears the server's log from the level on that the client sets, in the way of its revision.
func tryLog(ctx context.Context, v *visitor) error {
	meta := sdk.Meta{libmcp.MetaLogLevel: "info"}
	if v.InitializeResult().ProtocolVersion != libmcp.V20260728 {
		meta = nil
		if err := v.SetLoggingLevel(ctx, &sdk.SetLoggingLevelParams{Level: "info"}); err != nil {
			return err
		}
	}
	if _, _, err := v.toolWith(ctx, "log", `{}`, meta); err != nil {
		return err
	}
	select {
	case got := <-v.logged:
		if got != "paper is low" {
			return differ("the log", got, "paper is low")
		}
	case <-time.After(v.patience):
		return fmt.Errorf("no log came")
	}
	return nil
}

func tryBig(ctx context.Context, v *visitor) error {
	arguments := `{"value":"` + strings.Repeat("0123456789abcdef", 1<<16) + `"}`
	text, err := v.tool(ctx, "echo", arguments)
	if err == nil && text != arguments {
		return differ("a megabyte", strconv.Itoa(len(text))+" bytes", "the same")
	}
	return err
}
