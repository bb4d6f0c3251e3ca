package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func concurrency(t *testing.T, limit InFlight, o *ConcurrencyOptions) *Concurrency {
	t.Helper()
	c, err := NewConcurrency(limit, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hold acquires n places.
func hold(t *testing.T, c *Concurrency, n int, claim Claim) []Token {
	t.Helper()
	var tokens []Token
	for i := range n {
		token, err := c.Acquire(t.Context(), claim)
		if err != nil {
			t.Fatalf("place %d of %d: %v", i+1, n, err)
		}
		tokens = append(tokens, token)
	}
	return tokens
}

func TestNewConcurrencyNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, err := NewConcurrency(InFlight{Min: 0, Max: -1, Initial: 5}, &ConcurrencyOptions{
		Name: "\n", Queue: -1, QueueWait: -1, RetryAfter: -1, Mode: 10_000,
	})
	if err == nil {
		t.Fatal("bad fields are accepted")
	}
	for _, field := range []string{"InFlight.Min is 0", "InFlight.Max is -1", "InFlight.Initial is 5", "Name is", "Queue is -1", "QueueWait is", "RetryAfter is", "Mode:"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("error is %q, want it to name %q", err, field)
		}
	}
}

func TestConcurrencyAdmitsUpToTheLimit(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(3), &ConcurrencyOptions{Name: "api"})
	tokens := hold(t, c, 3, Claim{})
	_, err := c.Acquire(t.Context(), Claim{})
	rejection, ok := errors.AsType[*uprung.Rejection](err)
	if !ok || !errors.Is(err, ErrBusy) || rejection.Kind != uprung.KindConcurrency || rejection.Name != "api" || rejection.RetryAfter != time.Second {
		t.Errorf("error is %v, want a rejection for ErrBusy", err)
	}
	if got := c.Saturation(); got != 1 {
		t.Errorf("saturation is %v, want 1", got)
	}
	tokens[0].Release(uprung.Success)
	hold(t, c, 1, Claim{})
	want := ConcurrencyStats{Admitted: 4, Refused: 1, InFlight: 3, Limit: 3}
	if got := c.Stats(); got != want {
		t.Errorf("stats are %+v, want %+v", got, want)
	}
}

func TestConcurrencyRefusesWhatCameTooLate(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(1), nil)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := c.Acquire(ctx, Claim{}); !errors.Is(err, ErrExpired) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want ErrExpired", err)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := c.Acquire(left, Claim{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
	if got := c.Stats(); got.Expired != 1 || got.Admitted != 0 || got.InFlight != 0 {
		t.Errorf("stats are %+v, want one expired", got)
	}
}

func TestConcurrencyModes(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(1), &ConcurrencyOptions{Mode: uprung.Shadow})
	tokens := hold(t, c, 3, Claim{})
	if got := c.Stats(); got.ShadowRefused != 2 || got.InFlight != 3 {
		t.Errorf("stats are %+v, want two refused in the shadow", got)
	}
	if err := c.SetMode(uprung.Enforce); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(t.Context(), Claim{}); !errors.Is(err, ErrBusy) {
		t.Errorf("error is %v, want ErrBusy once it is enforced", err)
	}
	_ = c.SetMode(uprung.Off)
	off := hold(t, c, 1, Claim{})
	for _, token := range append(tokens, off...) {
		token.Release(uprung.Success)
	}
	if got := c.Stats().InFlight; got != 0 {
		t.Errorf("%d in flight, want none", got)
	}
	if err := c.SetMode(-7); err == nil || c.Mode() != uprung.Off {
		t.Errorf("mode is %v after a bad one, error %v", c.Mode(), err)
	}
}

func TestPrioritiesGiveWay(t *testing.T) {
	t.Parallel()
	for p, want := range map[Priority]int{Critical: 16, Normal: 14, Low: 12, Background: 8} {
		c := concurrency(t, AtMost(16), nil)
		critical := hold(t, c, 1, Claim{Priority: Critical})[0]
		critical.Release(uprung.Success)
		n := 0
		for {
			if _, err := c.Acquire(t.Context(), Claim{Priority: p}); err != nil {
				break
			}
			n++
		}
		if n != want {
			t.Errorf("%v requests take %d of 16 places, want %d", p, n, want)
		}
		if got := len(hold(t, c, 16-n, Claim{Priority: Critical})); got != 16-n {
			t.Errorf("critical requests take %d of the %d places left by %v ones", got, 16-n, p)
		}
	}
}

func TestNothingIsKeptForCriticalRequestsThatAreNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(16), nil)
		hold(t, c, 1, Claim{Priority: Critical})[0].Leave()
		time.Sleep(time.Second)
		hold(t, c, 16, Claim{})
	})
}

func TestTenantsShareTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(16), nil)
		hog := hold(t, c, 16, Claim{Tenant: "hog"}) // alone, it may have all
		if _, err := c.Acquire(t.Context(), Claim{Tenant: "ant"}); !errors.Is(err, ErrBusy) {
			t.Fatalf("error is %v, want ErrBusy while the limit is used up", err)
		}
		hog[0].Release(uprung.Success)
		hog[1].Release(uprung.Success)
		if _, err := c.Acquire(t.Context(), Claim{Tenant: "hog"}); !errors.Is(err, ErrBusy) {
			t.Errorf("error is %v, want the places to be kept for who has less than its share", err)
		}
		ant := hold(t, c, 2, Claim{Tenant: "ant"})
		for _, token := range slices.Concat(hog[2:10], ant) {
			token.Leave()
		}
		// Of the ten places that are free, it may have more than its share of eight, but
		// not the last two.
		hold(t, c, 8, Claim{Tenant: "hog"})
		if _, err := c.Acquire(t.Context(), Claim{Tenant: "hog"}); !errors.Is(err, ErrBusy) {
			t.Errorf("error is %v, want two places to be kept", err)
		}
		time.Sleep(2 * time.Second)
		hold(t, c, 2, Claim{Tenant: "hog"}) // alone again
	})
}

func TestTenantsAreBounded(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(10*maxTenants), nil)
	for i := range 3 * maxTenants {
		hold(t, c, 1, Claim{Tenant: fmt.Sprint(i)})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.tenants.known); n != maxTenants+1 {
		t.Errorf("%d tenants are known, want %d and the crowd", n, maxTenants)
	}
}

func TestQueueServesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(1), &ConcurrencyOptions{Queue: 10, QueueWait: time.Minute})
		token := hold(t, c, 1, Claim{})[0]
		served := make(chan string, 10)
		ask := func(name string, claim Claim) {
			go func() {
				token, err := c.Acquire(t.Context(), claim)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				served <- name
				token.Release(uprung.Success)
			}()
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		ask("background", Claim{Priority: Background})
		ask("hog 1", Claim{Tenant: "hog"})
		ask("hog 2", Claim{Tenant: "hog"})
		ask("ant 1", Claim{Tenant: "ant"})
		ask("critical", Claim{Priority: Critical})
		if got := c.Stats().Waiting; got != 5 {
			t.Errorf("%d wait, want 5", got)
		}
		token.Release(uprung.Success)
		var got []string
		for range 5 {
			got = append(got, <-served)
		}
		if want := []string{"critical", "hog 1", "ant 1", "hog 2", "background"}; !slices.Equal(got, want) {
			t.Errorf("served %q, want %q", got, want)
		}
		synctest.Wait()
		stats := c.Stats()
		if stats.Waited != 5 || stats.WaitedFor != 15*time.Millisecond || stats.InFlight != 0 || stats.Waiting != 0 {
			t.Errorf("stats are %+v, want five who waited 15 ms together", stats)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(1), &ConcurrencyOptions{Queue: 2, QueueWait: time.Second})
		hold(t, c, 1, Claim{})
		results := make(chan error, 3)
		for range 2 {
			go func() {
				_, err := c.Acquire(t.Context(), Claim{Priority: Low})
				results <- err
			}()
		}
		synctest.Wait()
		if _, err := c.Acquire(t.Context(), Claim{Priority: Low}); !errors.Is(err, ErrBusy) {
			t.Errorf("error is %v, want ErrBusy from a full queue", err)
		}
		go func() {
			_, err := c.Acquire(t.Context(), Claim{})
			results <- err
		}()
		synctest.Wait()
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Errorf("error is %v, want one of low priority to make room for a normal one", err)
		}
		time.Sleep(time.Second)
		for range 2 {
			if err := <-results; !errors.Is(err, ErrBusy) {
				t.Errorf("error is %v, want ErrBusy after QueueWait", err)
			}
		}
		if got := c.Stats(); got.Refused != 4 || got.Dropped != 3 || got.Waiting != 0 {
			t.Errorf("stats are %+v, want four refused, three of them dropped", got)
		}
	})
}

// A queue that has not been empty for its whole time is a delay for all: then requests
// wait a twentieth of it.
func TestQueueThatStandsIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(1), &ConcurrencyOptions{Queue: 100, QueueWait: 100 * time.Millisecond})
		var longest, served atomic.Int64
		var all sync.WaitGroup
		// 10 ms of work arrive every 5 ms, for two seconds.
		for i := range 400 {
			time.Sleep(5 * time.Millisecond)
			all.Go(func() {
				start := time.Now()
				token, err := c.Acquire(t.Context(), Claim{})
				if err != nil {
					return
				}
				if waited := int64(time.Since(start)); i > 100 && waited > longest.Load() {
					longest.Store(waited)
				}
				served.Add(1)
				time.Sleep(10 * time.Millisecond)
				token.Release(uprung.Success)
			})
		}
		all.Wait()
		if got := time.Duration(longest.Load()); got > 20*time.Millisecond {
			t.Errorf("who was served has waited up to %v, want at most 20ms in a queue that stands", got)
		}
		if got := served.Load(); got < 190 {
			t.Errorf("%d are served, want nearly all of the 200 that can be", got)
		}
	})
}

func TestWhoLeavesTheQueueIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(1), &ConcurrencyOptions{Queue: 2, QueueWait: time.Minute})
		token := hold(t, c, 1, Claim{})[0]
		results := make(chan error, 2)
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left, leave := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{late, left} {
			go func() {
				_, err := c.Acquire(ctx, Claim{})
				results <- err
			}()
		}
		synctest.Wait()
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want that of who has left", err)
		}
		if err := <-results; !errors.Is(err, ErrExpired) {
			t.Errorf("error is %v, want ErrExpired", err)
		}
		token.Leave()
		if got := c.Stats(); got.InFlight != 0 || got.Waiting != 0 || got.Expired != 1 {
			t.Errorf("stats are %+v, want nobody left", got)
		}
	})
}

func TestSetInFlightServesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, AtMost(1), &ConcurrencyOptions{Queue: 2, QueueWait: time.Minute})
		hold(t, c, 1, Claim{})
		done := make(chan error)
		go func() {
			_, err := c.Acquire(t.Context(), Claim{})
			done <- err
		}()
		synctest.Wait()
		if err := c.SetInFlight(AtMost(2)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("error is %v, want a place", err)
		}
		if err := c.SetInFlight(AtMost(0)); err == nil || c.InFlight() != (InFlight{Min: 2, Max: 2, Initial: 2}) {
			t.Errorf("limit is %v after a bad one, error %v", c.InFlight(), err)
		}
		if err := c.SetInFlight(Adaptive()); err != nil || c.Stats().Limit != 20 {
			t.Errorf("limit is %d, error %v, want 20", c.Stats().Limit, err)
		}
	})
}

func TestStreamsHavePlacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(2), &ConcurrencyOptions{Streams: 1})
	tokens := hold(t, c, 2, Claim{})
	first, second := tokens[0].Stream(), tokens[1].Stream()
	if got := c.Stats(); got.InFlight != 1 || got.Streams != 1 {
		t.Errorf("stats are %+v, want one stream, and one that keeps its place", got)
	}
	first.Stream().Leave()
	second.Leave()
	if got := c.Stats(); got.InFlight != 0 || got.Streams != 0 {
		t.Errorf("stats are %+v, want nobody left", got)
	}
}

// What fails at once must not make a server seem fast, and what its caller has given up
// says nothing.
func TestQuickFailuresAreNoSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, Adaptive(), nil)
		round := func(took time.Duration, outcome uprung.Outcome) {
			for _, token := range hold(t, c, 15, Claim{}) {
				defer token.Release(outcome)
			}
			time.Sleep(took)
		}
		for range 20 {
			round(100*time.Millisecond, uprung.Success)
		}
		before := c.Stats()
		for range 100 {
			round(time.Millisecond, uprung.Failure)
			round(time.Second, uprung.Ignored)
		}
		if got := c.Stats(); got.Base != before.Base || got.Usual != before.Usual || got.Limit != before.Limit {
			t.Errorf("stats went from %+v to %+v, want the same times and limit", before, got)
		}
	})
}

func TestOverloadLowersTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, Adaptive(), nil)
		for range 10 {
			tokens := hold(t, c, 4, Claim{})
			time.Sleep(100 * time.Millisecond)
			for _, token := range tokens {
				token.Release(uprung.Overload)
			}
		}
		if got := c.Stats().Limit; got > 10 {
			t.Errorf("limit is %d after ten windows of overload, want at most 10", got)
		}
	})
}

func TestConcurrencyDoesNotAllocate(t *testing.T) {
	c := concurrency(t, Adaptive(), nil)
	full := concurrency(t, AtMost(1), nil)
	hold(t, full, 1, Claim{})
	ctx := t.Context()
	for name, f := range map[string]func(){
		"admit": func() {
			token, _ := c.Acquire(ctx, Claim{})
			token.Release(uprung.Success)
		},
		"tenant": func() {
			token, _ := c.Acquire(ctx, Claim{Tenant: "ant", Priority: Critical})
			token.Release(uprung.Success)
		},
		"refuse": func() { _, _ = full.Acquire(ctx, Claim{}) },
	} {
		if got := testing.AllocsPerRun(1000, f); got != 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}

func TestConcurrencyHoldsUnderStress(t *testing.T) {
	t.Parallel()
	const limit = 8
	c := concurrency(t, AtMost(limit), &ConcurrencyOptions{Queue: 16, QueueWait: 5 * time.Millisecond})
	var now, most atomic.Int64
	var all sync.WaitGroup
	for worker := range 32 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 500 {
				claim := Claim{Priority: Priority(random.IntN(int(priorities)))}
				if random.IntN(2) == 0 {
					claim.Tenant = fmt.Sprint(random.IntN(5))
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(int(5*time.Millisecond))))
				token, err := c.Acquire(ctx, claim)
				if err == nil {
					n := now.Add(1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					if random.IntN(4) == 0 {
						time.Sleep(time.Duration(random.IntN(int(100 * time.Microsecond))))
					}
					now.Add(-1)
					token.Release(uprung.Success)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if got := most.Load(); got > limit {
		t.Errorf("%d were in progress at once, want at most %d", got, limit)
	}
	if got := c.Stats(); got.InFlight != 0 || got.Waiting != 0 || got.Admitted+got.Refused+got.Expired == 0 {
		t.Errorf("stats are %+v, want nobody left", got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, tenant := range c.tenants.known {
		if tenant.inFlight != 0 || tenant.waiting != 0 {
			t.Errorf("tenant %q has %d in flight and %d waiting, want none", name, tenant.inFlight, tenant.waiting)
		}
	}
}

// The model of the queue is one list, which is searched from its beginning.
func TestQueueIsAsTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var q queue
		var list []*waiter
		tenants := []*tenant{nil, {}, {}, {}}
		// A tenant's turn in a priority: the higher, the later. It is given when its first
		// waiter comes and whenever one of several is admitted.
		type place struct {
			p Priority
			t *tenant
		}
		turnOf := map[place]int{}
		turns := 0
		for step := range 300 {
			switch op := random.IntN(5); {
			case op < 2:
				w := &waiter{ctx: t.Context(), tenant: tenants[random.IntN(4)], priority: Priority(random.IntN(4)), since: int64(step)}
				at := place{w.priority, w.tenant}
				if !slices.ContainsFunc(list, func(o *waiter) bool { return place{o.priority, o.tenant} == at }) {
					turns++
					turnOf[at] = turns
				}
				list = append(list, w)
				q.push(w, int64(step))
			case op == 2 && len(list) > 0:
				i := random.IntN(len(list))
				q.remove(list[i])
				list = slices.Delete(list, i, i+1)
			default:
				blocked := tenants[random.IntN(4)]
				judge := func(w *waiter) verdict {
					switch {
					case w.tenant == blocked:
						return keeps
					case w.since%7 == 0:
						return drops
					}
					return admits
				}
				var want *waiter
				for _, w := range list {
					if judge(w) == keeps {
						continue
					}
					if want == nil || slices.Index(turn[:], w.priority) < slices.Index(turn[:], want.priority) ||
						w.priority == want.priority && turnOf[place{w.priority, w.tenant}] < turnOf[place{want.priority, want.tenant}] {
						want = w
					}
				}
				got, admitted := q.next(judge)
				if got != want {
					t.Fatalf("seed %d, step %d: served %+v, want %+v", seed, step, got, want)
				}
				if want != nil {
					if admitted != (judge(want) == admits) {
						t.Fatalf("seed %d, step %d: admitted is %t", seed, step, admitted)
					}
					list = slices.DeleteFunc(list, func(w *waiter) bool { return w == want })
					if admitted {
						turns++
						turnOf[place{want.priority, want.tenant}] = turns
					}
				}
			}
			if q.length != len(list) {
				t.Fatalf("seed %d, step %d: %d wait, want %d", seed, step, q.length, len(list))
			}
		}
	}
}
