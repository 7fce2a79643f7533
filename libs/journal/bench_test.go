package journal

import (
	"fmt"
	"sync"
	"testing"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// BenchmarkAppend makes the two records of a call; the figure is for one record.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []Mode{Spool, Strict} {
		for _, writers := range []int{1, 16, 64} {
			name := map[Mode]string{Spool: "spool", Strict: "strict"}[mode]
			b.Run(fmt.Sprintf("%s/%d", name, writers), func(b *testing.B) {
				w := openAt(b, Config{Dir: b.TempDir(), MaxBytes: 64 << 30})
				runUntilEnd(b, w)
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for g := range writers {
					wg.Go(func() {
						for i := g; i < b.N; i += writers {
							phase := eventsv1.Phase(i/writers%2 + 1)
							if err := w.Append(call("", fmt.Sprint(g), phase), mode); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
