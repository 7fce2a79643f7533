package mcp_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

func TestT19NamesInParamsThatDifferOnlyByCaseAreRefused(t *testing.T) {
	for _, name := range []string{"Arguments", "ARGUMENTS", "argument\u017f", "Name", "_Meta", "Uri", "taskid"} {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","` + name + `":{"a":1}}}`
		e := refusal(t, body)
		require.Equal(t, http.StatusBadRequest, e.HTTPStatus, name)
		require.Contains(t, e.Message, "case-sensitive", name)
	}
	_, err := mcp.Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"Arguments":1,"NAME":2},"extra":true}}`), mcp.DefaultLimits())
	require.NoError(t, err, "names inside the arguments are the tool's own")
}
