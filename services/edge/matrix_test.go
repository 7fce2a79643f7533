package edge_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	libmcp "headgate.dev/libs/mcp"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

// cellLimit bounds one cell: what takes longer hangs.
const cellLimit = 30 * time.Second

// impossible are the cells that no gateway can make work, whatever the client, with the error that the caller sees. A program that all callers share
// is offered nothing of any of them, so it cannot ask one; nor is its log one caller's. A client of 2026-07-28 wishes for a log with each request, which has
// no error for a wish that cannot be had.
var impossible = map[string]string{
	"elicitation/" + sharedColumn:                             "client does not support elicitation",
	"sampling/" + sharedColumn:                                "method not found",
	"log/" + sharedColumn:                                     "shared by all callers, so its log is nobody's",
	"log/" + sharedColumn + "/" + libmcp.V20260728:            "no log came",
	"log/" + libmcp.V20251125 + "/" + sharedColumn + amongAll: "no log came",
	"log/" + libmcp.V20250618 + "/" + sharedColumn + amongAll: "no log came",
	"log/" + libmcp.V20250326 + "/" + sharedColumn + amongAll: "no log came",
}

// amongAll marks a cell of the endpoint of all servers.
const amongAll = ", among all"

const sharedColumn = "stdio, shared"

// backs are the fixtures of the table by their columns, each a declared server of the same name.
func backs(t *testing.T, w *world) []string {
	tools := fixtureTools(t)
	add := func(column, url, scope string, program ...string) string {
		name := serverOf(column)
		w.server(name, url, tools, func(s *trustv1.ServerState) {
			s.Server.Spec.Timeout = "30s"
			if program != nil {
				s.Server.Spec.Stdio, s.SeenHash = &trustv1.Stdio{Command: program, Scope: scope}, "sha256:x"
			}
		})
		w.grant("person/ana", name, "*", "call")
		return column
	}
	var columns []string
	for _, revision := range []string{libmcp.V20260728, libmcp.V20251125, libmcp.V20250618, libmcp.V20250326} {
		f := newFixture(revision)
		handler := f.stateful()
		if libmcp.Modern(revision) {
			handler = f.stateless()
		}
		columns = append(columns, add(revision, serving(t, f, handler), ""))
	}
	elder := newFixture(libmcp.V20241105)
	columns = append(columns, add(libmcp.V20241105, serving(t, elder, elder.elder()), ""))
	for _, revision := range []string{libmcp.V20260728, libmcp.V20251125} {
		columns = append(columns, add("stdio, "+revision, "", "person", os.Args[0], fixtureProgram, revision))
	}
	columns = append(columns, add(sharedColumn, "", "shared", os.Args[0], fixtureProgram, libmcp.V20251125))
	return columns
}

// serverOf names the server of a column.
func serverOf(column string) string { return "s-" + strings.ReplaceAll(column, ", ", "-") }

func TestEveryRevisionWorksWithEveryRevision(t *testing.T) {
	w := newWorld(t)
	w.person("ana", nil)
	columns := backs(t, w)
	h := start(t, w, func(c *edge.Config) { c.Stdio.Allow = [][]string{{os.Args[0], fixtureProgram}} })
	cells := h.everyCell(t, columns, func(t *testing.T, front string) func(t *testing.T, column string) *visitor {
		return func(t *testing.T, column string) *visitor {
			return h.visit(t, "ana", "/mcp/"+serverOf(column), front, answers{name: "eve"})
		}
	})
	if t.Failed() {
		return
	}
	table := matrix(columns, cells)
	t.Log("\n" + table)
	documented(t, "../../docs/protocol.md", table)
	// There is one table, and a sentence for each cell in which the endpoint of all servers is not like a server's own.
	for cell := range cells {
		if said, ok := impossible[cell+amongAll]; ok {
			cells[cell] = "no: " + said
		}
	}
	headgate := people(t)
	for way, over := range map[string]func(t *testing.T) sdk.Transport{
		"at the endpoint of all servers": func(t *testing.T) sdk.Transport { return h.overHTTP(t, "ana", "/mcp") },
		"through headgate stdio":         func(t *testing.T) sdk.Transport { return h.overBridge(t, headgate, "ana") },
	} {
		t.Run(way, func(t *testing.T) {
			got := h.everyCell(t, columns, func(t *testing.T, front string) func(t *testing.T, column string) *visitor {
				v := visit(t, over(t), front, answers{name: "eve"})
				return func(_ *testing.T, column string) *visitor { return v.at(serverOf(column), len(columns)) }
			})
			if want := matrix(columns, cells); !t.Failed() && matrix(columns, got) != want {
				t.Errorf("%s\nnot\n%s", matrix(columns, got), want)
			}
		})
	}
}

// everyCell tries all features of all servers as clients of every revision. What begins a client's stay says how it comes to each server.
func (h *harness) everyCell(t *testing.T, columns []string, begin func(t *testing.T, front string) func(t *testing.T, column string) *visitor) map[string]string {
	cells := map[string]string{}
	for _, front := range libmcp.Supported() {
		t.Run(front, func(t *testing.T) {
			visitor := begin(t, front)
			for _, column := range columns {
				t.Run(column, func(t *testing.T) {
					v := visitor(t, column)
					for _, feature := range features {
						cells[feature.name+"/"+front+"/"+column] = v.cell(t, feature.name, column, front, feature.try)
					}
				})
			}
		})
	}
	return cells
}

// people builds the program that people have, for its bridge.
func people(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "headgate")
	if out, err := exec.Command("go", "build", "-o", path, "headgate.dev/services/headgate").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}

// overBridge is the way of a client that only knows stdio: headgate stdio, as the client starts it.
func (h *harness) overBridge(t *testing.T, headgate, person string) sdk.Transport {
	said := &locked{}
	cmd := exec.Command(headgate, "stdio")
	cmd.Env = append(os.Environ(), "HEADGATE_MCP="+h.base+"/mcp", "HEADGATE_TOKEN="+h.tokenFor(person, h.base+"/mcp", nil))
	cmd.Stderr = said
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(said)
		}
	})
	return &sdk.CommandTransport{Command: cmd}
}

// cell runs one feature and answers what the table says of it.
func (v *visitor) cell(t *testing.T, feature, column, front string, try func(context.Context, *visitor) error) string {
	t.Helper()
	cell := feature + "/" + column
	v.patience = cellLimit
	want, cannot := impossible[cell+"/"+front]
	if among, ok := impossible[feature+"/"+front+"/"+column+amongAll]; ok && v.of != "" {
		want, cannot = among, true
	}
	if !cannot {
		want, cannot = impossible[cell]
	}
	if cannot {
		v.patience = 300 * time.Millisecond // where nothing comes, nothing is what is waited for
	}
	ctx, cancel := context.WithTimeout(context.Background(), cellLimit)
	defer cancel()
	switch err := try(ctx, v); {
	case err == nil && !cannot:
		return "yes"
	case cannot && err != nil && strings.Contains(err.Error(), want):
		return "no: " + want
	case cannot:
		t.Errorf("%s: %v, but it is documented to answer %q", cell, err, want)
	default:
		t.Errorf("%s: %v", cell, err)
	}
	return "broken"
}

// matrix is the table of the documentation: one row for a feature where all clients are alike, else one for each client.
func matrix(columns []string, cells map[string]string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "| feature | client | %s |\n|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, feature := range features {
		rows := map[string]string{}
		for _, front := range libmcp.Supported() {
			for _, column := range columns {
				rows[front] += " " + cells[feature.name+"/"+front+"/"+column] + " |"
			}
		}
		first := rows[libmcp.V20260728]
		if alike := !slices.ContainsFunc(libmcp.Supported(), func(front string) bool { return rows[front] != first }); alike {
			fmt.Fprintf(&out, "| %s | all |%s\n", feature.name, first)
			continue
		}
		for _, front := range libmcp.Supported() {
			fmt.Fprintf(&out, "| %s | %s |%s\n", feature.name, front, rows[front])
		}
	}
	return out.String()
}

// documented holds a table of the documentation, between two marks, to what was found. With HEADGATE_TEST_UPDATE it is written there.
func documented(t *testing.T, file, table string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	before, rest, ok := strings.Cut(string(text), "<!-- matrix -->\n")
	_, after, found := strings.Cut(rest, "<!-- end of matrix -->")
	if !ok || !found {
		t.Fatalf("%s has no place for the matrix", file)
	}
	want := before + "<!-- matrix -->\n" + table + "<!-- end of matrix -->" + after
	switch {
	case want == string(text):
	case os.Getenv("HEADGATE_TEST_UPDATE") != "":
		must(t, os.WriteFile(file, []byte(want), 0o644))
	default:
		t.Errorf("%s says something else. Run the test with HEADGATE_TEST_UPDATE=1 and look at the difference.", file)
	}
}
