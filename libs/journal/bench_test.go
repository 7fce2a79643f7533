package journal

import (
	"context"
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
						pair := [2]*eventsv1.Event{call("", fmt.Sprint(g), start), call("", fmt.Sprint(g), final)}
						for i := g; i < b.N; i += writers {
							ev := pair[i/writers%2]
							ev.Id = ""
							if err := w.Append(ev, mode); err != nil {
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

// nobody acknowledges everything.
type nobody struct{}

func (nobody) Publish(context.Context, []Message) error { return nil }

// BenchmarkShip reads records back and wraps them for Kafka; the figure is for one record.
func BenchmarkShip(b *testing.B) {
	w := openAt(b, Config{Dir: b.TempDir(), MaxBytes: 64 << 30})
	for i := range b.N {
		mustAppend(b, w, call("", "1", eventsv1.Phase(i%2+1)))
	}
	if err := w.sync(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	defer ship(b, w, nobody{})()
	eventually(b, "everything is shipped", func() bool { return w.Status().Shipped == uint64(b.N) })
}
