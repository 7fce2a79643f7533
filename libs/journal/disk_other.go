//go:build !linux

package journal

import "os"

func datasync(f *os.File) error { return f.Sync() }

func reserve(*os.File, int64, int64) (bool, error) { return false, nil }
