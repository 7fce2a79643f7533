package ids_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"

	"headgate.dev/libs/ids"
)

func TestIDsOfASourceAreAllDifferentAndOfVersion7(t *testing.T) {
	var source ids.Source
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				id := source.New()
				parsed, err := uuid.Parse(id)
				if err != nil || parsed.Version() != 7 {
					t.Errorf("%s is not a UUID of version 7: %v", id, err)
				}
				mu.Lock()
				if seen[id] {
					t.Errorf("%s was made twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(seen) != 16_000 {
		t.Errorf("%d ids", len(seen))
	}
}
