//go:build external

package ledger_test

import (
	"os"
	"testing"
)

func TestExternalBuckets(t *testing.T) {
	url := os.Getenv("HEADGATE_TEST_S3")
	if url == "" {
		t.Fatal("HEADGATE_TEST_S3 must be the URL of an object store (tools/engines/moto)")
	}
	for name, holds := range bucketSuite {
		t.Run(name, func(t *testing.T) { holds(t, with(t, url)) })
	}
}
