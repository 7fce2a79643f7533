package mcp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

func TestZeroIsZeroWhateverItsExponent(t *testing.T) {
	for _, spelling := range []string{"0", "-0", "0.0", "0e0", "0E7000000000", "-0.000e-99999999999"} {
		got, err := mcp.Canonical([]byte(spelling))
		require.NoError(t, err)
		require.Equal(t, "0", string(got), spelling)
	}
}
