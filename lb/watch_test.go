package lb

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// news is a watcher of what a test tells.
type news struct {
	changing
	watches int // guarded by mu
	tell    chan func(update func([]Endpoint, error)) error
}

func newNews(endpoints ...Endpoint) *news {
	return &news{changing: changing{endpoints: endpoints}, tell: make(chan func(func([]Endpoint, error)) error)}
}

// Watch does as it is told until that is an error.
func (n *news) Watch(ctx context.Context, update func([]Endpoint, error)) error {
	n.mu.Lock()
	n.watches++
	n.mu.Unlock()
	for {
		select {
		case what := <-n.tell:
			if err := what(update); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// endpoints tells the watch these, or an error, and waits until that has been seen.
func (n *news) update(endpoints []Endpoint, err error) {
	n.tell <- func(update func([]Endpoint, error)) error {
		update(endpoints, err)
		return nil
	}
	synctest.Wait()
}

// ids returns those of the endpoints of b.
func ids(b *Balancer) string {
	var all []string
	for _, e := range b.Stats().Endpoints {
		all = append(all, e.ID)
	}
	return strings.Join(all, " ")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNews(Addrs("z:80")...)
		var logs lockedBuffer
		b := mustNew(t, n, &Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		start(t, b)
		if n.calls != 0 {
			t.Errorf("%d calls of Resolve, want 0", n.calls)
		}
		if err := b.await(t.Context()); err != nil || ids(b) != "z:80" || n.calls != 1 {
			t.Errorf("waited until %v for %s, by %d calls of Resolve, want z:80 by 1", err, ids(b), n.calls)
		}
		for _, tt := range []struct {
			endpoints []Endpoint
			err       error
			want      string
		}{
			{Addrs("b:80", "a:80"), nil, "a:80 b:80"},
			{nil, nil, "a:80 b:80"},
			{nil, errors.New("broken"), "a:80 b:80"},
			{Addrs("c:80"), errors.New("broken"), "a:80 b:80"},
			{Addrs("c"), nil, "a:80 b:80"},
			{Addrs("c:80"), nil, "c:80"},
		} {
			n.update(tt.endpoints, tt.err)
			if got := ids(b); got != tt.want {
				t.Errorf("endpoints after %v, %v are %s, want %s", tt.endpoints, tt.err, got, tt.want)
			}
		}
		time.Sleep(time.Hour)
		if s := b.Stats(); s.Resolved != 3 || s.Unresolved != 4 || n.calls != 1 || n.watches != 1 {
			t.Errorf("stats are %+v after %d calls of Resolve and %d of Watch, want 3 and 4 after 1 and 1", s, n.calls, n.watches)
		}
		if got := strings.Count(logs.String(), "endpoints not resolved"); got != 4 {
			t.Errorf("%d warnings, want 4:\n%s", got, logs.String())
		}
	})
}

// A watch that ends begins again: soon if it has lasted, and ever later if not.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		var logs lockedBuffer
		b := mustNew(t, n, &Options{Refresh: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		start(t, b)
		n.update(Addrs("a:80"), nil)
		for i, end := range []struct {
			lasts time.Duration
			what  func(func([]Endpoint, error)) error
			most  time.Duration
		}{
			{time.Hour, func(func([]Endpoint, error)) error { return errors.New("cut off") }, time.Second},
			{0, func(func([]Endpoint, error)) error { panic("oops") }, 2 * time.Second},
			{time.Second, func(func([]Endpoint, error)) error { return errors.New("cut off") }, 4 * time.Second},
			{9 * time.Second, func(func([]Endpoint, error)) error { return errors.New("cut off") }, 8 * time.Second},
			{0, func(func([]Endpoint, error)) error { return errors.New("cut off") }, 10 * time.Second},
			{0, func(func([]Endpoint, error)) error { return errors.New("cut off") }, 10 * time.Second},
			{10 * time.Second, func(func([]Endpoint, error)) error { return errors.New("cut off") }, time.Second},
		} {
			time.Sleep(end.lasts)
			n.tell <- end.what
			began := time.Now()
			n.tell <- func(func([]Endpoint, error)) error { return nil } // taken once it watches again
			if took := time.Since(began); took < end.most/2 || took > end.most {
				t.Errorf("it watches again %v after it ended for the %dth time, want %v to %v", took, i+1, end.most/2, end.most)
			}
		}
		if s := b.Stats(); s.Unresolved != 7 || s.Resolved != 1 || ids(b) != "a:80" {
			t.Errorf("stats are %+v, want 7 failures, and the endpoint that was", s)
		}
		if got := logs.String(); !strings.Contains(got, "the resolver panicked: oops") || !strings.Contains(got, "cut off") {
			t.Errorf("the log does not tell why:\n%s", got)
		}
	})
}

// returning is a watcher that ends at once and gives no reason.
type returning struct{ Static }

func (returning) Watch(context.Context, func([]Endpoint, error)) error { return nil }

func TestWatchEndsForNoReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logs lockedBuffer
		b := mustNew(t, returning{Addrs("a:80")}, &Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		start(t, b)
		time.Sleep(time.Hour)
		if n := b.Stats().Unresolved; n < 100 || n > 260 || !strings.Contains(logs.String(), errWatchEnded.Error()) {
			t.Errorf("%d watches ended in an hour, want one in 15 to 30 seconds, and a log that says so", n)
		}
	})
}

// A call of Resolve that began before a watch told of something does not replace it.
func TestWatchIsNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		b := mustNew(t, slow{n}, nil)
		start(t, b)
		done := make(chan error)
		go func() { done <- b.await(t.Context()) }()
		synctest.Wait()
		n.tell <- func(update func([]Endpoint, error)) error {
			update(Addrs("new:80"), nil)
			return nil
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := ids(b); got != "new:80" {
			t.Errorf("endpoints are %s, want new:80", got)
		}
	})
}

// slow is a watcher whose Resolve takes a second, and tells what was before.
type slow struct{ *news }

func (slow) Resolve(context.Context) ([]Endpoint, error) {
	time.Sleep(time.Second)
	return Addrs("old:80"), nil
}

// A subset of what is watched is watched.
func TestWatchSubset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		r, err := NewSubset(n, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		b := mustNew(t, r, nil)
		start(t, b)
		n.update(Addrs("a:80", "b:80", "c:80", "d:80"), nil)
		before := ids(b)
		if len(b.Stats().Endpoints) != 2 {
			t.Errorf("endpoints are %s, want 2 of 4", before)
		}
		n.update(nil, errors.New("broken"))
		if got := ids(b); got != before {
			t.Errorf("endpoints after an error are %s, want %s", got, before)
		}
		n.update(Addrs("e:80"), nil)
		if got := ids(b); got != "e:80" {
			t.Errorf("endpoints are %s, want e:80", got)
		}
	})
	if r, err := NewSubset(Addrs("a:80"), 0, 1); err != nil {
		t.Error(err)
	} else if _, ok := r.(Watcher); ok {
		t.Error("a subset of what does not change is a Watcher")
	}
}

// What a watch tells when its context has ended comes too late.
func TestWatchThatTellsTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 20 { // a choice by chance would do it half the times
			b := mustNew(t, watched{Addrs("a:80"), func(ctx context.Context, update func([]Endpoint, error)) error {
				update(Addrs("a:80"), nil)
				<-ctx.Done()
				update(Addrs("late:80"), nil)
				return ctx.Err()
			}}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := b.Run(ctx); err != nil || ids(b) != "a:80" {
				t.Fatalf("Run returned %v and left %s, want nil and a:80", err, ids(b))
			}
			cancel()
		}
	})
}
