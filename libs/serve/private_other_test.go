//go:build !linux

package serve

func program([]string) bool { return false }
