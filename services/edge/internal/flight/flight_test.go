package flight

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestThoseWhoComeMeanwhileShareOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		defer g.Close()
		attempts := 0
		release := make(chan struct{})
		answers := make(chan int, 3)
		for range 3 {
			go func() {
				got, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) {
					attempts++
					<-release
					return 7, nil
				})
				if err != nil {
					t.Error(err)
				}
				answers <- got
			}()
		}
		synctest.Wait()
		close(release)
		for range 3 {
			if got := <-answers; got != 7 {
				t.Errorf("%d", got)
			}
		}
		if attempts != 1 {
			t.Errorf("%d attempts", attempts)
		}
	})
}

func TestWhoWaitsStopsWithItsOwnContextAndTheAttemptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		release := make(chan struct{})
		get := func(context.Context) (int, error) {
			<-release
			return 7, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := g.Do(ctx, "k", time.Minute, get); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("waited %s", took)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := g.Do(gone, "k", time.Minute, get); !fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
			t.Errorf("%v", err)
		}
		close(release)
		if got, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) { return 8, nil }); got != 7 && got != 8 || err != nil {
			t.Errorf("%d %v", got, err)
		}
		g.Close()
	})
}

func TestCloseEndsWhatRunsAndBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		ended := make(chan error, 1)
		go func() {
			_, err := g.Do(t.Context(), "k", time.Hour, func(ctx context.Context) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			})
			ended <- err
		}()
		synctest.Wait()
		g.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if _, err := g.Do(t.Context(), "k", time.Hour, func(context.Context) (int, error) { return 1, nil }); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
			t.Errorf("%v", err)
		}
	})
}

func TestAnAttemptEndsAfterItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		defer g.Close()
		began := time.Now()
		_, err := g.Do(t.Context(), "k", 3*time.Second, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
