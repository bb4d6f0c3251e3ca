package sqlclass

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"testing"
)

const typical = "SELECT u.id, u.name, count(*) FROM users u JOIN posts p ON p.user_id = u.id WHERE u.name = $1 AND p.state = 'x' GROUP BY u.id LIMIT 10"

func newCache(t testing.TB, entries int) *Cache[Statement] {
	t.Helper()
	c, err := NewCache[Statement](entries)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// classify asks the cache first, as callers do.
func classify(c *Cache[Statement], query string) Statement {
	s, ok := c.Get(query)
	if !ok {
		s = Classify(PostgreSQL, query)
		c.Set(query, s)
	}
	return s
}

// remembered counts the texts that a cache holds.
func remembered(c *Cache[Statement]) (n int) {
	for i := range c.sets {
		for j := range c.sets[i] {
			if c.sets[i][j].Load() != nil {
				n++
			}
		}
	}
	return n
}

func TestNothingIsAllocated(t *testing.T) {
	for _, d := range []Dialect{PostgreSQL, MySQL} {
		for _, file := range []string{"listed.txt", "mysql.txt"} {
			for _, s := range corpus(t, file) {
				if n := testing.AllocsPerRun(10, func() { Classify(d, s.query) }); n != 0 {
					t.Errorf("%s: %v allocations, want none", s.query, n)
				}
			}
		}
	}
	cache := newCache(t, 100)
	classify(cache, typical)
	if n := testing.AllocsPerRun(100, func() { classify(cache, typical) }); n != 0 {
		t.Errorf("%v allocations of a hit, want none", n)
	}
	long := typical + strings.Repeat(" ", maxCached)
	if n := testing.AllocsPerRun(100, func() { classify(cache, long) }); n != 0 {
		t.Errorf("%v allocations of a text too long to remember, want none", n)
	}
}

func TestNewCacheRefuses(t *testing.T) {
	t.Parallel()
	for _, entries := range []int{-1, 0, maxEntries + 1} {
		if _, err := NewCache[Statement](entries); err == nil {
			t.Errorf("%d entries: no error", entries)
		}
	}
	for _, entries := range []int{1, 4, 5, 1000, maxEntries} {
		if c := newCache(t, entries); len(c.sets)*ways < entries || len(c.sets)*ways >= 2*entries+2*ways {
			t.Errorf("%d entries: room for %d", entries, len(c.sets)*ways)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache(t, 64)
	for i := range 10_000 {
		query := fmt.Sprintf("SELECT %d", i)
		if s := classify(c, query); s.Class != Read {
			t.Fatalf("%s is %v", query, s.Class)
		}
	}
	if n := remembered(c); n > 64 {
		t.Errorf("%d texts are remembered, want at most 64", n)
	}
	classify(c, typical+strings.Repeat(" ", maxCached))
	for i := range c.sets {
		for j := range c.sets[i] {
			if e := c.sets[i][j].Load(); e != nil && len(e.query) > maxCached {
				t.Errorf("a text of %d bytes is remembered", len(e.query))
			}
		}
	}
}

// Texts with values inside come once each; those that return stay. Between two
// uses of one come 1,200 others, more than there is room for: a list of the least
// recently used would remember none.
func TestWhatReturnsStaysCached(t *testing.T) {
	t.Parallel()
	c := newCache(t, 1024)
	hot := make([]string, 200)
	for i := range hot {
		hot[i] = fmt.Sprintf("SELECT * FROM t%d WHERE id = $1", i)
	}
	present := func(query string) bool {
		set := &c.sets[maphash.String(c.seed, query)>>c.shift]
		for i := range set {
			if e := set[i].Load(); e != nil && e.query == query {
				return true
			}
		}
		return false
	}
	hits, asks := 0, 0
	for round := range 40 {
		for i, query := range hot {
			if round > 19 {
				asks++
				if present(query) {
					hits++
				}
			}
			classify(c, query)
			for k := range 5 {
				classify(c, fmt.Sprintf("SELECT %d", round*10_000+i*5+k))
			}
		}
	}
	if ratio := float64(hits) / float64(asks); ratio < 0.6 {
		t.Errorf("%.3f of the texts that return are remembered, want at least 0.6", ratio)
	}
}

// A statement that a replica refuses is learned as a write.
func TestCacheReplaces(t *testing.T) {
	t.Parallel()
	c := newCache(t, 4)
	const query = "SELECT * FROM view_with_a_function"
	if s := classify(c, query); !s.Replica() {
		t.Fatalf("%+v is not for a replica", s)
	}
	learned := Statement{Class: Write, Reason: ByFunction}
	c.Set(query, learned)
	if s := classify(c, query); s != learned {
		t.Errorf("is %+v, want %+v", s, learned)
	}
	if n := remembered(c); n != 1 {
		t.Errorf("%d texts are remembered, want 1", n)
	}
}

// A cache never answers for another text, whatever happens at the same time.
func TestCacheUnderConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newCache(t, 16)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20_000 {
				n := (i*7 + g) % 100
				query, want := fmt.Sprintf("SELECT %d", n), Read
				if n%2 == 1 {
					query, want = fmt.Sprintf("DELETE FROM t WHERE id = %d", n), Write
				}
				if s := classify(c, query); s.Class != want {
					t.Errorf("%s is %v, want %v", query, s.Class, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkClassify(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Classify(PostgreSQL, typical)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	cache := newCache(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		classify(cache, typical)
	}
}
