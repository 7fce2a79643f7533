package edge

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbageRoom is how many bytes of garbage an edge lets gather between two collections: it keeps little and makes much that is gone after a call.
	garbageRoom = 12 << 20
	// What that is of the heap that lives, in percent, has bounds: with little in the heap, less garbage is plenty; with much, the usual is.
	leastGarbage, mostGarbage = 100, 400
	lookAtHeapEvery           = time.Second
)

// collectLess paces the collector of this process for an edge until ctx ends, unless its operator does with GOGC.
func collectLess(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	before := debug.SetGCPercent(mostGarbage)
	defer debug.SetGCPercent(before)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(lookAtHeapEvery)
	defer tick.Stop()
	for now := mostGarbage; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		wanted := percent(live[0].Value.Uint64())
		if wanted < now*7/8 || wanted > now*9/8 { // setting it stops the world
			debug.SetGCPercent(wanted)
			now = wanted
		}
	}
}

// percent is how much garbage may gather for a heap of which so many bytes live.
func percent(live uint64) int {
	if live == 0 {
		return mostGarbage
	}
	return int(min(max(garbageRoom*100/live, leastGarbage), mostGarbage))
}
