package redislimit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// Two bursts across the boundary of a window get one window's worth.
func TestTrap01NoTwoBurstsAtAWindowBoundary(t *testing.T) {
	t.Parallel()
	server := redis(t)
	l := newLimiter(t, ratelimit.PerSecond(1000), newStore(t, patient, server.Addr()), redislimit.Options{DenyAge: -1})
	start := time.Now()
	granted := int64(0)
	for range 3 {
		res, err := l.TakeUpTo(t.Context(), "k", 1000)
		if err != nil {
			t.Fatal(err)
		}
		granted += res.Granted
		time.Sleep(60 * time.Millisecond) // the distance of the bursts
	}
	if most := 1000 + int64(time.Since(start).Milliseconds()) + 1; granted > most {
		t.Errorf("%d events were granted within %v, want at most %d", granted, time.Since(start), most)
	}
}

// The store's clock may be set back, or the state be nonsense.
func TestTrap08And26StateFromTheFutureIsAnEmptyBucket(t *testing.T) {
	t.Parallel()
	server := redis(t)
	l := newLimiter(t, ratelimit.PerSecond(10), newStore(t, patient, server.Addr()), redislimit.Options{Options: named("x"), DenyAge: -1})
	for _, state := range []string{"9007199254740991", "1e300", "inf", "99999999999999999999"} {
		if _, err := server.Do(t.Context(), "SET", "ratelimit:{k}:x", state); err != nil {
			t.Fatal(err)
		}
		if res := take(t, l, "k", 1); res.Allowed || res.RetryAfter > 100*time.Millisecond || res.ResetAfter > time.Second {
			t.Errorf("with a state of %s: %+v, want a denial for 100ms", state, res)
		}
	}
	for _, state := range []string{"-5", "nan", "words", ""} {
		if _, err := server.Do(t.Context(), "SET", "ratelimit:{k}:x", state); err != nil {
			t.Fatal(err)
		}
		if res := take(t, l, "k", 10); !res.Allowed {
			t.Errorf("with a state of %q: %+v, want a grant", state, res)
		}
	}
}

// Rates at which an event takes less than the clock's microsecond stay exact.
func TestTrap12QuotasOfBytesAreExact(t *testing.T) {
	t.Parallel()
	server := redis(t)
	const perHour = 1e12 // bytes, at 0.0036 units each
	l := newLimiter(t, ratelimit.PerHour(perHour).WithBurst(perHour), newStore(t, patient, server.Addr()), redislimit.Options{DenyAge: -1})
	take(t, l, "k", perHour)
	if err := l.Refund(t.Context(), "k", 1e10); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	res := take(t, l, "k", 0)
	if least, most := int64(1e10-500), int64(1e10+perHour/3600*time.Since(before).Seconds()+perHour/3600*5); res.Remaining < least || res.Remaining > most {
		t.Errorf("%d bytes are left, want %d to %d", res.Remaining, least, most)
	}
}

// The name makes the bucket, and no limit is part of it: another limit goes on where the
// first stood.
func TestTrap16AChangedLimitKeepsWhatIsSpent(t *testing.T) {
	t.Parallel()
	server := redis(t)
	s := newStore(t, patient, server.Addr())
	old := newLimiter(t, ratelimit.PerDay(10), s, redislimit.Options{Options: named("x")})
	take(t, old, "k", 5)
	deployed := newLimiter(t, ratelimit.PerDay(100), s, redislimit.Options{Options: named("x")})
	if res := take(t, deployed, "k", 0); res.Remaining != 50 && res.Remaining != 51 {
		t.Errorf("%d of 100 are left after half was spent, want 50", res.Remaining)
	}
	// What was denied under the old limit is asked for again under the new one.
	take(t, old, "k", 5)
	take(t, old, "k", 5)
	if err := old.SetLimit(ratelimit.PerSecond(1e6)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return take(t, old, "k", 1).Allowed })
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for start := time.Now(); !f(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("has not happened within 10s")
		}
	}
}

func TestTrap17SeveralLimitsAreAllOrNothing(t *testing.T) {
	t.Parallel()
	server := redis(t)
	s := newStore(t, patient, server.Addr())
	few := newLimiter(t, ratelimit.PerDay(5), s, redislimit.Options{Options: named("few")})
	many := newLimiter(t, ratelimit.PerDay(100), s, redislimit.Options{Options: named("many")})
	both := uprung.Must(redislimit.All(many, few))
	var callers sync.WaitGroup
	var granted atomic.Int64
	for range 32 {
		callers.Go(func() {
			res, err := both.Take(t.Context(), "k", 1)
			if err != nil {
				t.Error(err)
			}
			granted.Add(res.Granted)
		})
	}
	callers.Wait()
	if granted.Load() != 5 {
		t.Errorf("%d events were granted, want 5", granted.Load())
	}
	if res := take(t, many, "k", 0); res.Remaining != 95 {
		t.Errorf("the other limit has %d left, want 95: what was denied was charged", res.Remaining)
	}
	if res, err := both.Take(t.Context(), "fresh", 6); !errors.Is(err, ratelimit.ErrExceedsBurst) || res.RetryAfter != uprung.Never {
		t.Errorf("more than one burst gives %+v, %v; want ErrExceedsBurst", res, err)
	}
	if res := take(t, many, "fresh", 0); res.Remaining != 100 {
		t.Errorf("the other limit has %d left, want 100", res.Remaining)
	}
	// A later limit that is not valid charges none.
	bad := newLimiter(t, ratelimit.PerDay(5), s, redislimit.Options{Options: ratelimit.Options{
		Name: "bad", LimitFor: func(string) (ratelimit.Limit, bool) { return ratelimit.Limit{Events: -1}, true },
	}})
	with := uprung.Must(redislimit.All(many, bad))
	if _, err := with.Take(t.Context(), "fresh", 1); err == nil {
		t.Error("an invalid limit is no error")
	}
	if res := take(t, many, "fresh", 0); res.Remaining != 100 {
		t.Errorf("the other limit has %d left, want 100", res.Remaining)
	}
	// One that is not enforced refuses nobody.
	if err := few.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	if res, err := both.Take(t.Context(), "k", 6); err != nil || !res.Allowed || !res.Shadowed {
		t.Errorf("with the smaller limit in shadow: %+v, %v; want a grant", res, err)
	}
	if res := take(t, many, "k", 0); res.Remaining != 89 {
		t.Errorf("the other limit has %d left, want 89", res.Remaining)
	}
}

// A denial of ten says nothing about one, and is answered from memory until something is
// given back.
func TestTrap18DenialsAreRememberedByCost(t *testing.T) {
	t.Parallel()
	server := redis(t)
	l := newLimiter(t, ratelimit.PerDay(10), newStore(t, patient, server.Addr()), redislimit.Options{DenyAge: time.Hour})
	asked := func() uint64 { return l.Stats().Asked }
	take(t, l, "k", 5)
	take(t, l, "k", 10) // denied: is remembered
	before := asked()
	for n := int64(6); n <= 10; n++ {
		if res := take(t, l, "k", n); res.Allowed || res.Remaining != 5 || res.RetryAfter <= 0 {
			t.Errorf("Take of %d with 5 left: %+v", n, res)
		}
	}
	if n := asked() - before; n != 0 {
		t.Errorf("Redis was asked %d times for what was known", n)
	}
	if res := take(t, l, "k", 5); !res.Allowed {
		t.Errorf("5 of 5 are denied because 10 were: %+v", res)
	}
	take(t, l, "k", 1)
	if err := l.Refund(t.Context(), "k", 1); err != nil {
		t.Fatal(err)
	}
	if res := take(t, l, "k", 1); !res.Allowed {
		t.Errorf("what was given back is denied from memory: %+v", res)
	}
	take(t, l, "k", 1)
	if err := l.Reset(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if res := take(t, l, "k", 10); !res.Allowed {
		t.Errorf("after a reset: %+v", res)
	}
}

func TestTrap25MetricsDoNotCarryKeys(t *testing.T) {
	t.Parallel()
	server := redis(t)
	s := newStore(t, patient, server.Addr())
	l := newLimiter(t, ratelimit.PerDay(1), s, redislimit.Options{Options: named("policy")})
	take(t, l, "secret", 1)
	take(t, l, "secret", 1)
	take(t, l, "secret", 1)
	values := map[string]float64{}
	for _, source := range []uprung.Source{l, s} {
		source.Metrics(func(m uprung.Metric) bool {
			text := fmt.Sprint(m.Name, m.Labels)
			values[text] = m.Value
			if strings.Contains(text+m.Help, "secret") {
				t.Errorf("metric %s carries a key", text)
			}
			return true
		})
	}
	for text, want := range map[string]float64{
		"uprung_ratelimit_decisions_total[{policy policy} {outcome allow}]": 1,
		"uprung_ratelimit_decisions_total[{policy policy} {outcome deny}]":  2,
		"uprung_redislimit_calls_total[{policy policy}]":                    2,
		"uprung_redislimit_remembered_total[{policy policy}]":               1,
	} {
		if values[text] != want {
			t.Errorf("%s is %v, want %v", text, values[text], want)
		}
	}
}

// One key per bucket, which vanishes when the bucket is full; those of one caller in one
// slot; nothing that current servers have deprecated.
func TestTrap26KeysOfTheStore(t *testing.T) {
	t.Parallel()
	server := redis(t)
	s := newStore(t, patient, server.Addr())
	a := newLimiter(t, ratelimit.PerSecond(4), s, redislimit.Options{Options: named("a")})
	b := newLimiter(t, ratelimit.PerHour(10), s, redislimit.Options{Options: named("b")})
	both := uprung.Must(redislimit.All(a, b))
	if _, err := both.Take(t.Context(), "k", 2); err != nil {
		t.Fatal(err)
	}
	reply, err := server.Do(t.Context(), "KEYS", "*")
	var keys []string
	for _, key := range reply.([]any) {
		keys = append(keys, key.(string))
	}
	slices.Sort(keys)
	if want := []string{"ratelimit:{k}:a", "ratelimit:{k}:b"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("keys are %v, %v; want %v", keys, err, want)
	}
	state, err := server.Do(t.Context(), "GET", "ratelimit:{k}:b")
	if _, bad := strconv.ParseInt(fmt.Sprint(state), 10, 64); err != nil || bad != nil {
		t.Errorf("the state is %v, %v; want a whole number", state, err)
	}
	ttl, err := server.Do(t.Context(), "PTTL", "ratelimit:{k}:b")
	if ms, _ := ttl.(int64); err != nil || ms > 720_001 || ms < 600_000 {
		t.Errorf("the key expires in %v ms, %v; want 720000, when the bucket is full", ttl, err)
	}
	waitFor(t, func() bool {
		n, err := server.Do(t.Context(), "EXISTS", "ratelimit:{k}:a")
		return err == nil && n == int64(0)
	})
	if strings.Contains(redislimit.Script, "replicate_commands") {
		t.Error("the script calls what is deprecated since Redis 7.0")
	}
}

// The script is gone after SCRIPT FLUSH, and on a server that has taken over.
func TestTrap27AScriptThatIsGoneIsSentAgain(t *testing.T) {
	t.Parallel()
	server := redis(t)
	l := newLimiter(t, ratelimit.PerDay(10), newStore(t, patient, server.Addr()), redislimit.Options{})
	for range 3 {
		take(t, l, "k", 1)
		if _, err := server.Do(t.Context(), "SCRIPT", "FLUSH"); err != nil {
			t.Fatal(err)
		}
	}
	if res := take(t, l, "k", 0); res.Remaining != 7 || l.Stats().Away != 0 {
		t.Errorf("%d are left and %d decisions were made without Redis, want 7 and 0", res.Remaining, l.Stats().Away)
	}
}

// A replica that takes no writes is no store.
func TestTrap27AReplicaCountsAsAway(t *testing.T) {
	t.Parallel()
	primary, replica := redis(t), redis(t)
	if _, err := replica.Do(t.Context(), "REPLICAOF", "127.0.0.1", strconv.Itoa(primary.Port())); err != nil {
		t.Fatal(err)
	}
	l := newLimiter(t, ratelimit.PerDay(2), newStore(t, patient, replica.Addr()), redislimit.Options{})
	for want := int64(2); want >= 0; want-- {
		if res := take(t, l, "k", 1); res.Allowed != (want > 0) {
			t.Errorf("with %d left: %+v", want, res)
		}
	}
	if l.Stats().Away == 0 {
		t.Error("a replica has decided")
	}
	if _, err := replica.Do(t.Context(), "REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		away := l.Stats().Away
		_, err := l.Take(t.Context(), "other", 0)
		return err == nil && l.Stats().Away == away
	})
}

// The buckets of one key are in one slot of a cluster, whatever the key is.
func TestTrap26AGroupInACluster(t *testing.T) {
	t.Parallel()
	s := newStore(t, patient, testserver.RedisCluster(t)[0].Addr())
	both := uprung.Must(redislimit.All(
		newLimiter(t, ratelimit.PerDay(5), s, redislimit.Options{Options: named("a")}),
		newLimiter(t, ratelimit.PerDay(3), s, redislimit.Options{Options: named("b")}),
	))
	for i := range 30 {
		for _, key := range []string{fmt.Sprint("k", i), fmt.Sprint("}", i), fmt.Sprint("{a", i)} {
			if res, err := both.Take(t.Context(), key, 2); err != nil || !res.Allowed || res.Remaining != 1 {
				t.Fatalf("Take(%q, 2) gives %+v, %v; want 1 of 3 left", key, res, err)
			}
		}
	}
}

// A lease spares a busy key ninety-nine calls of a hundred, and what is left of it when it
// is old is not used.
func TestLease(t *testing.T) {
	t.Parallel()
	server := redis(t)
	s := newStore(t, patient, server.Addr())
	l := newLimiter(t, ratelimit.PerSecond(10_000_000), s, redislimit.Options{Options: named("x"), Lease: 500, LeaseAge: time.Minute})
	for range 50_000 {
		take(t, l, "k", 1)
	}
	if stats := l.Stats(); stats.Asked > 500 || stats.Granted != 50_000 || stats.Leased < 49_000 {
		t.Errorf("of 50000 decisions: %+v; want at most 500 calls", stats)
	}
	// It begins with one event, and one old is bought again.
	slow := newLimiter(t, ratelimit.PerDay(1000), s, redislimit.Options{Options: named("slow"), Lease: 100, LeaseAge: time.Nanosecond})
	for range 10 {
		take(t, slow, "k", 1)
	}
	if stats := slow.Stats(); stats.Asked != 10 || stats.Leased != 0 {
		t.Errorf("with leases that are old at once: %+v; want 10 calls", stats)
	}
	if res := take(t, slow, "k", 0); res.Remaining != 990 {
		t.Errorf("%d are left of 1000, want 990: nothing is bought ahead for a key that is not busy", res.Remaining)
	}
	// What is more than a lease is asked for.
	if res := take(t, slow, "k", 500); !res.Allowed || res.Remaining != 490 {
		t.Errorf("500 of 990: %+v", res)
	}
}

// A take has an effect each time: it is made once, and given up after the timeout.
func TestTrap28ATakeIsNeverRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		release := make(chan struct{})
		store, err := redislimit.NewRunnerStore(redislimit.RunnerFunc(
			func(context.Context, []string, ...any) ([]int64, error) { // heeds no context
				calls.Add(1)
				<-release
				return []int64{1, 0}, nil
			}), &redislimit.StoreOptions{Timeout: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		l := newLimiter(t, ratelimit.PerDay(10), store, redislimit.Options{})
		start := time.Now()
		for i := range 3 {
			if res := take(t, l, "k", 1); !res.Allowed {
				t.Errorf("the bucket of the process denies: %+v", res)
			}
			if calls.Load() != int64(i+1) {
				t.Errorf("%d calls for %d decisions", calls.Load(), i+1)
			}
		}
		if took := time.Since(start); took != 60*time.Millisecond {
			t.Errorf("three decisions took %v, want 20ms each", took)
		}
		for range 100 { // it is open
			_, _ = l.Take(t.Context(), "k", 1)
		}
		if took := time.Since(start); took != 60*time.Millisecond || calls.Load() != 3 {
			t.Errorf("a hundred more took %v and %d calls, want no time and none", took-60*time.Millisecond, calls.Load()-3)
		}
		close(release)
		_ = store.Close()
	})
}

// The replicas divide the limit between them when each is alone.
func TestTrap29TheSumOfReplicasStaysNearTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const replicas = 4
		gone := errors.New("gone")
		var fleet []*redislimit.Limiter
		count := replicas
		for range replicas {
			store, err := redislimit.NewRunnerStore(redislimit.RunnerFunc(
				func(context.Context, []string, ...any) ([]int64, error) { return nil, gone }), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			fleet = append(fleet, newLimiter(t, ratelimit.PerSecond(100).WithBurst(20), store, redislimit.Options{
				Replicas: func() int { return count },
			}))
		}
		granted := func(d time.Duration) (n int64) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
				for _, l := range fleet {
					n += take(t, l, "k", 1).Granted
				}
			}
			return n
		}
		if n := granted(10 * time.Second); n < 1000 || n > 1020 {
			t.Errorf("in 10s %d events were granted, want 1000 and a burst of 20", n)
		}
		count = 8 // others have joined: these are half of the fleet
		if n := granted(10 * time.Second); n < 490 || n > 530 {
			t.Errorf("in 10s %d events were granted by half of the fleet, want 500", n)
		}
		if res, err := fleet[0].Take(t.Context(), "big", 20); err != nil || res.Allowed || res.RetryAfter <= 0 {
			t.Errorf("a burst that only Redis would grant gives %+v, %v; want a denial that time cures", res, err)
		}
	})
}

func TestDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := redislimit.NewRunnerStore(redislimit.RunnerFunc(
			func(context.Context, []string, ...any) ([]int64, error) { return nil, errors.New("gone") }), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = store.Close() }()
		open := newLimiter(t, ratelimit.PerDay(1), store, redislimit.Options{Down: redislimit.Open})
		for range 10 {
			if res := take(t, open, "k", 1); !res.Allowed {
				t.Errorf("Open gives %+v", res)
			}
		}
		shut := newLimiter(t, ratelimit.PerDay(1), store, redislimit.Options{Down: redislimit.Closed})
		res, err := shut.Take(t.Context(), "k", 1)
		rejection, ok := errors.AsType[*uprung.Rejection](err)
		if res.Allowed || !errors.Is(err, ratelimit.ErrUnavailable) || !ok || rejection.RetryAfter <= 0 {
			t.Errorf("Closed gives %+v, %v; want a rejection for ErrUnavailable", res, err)
		}
		if err := shut.SetMode(uprung.Shadow); err != nil {
			t.Fatal(err)
		}
		if res := take(t, shut, "k", 1); !res.Allowed || !res.Shadowed {
			t.Errorf("Closed in shadow gives %+v, want a grant", res)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := open.Take(ctx, "k", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended the error is %v", err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := redislimit.New(ratelimit.Limit{Events: -1}, nil, &redislimit.Options{
		Options: ratelimit.Options{Name: "ä", Algorithm: ratelimit.SlidingWindow, Capacity: -1},
		Down:    9, Lease: -1, LeaseAge: -1, DenyAge: 2 * time.Hour,
	})
	for _, want := range []string{"Store is nil", "Algorithm", "Down is 9", "Lease is -1", "LeaseAge is -1ns", "DenyAge is 2h0m0s", "Events is -1", "Capacity is -1", "Name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
	_, err = redislimit.NewRunnerStore(nil, &redislimit.StoreOptions{Name: "ä", Prefix: "{", Timeout: -1})
	for _, want := range []string{"Name", "Prefix", "Timeout", "Runner is nil"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
	if _, err := redislimit.All(); err == nil {
		t.Error("All of none is no error")
	}
}
