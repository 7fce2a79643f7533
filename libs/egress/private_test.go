package egress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/egress"
)

func TestT18WhatOthersOnTheWayCanReadIsNotPrivate(t *testing.T) {
	for address, want := range map[string]bool{
		"https://a.example/mcp": true, "http://127.0.0.1:9400/mcp": true, "http://127.3.2.1/mcp": true, "http://[::1]:9400/mcp": true, "http://localhost:80/": true,
		"http://a.example/mcp": false, "http://192.0.2.2:9400/mcp": false, "http://10.0.0.1/": false, "http://localhost.a.example/": false, "http://127.1/": false,
		"http://[2001:db8::1]/": false, "ftp://127.0.0.1/": false, "127.0.0.1:80": false, "": false,
	} {
		require.Equal(t, want, egress.Private(address), address)
	}
}
