package mcp_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

const (
	batchedNotice = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":["a]",{}]}}`
	batchedAnswer = `{"jsonrpc":"2.0","id":1,"result":{}}`
)

func TestABatchIsTakenApartInTheOneRevisionThatHasThem(t *testing.T) {
	batch := " [ " + batchedNotice + " ,\n" + batchedAnswer + "]"
	parts, err := mcp.Split([]byte(batch), mcp.V20250326, mcp.Limits{})
	require.NoError(t, err)
	require.Equal(t, []json.RawMessage{json.RawMessage(batchedNotice), json.RawMessage(batchedAnswer)}, parts)
	for _, version := range []string{mcp.V20260728, mcp.V20251125, mcp.V20250618, mcp.V20241105, ""} {
		parts, err := mcp.Split([]byte(batch), version, mcp.Limits{})
		require.NoError(t, err)
		require.Equal(t, []json.RawMessage{json.RawMessage(batch)}, parts, version)
	}
	for _, single := range []string{batchedNotice, "nonsense", `"["`} {
		parts, err := mcp.Split([]byte(single), mcp.V20250326, mcp.Limits{})
		require.NoError(t, err)
		require.Equal(t, []json.RawMessage{json.RawMessage(single)}, parts)
	}
}

func TestT19ABatchIsOneStrictBoundedArray(t *testing.T) {
	for name, batch := range map[string]string{
		"empty":          `[ ]`,
		"too many":       "[" + strings.Repeat("1,", 1024) + "1]",
		"something more": `[` + batchedAnswer + `]x`,
		"no comma":       `[` + batchedAnswer + batchedAnswer + `]`,
		"no end":         `[` + batchedAnswer,
		"a name twice":   `[` + batchedAnswer + `,{"a":1,"a":2}]`,
		"too deep":       `[` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `]`,
	} {
		parts, err := mcp.Split([]byte(batch), mcp.V20250326, mcp.Limits{})
		var e *mcp.Error
		require.ErrorAs(t, err, &e, name)
		require.LessOrEqual(t, len(parts), 1024, name)
		if strings.Contains(batch, batchedAnswer) {
			require.Equal(t, "1", string(mcp.FindID(bytes.NewReader(parts[0]))), name)
		}
	}
	_, err := mcp.ReadReply([]byte(`[`+batchedAnswer+`]`), mcp.Limits{}) // as a part of another
	require.Error(t, err)
}

// FuzzSplit holds Split to taking apart exactly the strict arrays, into what another reader finds in them.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("[" + batchedNotice + "," + batchedAnswer + "]"))
	f.Add([]byte(`[1,"]",[[]],{"a":[}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		parts, err := mcp.Split(body, mcp.V20250326, mcp.ReplyLimits())
		if err != nil || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
			return
		}
		var want []json.RawMessage
		if !mcp.Valid(body) || json.Unmarshal(body, &want) != nil || len(parts) != len(want) {
			t.Fatalf("took %q for %d messages", body, len(parts))
		}
		for i := range parts {
			if !bytes.Equal(parts[i], want[i]) {
				t.Fatalf("message %d of %q is %q", i, body, parts[i])
			}
		}
	})
}
