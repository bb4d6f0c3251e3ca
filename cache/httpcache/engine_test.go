package httpcache

import (
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConnectionFieldsAreNeitherStoredNorFreshened(t *testing.T) { // H7.6.1, C3.1, C3.2
	t.Parallel()
	update := http.Header{
		"Connection": {"x-hop, Keep-Alive"}, "X-Hop": {"1"}, "Keep-Alive": {"2"}, "Te": {"x"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"x"},
		"Proxy-Connection": {"x"}, "Proxy-Authenticate": {"x"}, "Proxy-Authentication-Info": {"x"}, "Proxy-Authorization": {"x"},
		"Trailer": {"X-T"}, http.TrailerPrefix + "X-T": {"1"},
		"Content-Type": {"b"}, "Content-Length": {"5"}, "Content-Range": {"x"}, "Content-Encoding": {"gzip"}, "X-End": {"1", "2"},
	}
	if got := storedHeader(update); len(got) != 5 || !slices.Equal(got["X-End"], []string{"1", "2"}) {
		t.Errorf("stored: %v", got)
	}
	old := http.Header{"X-Hop": {"old"}, "Content-Type": {"a"}, "Content-Encoding": {"br"}}
	want := http.Header{"X-Hop": {"old"}, "Content-Type": {"b"}, "Content-Encoding": {"br"}, "X-End": {"1", "2"}}
	if got := freshened(old, update); !reflect.DeepEqual(got, want) {
		t.Errorf("freshened: %v, want %v", got, want)
	}
}

func TestMissingDateIsThatOfReceipt(t *testing.T) { // H6.6.1
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	c, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, date := range [][]string{nil, {"x"}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := c.exchangeOf(r, "", &c.rules)
		x.asked = now
		h := http.Header{"Cache-Control": {"max-age=60"}}
		if date != nil {
			h["Date"] = date
		}
		e, why := x.admit(200, h, now)
		if e == nil {
			t.Fatal(why)
		}
		if got := single(e.header, "Date"); got != "Fri, 02 Jan 2026 03:04:05 GMT" {
			t.Errorf("Date %q became %q", date, got)
		}
	}
}

func TestDates(t *testing.T) { // H5.6.7
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	at := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, s := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"sun, 06 nov 1994 08:49:37 gmt", "SUNDAY, 06-NOV-94 08:49:37 GMT",
		"Mon, 06 Nov 1994 08:49:37 GMT", // the weekday is another's
	} {
		if got, ok := parseDate(s, now); !ok || !got.Equal(at) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	if got, ok := parseDate("Friday, 06-Nov-76 08:49:37 GMT", now); !ok || got.Year() != 2076 {
		t.Errorf("a year 50 years ahead is one to come: %v", got)
	}
	if got, ok := parseDate("Sunday, 06-Nov-77 08:49:37 GMT", now); !ok || got.Year() != 1977 {
		t.Errorf("a year 51 years ahead has been: %v", got)
	}
	for _, s := range []string{
		"", "0", "-1", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49:37 GMT ",
		" Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT+1", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT", "Sun,06 Nov 1994 08:49:37 GMT",
		"Sun, 06-Nov-1994 08:49:37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Son, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08.49.37 GMT",
		"Sunday, 06 Nov 1994 08:49:37 GMT", "Sun Nov 06 08:49:37 1994 GMT", "Sun Nov 6 08:49:37 1994", "1994-11-06T08:49:37Z", "Sun, +6 Nov 1994 08:49:37 GMT",
	} {
		if got, ok := parseDate(s, now); ok {
			t.Errorf("%q is no date, but was read as %v", s, got)
		}
	}
}

func TestAgesNeitherOverflowNorRunBackwards(t *testing.T) { // C1.2.2, C4.2.3; trap 21
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, one := range []struct {
		name   string
		header http.Header
		asked  time.Time
		want   time.Duration
	}{
		{"nothing", http.Header{}, now, 0},
		{"an old Date", http.Header{"Date": {"Mon, 01 Jan 0001 00:00:00 GMT"}}, now, maxSeconds * time.Second},
		{"a Date to come", http.Header{"Date": {"Thu, 31 Dec 9999 00:00:00 GMT"}}, now, 0},
		{"an Age beyond numbers", http.Header{"Age": {strings.Repeat("9", 400)}}, now.Add(-time.Hour), maxSeconds * time.Second},
		{"the delay of the response", http.Header{"Age": {"10"}}, now.Add(-3 * time.Second), 13 * time.Second},
		{"a clock that went back", http.Header{"Age": {"10"}}, now.Add(time.Hour), 10 * time.Second},
	} {
		date, _ := dateOf(one.header, now)
		e := &Entry{received: now, initial: initialAge(one.header, date, one.asked, now), policy: policy{lifetime: maxSeconds * time.Second}, body: &body{}}
		if e.initial != one.want {
			t.Errorf("%s: age is %v, want %v", one.name, e.initial, one.want)
		}
		for _, later := range []time.Duration{-1000 * time.Hour, 0, 1<<63 - 1} {
			if age := e.age(now.Add(later)); age < e.initial {
				t.Errorf("%s: after %v age is %v", one.name, later, age)
			}
			if field := e.aged(now.Add(later), "x"); strings.HasPrefix(field.age[0], "-") {
				t.Errorf("%s: after %v Age is %s", one.name, later, field.age[0])
			}
		}
	}
}

func TestWallClockThatJumpsChangesNoAge(t *testing.T) { // C4.2.3; trap 21
	t.Parallel()
	received := time.Now() // has a monotonic reading
	e := &Entry{received: received, policy: policy{lifetime: time.Minute}}
	if age := e.age(received.Add(10 * time.Second)); age != 10*time.Second {
		t.Errorf("age is %v", age)
	}
	if !strings.Contains(received.String(), " m=") {
		t.Error("the instant of receipt has no monotonic reading")
	}
}

func TestCacheStatus(t *testing.T) { // RFC 9211
	t.Parallel()
	before := []string{"other; hit"}
	for _, one := range []struct {
		status status
		want   string
	}{
		{status{name: "edge", hit: true, timed: true, ttl: -5}, "edge; hit; ttl=-5"},
		{status{name: "my cache", fwd: "uri-miss", stored: true, collapsed: 1}, `"my cache"; fwd=uri-miss; stored; collapsed`},
		{status{name: "1a", fwd: "stale", fwdStatus: 304, collapsed: -1}, `"1a"; fwd=stale; fwd-status=304; collapsed=?0`},
		{status{name: "edge", hit: true, stored: true, collapsed: 1}, "edge; hit"},
		{status{name: "edge", fwd: "uri-miss", key: "a\"\\\n", detail: "no-store"}, `edge; fwd=uri-miss; key="a\"\\?"; detail=no-store`},
	} {
		if got := one.status.lines(before); len(got) != 2 || got[0] != before[0] || got[1] != one.want {
			t.Errorf("%q, want %q last", got, one.want)
		}
	}
}

func TestGroupsOfTheLeastSizeThatMustBeSupported(t *testing.T) { // RFC 9875, section 2.1
	t.Parallel()
	var list []string
	for at := range 32 {
		list = append(list, `"`+strings.Repeat(string(rune('A'+at%26)), 31)+string(rune('a'+at/26))+`"`)
	}
	tags, ignored := tagsOf(http.Header{cacheGroups: {strings.Join(list[:16], ", "), strings.Join(list[16:], ", ")}}, []string{cacheGroups}, 64)
	if len(tags) != 32 || ignored != 0 {
		t.Errorf("%d tags, %d ignored", len(tags), ignored)
	}
	tags, ignored = tagsOf(http.Header{cacheGroups: {`"a", b`}}, []string{cacheGroups}, 64)
	if len(tags) != 1 || ignored != 1 {
		t.Errorf("%q, %d ignored", tags, ignored)
	}
	if tags, ignored = tagsOf(http.Header{cacheGroups: {`"a",`}}, []string{cacheGroups}, 64); len(tags) != 0 || ignored != 1 {
		t.Errorf("of a malformed list: %q, %d ignored", tags, ignored)
	}
}

// The model of a store is a list that only says what is under a key. What the store has
// must be of it, the newest of each variant, and within the budget.
func TestMemoryAgainstAModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const budget, variants = 100 << 10, 4
	removed := map[*Entry]bool{}
	m, err := NewMemory(&MemoryOptions{Budget: budget, MaxVariants: variants})
	if err != nil {
		t.Fatal(err)
	}
	m.removed = func(e *Entry) {
		if removed[e] {
			t.Fatal("removed twice")
		}
		removed[e] = true
	}
	latest := map[string]map[string]*Entry{}
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	put := func(e, from *Entry) {
		e.measure()
		if got := m.put(e, from, nil); got == putDone {
			if latest[e.key] == nil {
				latest[e.key] = map[string]*Entry{}
			}
			latest[e.key][e.chosen[0].value] = e
		} else if got == putTooLarge && e.size <= budget || got == putGone && from == nil {
			t.Fatalf("put says %d", got)
		}
	}
	for range 20_000 {
		key := keys[random.IntN(len(keys))]
		switch found := m.get([]byte(key)); random.IntN(10) {
		case 0:
			m.removeKey(key, false)
			delete(latest, key)
		case 1:
			m.removeWhere(func(k string) bool { return k == key }, true)
		case 2, 3:
			if len(found) > 0 {
				found[random.IntN(len(found))].used.Store(true)
			}
		case 4:
			if len(found) > 0 {
				old := found[random.IntN(len(found))]
				e := old.copied()
				put(e, old)
			}
		default:
			value := string(rune('0' + random.IntN(6)))
			size := random.IntN(20 << 10)
			if random.IntN(100) == 0 {
				size = budget
			}
			e := &Entry{key: key, chosen: []selector{{name: "X", value: value, set: true}}, body: &body{chunks: [][]byte{make([]byte, size)}, length: int64(size)}}
			put(e, nil)
		}
		used, entries := int64(0), int64(0)
		for at := range m.shards {
			s := &m.shards[at]
			for at, e := range s.ring {
				if e.at != at {
					t.Fatal("an entry does not know its place")
				}
				if !slices.Contains(s.keys[e.key], e) {
					t.Fatal("an entry is in the ring, and not under its key")
				}
			}
			for key, all := range s.keys {
				if len(all) == 0 || len(all) > variants {
					t.Fatalf("%d variants under a key", len(all))
				}
				for _, e := range all {
					used += e.size
					entries++
					if latest[key][e.chosen[0].value] != e || removed[e] {
						t.Fatal("what is stored is not the latest of its variant")
					}
				}
			}
		}
		if used > budget || used != m.used.Load() || entries != m.entries.Load() {
			t.Fatalf("%d bytes of %d entries are stored, %d of %d counted, %d the budget", used, entries, m.used.Load(), m.entries.Load(), budget)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "0", ""} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseDate(s, now)
		if !ok {
			return
		}
		// What is read is read as well from how it would be written.
		again, ok := parseDate(at.Format(http.TimeFormat), now)
		if !ok || !again.Equal(at) {
			t.Errorf("%q is %v, then %v", s, at, again)
		}
		// A date that net/http reads too is the same, but for a leap second.
		if theirs, err := http.ParseTime(s); err == nil && theirs.UTC() != at && len(s) == len(http.TimeFormat) {
			t.Errorf("%q is %v, net/http says %v", s, at, theirs)
		}
	})
}

func FuzzParseDirectives(f *testing.F) {
	for _, s := range []string{"max-age=60, no-store", `private="a, b", no-cache`, `foo="a\"b", s-maxage=1`, "max-age==,,\"", `max-age="`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := parseDirectives([]string{s})
		for _, one := range []delta{d.maxAge, d.sMaxAge, d.staleIfError, d.staleWhileRevalidate, d.minFresh, d.maxStale} {
			if one.seconds < 0 || one.seconds > maxSeconds || one.valid && !one.set {
				t.Errorf("%q: %+v", s, one)
			}
		}
		// A directive more restricts, wherever it is, unless it is within quotes.
		if !strings.Contains(s, `"`) && !parseDirectives([]string{s + ",no-store"}).noStore {
			t.Errorf("%q hides what follows", s)
		}
		if !parseDirectives([]string{s, "no-store"}).noStore {
			t.Errorf("%q hides the next line", s)
		}
	})
}

func FuzzParseStructured(f *testing.F) {
	for _, s := range []string{"max-age=60;a, no-store", `a=("x" y);b, c=:AA==:`, `"a", "b";x=1`, "a=1.5, b=@5, c=%\"f%c3\"", "a=?0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if members, ok := parseDictionary([]string{s}); ok {
			for key := range members {
				if key != strings.ToLower(key) || key == "" {
					t.Errorf("%q has the key %q", s, key)
				}
			}
			if again, ok := parseDictionary([]string{s, "zz=1"}); s != "" && strings.TrimLeft(s, " ") != "" && (!ok || len(again) < len(members)) {
				t.Errorf("%q does not go on", s)
			}
		}
		parseList([]string{s})
		fromDictionary(map[string]item{"private": {kind: stringItem, text: s}})
	})
}

func FuzzParseRanges(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5,3-", "bytes=5-2", "bytes=9999999999999999999-"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		specs, ok := parseRanges([]string{s})
		if !ok || size < 0 {
			return
		}
		for _, part := range satisfied(specs, size) {
			if part.first < 0 || part.last < part.first || part.last >= size {
				t.Errorf("%q of %d: %+v", s, size, part)
			}
		}
	})
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes 0-1/*", "bytes */5", "bytes 0-9223372036854775807/9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseContentRange(s)
		if !ok {
			return
		}
		if c.first < 0 || c.last < c.first || c.total >= 0 && c.last >= c.total {
			t.Errorf("%q: %+v", s, c)
		}
		if again, ok := parseContentRange(c.String()); !ok || again != c {
			t.Errorf("%q is %+v, then %+v", s, c, again)
		}
	})
}

func FuzzTags(f *testing.F) {
	for _, s := range []string{`"a", W/"b"`, `"a,b"`, "*", `"a" "b"`, `W/`, `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for tag := range tags([]string{s}) {
			if tag.value == "*" {
				continue
			}
			if again, rest, ok := parseTag(tag.String()); !ok || rest != "" || again != tag {
				t.Errorf("%q has the tag %q, which is read as %q", s, tag, again)
			}
		}
	})
}

// Whoever comes second sees the other: a fill that a purge has met is not stored, and what is
// stored is met by the purge.
func TestPurgedFillIsNotStored(t *testing.T) { // trap 29
	t.Parallel()
	m, err := NewMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	entry := func() *Entry {
		e := &Entry{key: "k", body: &body{}}
		e.measure()
		return e
	}
	f := &flight{key: "k"}
	old := entry()
	if got := m.put(old, nil, f); got != putDone {
		t.Errorf("put says %d", got)
	}
	f.doomed.Store(true)
	if got := m.put(entry(), nil, f); got != putGone {
		t.Errorf("of a purged fetch put says %d", got)
	}
	if got := m.put(entry(), old, f); got != putGone {
		t.Errorf("of a purged validation put says %d", got)
	}
	m.removeKey("k", false)
	if got := m.put(entry(), old, nil); got != putGone || len(m.get([]byte("k"))) != 0 {
		t.Errorf("of what is gone put says %d", got)
	}
}

func TestLongTagsAreIgnored(t *testing.T) { // trap 25
	t.Parallel()
	fits, long := strings.Repeat("x", maxTagLength), strings.Repeat("x", maxTagLength+1)
	tags, ignored := tagsOf(http.Header{"Surrogate-Key": {long + " " + fits}}, []string{"Surrogate-Key"}, 64)
	if len(tags) != 1 || tags[0] != fits || ignored != 1 {
		t.Errorf("%d tags, %d ignored", len(tags), ignored)
	}
}

// What is kept of a body has no room to spare, and a small one is a single write.
func TestBodiesAreKeptCompact(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 600, 4096, singleChunk, singleChunk + 1, 1 << 20} {
		f := &flight{limit: 8 << 20, wake: make(chan struct{}), whole: true}
		for left := size; left > 0; left -= 600 {
			if err := f.write(t.Context(), make([]byte, min(left, 600))); err != nil {
				t.Fatal(err)
			}
		}
		b := compacted(f.chunks, f.end)
		room := 0
		for _, chunk := range b.chunks {
			room += cap(chunk) - len(chunk)
		}
		if b.length != int64(size) || room > size/8 || size <= singleChunk && len(b.chunks) > 1 {
			t.Errorf("%d bytes are kept in %d parts with room for %d", size, len(b.chunks), room)
		}
	}
}
