package httpcache

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// These are the ways in which caches have been attacked, and have failed. Those of
// collapsing are in collapse_test.go.

func TestTrapUnkeyedFieldsAreNotReflected(t *testing.T) { // 1
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			for _, name := range unkeyed {
				_, _ = io.WriteString(w, r.Header.Get(name))
			}
		})
		var pairs []string
		for _, name := range unkeyed {
			pairs = append(pairs, name, "evil")
		}
		if got := s.get("/", pairs...); got.text != "" {
			t.Errorf("the origin has reflected %q", got.text)
		}
		if got := s.get("/"); got.text != "" {
			t.Errorf("and others have %q", got.text)
		}
	})
}

func TestTrapBodyOfGet(t *testing.T) { // 1
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = w.Write(text)
		})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, strings.NewReader("evil"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(text) != "evil" || s.get("").text != "" {
			t.Errorf("%q, and others have %q", text, s.get("").text)
		}
	})
}

func TestTrapDeceptionByPaths(t *testing.T) { // 2 and 3
	faces(t, Options{Profile: RFC9111}, func(t *testing.T, s *site) {
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, r.RequestURI)
		})
		for _, path := range []string{
			"/account", "/account/", "/account/x.css", "/account%2fx.css", "/account/..%2fstatic", "/account/../static", "/static", "/account;x", "/account%3bx", "/account%00x", "//account", "/Account", "/%61ccount",
			"/account?a=1&b=2", "/account?b=2&a=1", "/account?a=1;b=2", "/account?a=1&a=1&b=2", "/account?a=1&b=2&", "/account?A=1&b=2", "/account?", "/account?a", "/account?a=",
		} {
			for range 2 {
				if got := s.get(path); !strings.HasSuffix(got.text, path) || len(got.text) != len(path) && !strings.HasPrefix(got.text, siteURL) {
					t.Errorf("%s: the response is that of %q", path, got.text)
				}
			}
		}
		s.wants(22, "that many resources")
	})
}

func TestTrapHostsOfKeys(t *testing.T) { // 4
	t.Parallel()
	c := uprung.Must(New(nil, nil))
	keyOf := func(host, target string, tls bool) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if r.TLS = nil; tls {
			r = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://x"+target, nil)
			r.URL.Scheme, r.URL.Host = "", ""
		}
		r.Host = host
		return string(c.appendKey(nil, r, ""))
	}
	same := []string{keyOf("site.example", "/", false), keyOf("SITE.example", "/", false), keyOf("site.example:80", "/", false), keyOf("site.example", "http://site.example/", false), keyOf("Site.example", "http://site.example:80", false)}
	for at, key := range same {
		if key != same[0] {
			t.Errorf("%d: %q is not %q", at, key, same[0])
		}
	}
	all := []string{same[0], keyOf("site.example:443", "/", false), keyOf("site.example:8080", "/", false), keyOf("site.example.", "/", false), keyOf("other.example", "/", false), keyOf("site.example", "/", true), keyOf("site.example:80", "/", true), keyOf("", "/", false)}
	slices.Sort(all)
	if len(slices.Compact(all)) != 8 {
		t.Errorf("origins share a key: %q", all)
	}
}

func TestTrapKeysOfEqualHash(t *testing.T) { // 5
	t.Parallel()
	m := uprung.Must(NewMemory(nil))
	for at := range 1000 { // many of each shard
		e := &Entry{key: strconv.Itoa(at), body: &body{}}
		e.measure()
		m.put(e, nil, nil)
	}
	for at := range 1000 {
		if found := m.get([]byte(strconv.Itoa(at))); len(found) != 1 || found[0].key != strconv.Itoa(at) {
			t.Fatalf("%d: %v", at, found)
		}
	}
}

func TestTrapVaryExplosion(t *testing.T) { // 6
	t.Parallel()
	c := uprung.Must(New(nil, nil))
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-A")
	}))
	for at := range 1000 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil)
		r.Header.Set("X-A", strconv.Itoa(at))
		r.Header.Set(forwardedProto, strconv.Itoa(at))
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if n := c.Stats().Entries; n != 32 {
		t.Errorf("%d entries for a URL, want 32", n)
	}
}

func TestTrapErrorPoisoning(t *testing.T) { // 13
	faces(t, Options{}, func(t *testing.T, s *site) {
		script(`origin 400 bad
			GET / | X-Evil: `+strings.Repeat("x", 10000)+` => fwd 400 bad
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a`).run(t, s)
	})
}

func TestTrapRangeAmplification(t *testing.T) { // 16
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.answers(200, strings.Repeat("0123456789", 100), "Cache-Control", "max-age=60")
		s.get("/")
		for _, asks := range []string{
			"bytes=0-,0-", "bytes=0-600,300-999", "bytes=" + strings.Repeat("0-0,", 17) + "0-0", "bytes=" + strings.Repeat("0-0,", 10000) + "0-0",
		} {
			if got := s.get("/", "Range", asks); got.StatusCode != 200 || len(got.text) != 1000 {
				t.Errorf("%.40s: %d with %d bytes", asks, got.StatusCode, len(got.text))
			}
		}
		got := s.get("/", "Range", "bytes=0-1,5-7,-2")
		mediaType := got.Header.Get("Content-Type")
		if got.StatusCode != 206 || !strings.HasPrefix(mediaType, "multipart/byteranges; boundary=") {
			t.Fatalf("%d %v", got.StatusCode, got.Header)
		}
		boundary := strings.TrimPrefix(mediaType, "multipart/byteranges; boundary=")
		want := ""
		for _, one := range []struct{ span, text string }{{"0-1", "01"}, {"5-7", "567"}, {"998-999", "89"}} {
			want += "\r\n--" + boundary + "\r\nContent-Range: bytes " + one.span + "/1000\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + one.text
		}
		if want = strings.TrimPrefix(want, "\r\n") + "\r\n--" + boundary + "--\r\n"; got.text != want {
			t.Errorf("%q, want %q", got.text, want)
		}
		s.wants(1, "all of it is stored")
	})
}

func TestTrapCodingsOfOthers(t *testing.T) { // 17
	faces(t, Options{}, func(t *testing.T, s *site) {
		for name, vary := range map[string]string{"/vary": " | Vary: Accept-Encoding", "/forgotten": ""} {
			script(`origin 200 zip | Cache-Control: max-age=60 | Content-Encoding: gzip`+vary+`
				GET `+name+` | Accept-Encoding: gzip => fwd 200 zip
				GET `+name+` | Accept-Encoding: gzip => hit 200 zip
				origin 200 plain | Cache-Control: max-age=60`+vary+`
				GET `+name+` | Accept-Encoding: identity => fwd 200 plain`).run(t, s)
		}
		script(`origin 200 odd | Cache-Control: max-age=60 | Content-Encoding: deflate | Vary: Accept-Encoding
			GET /odd | Accept-Encoding: deflate => fwd 200 odd
			GET /odd | Accept-Encoding: deflate => hit 200 odd
			origin 200 plain | Cache-Control: max-age=60 | Vary: Accept-Encoding
			GET /odd | Accept-Encoding: identity => fwd 200 plain`).run(t, s)
	})
}

func TestTrapTransparentGunzip(t *testing.T) { // 17
	t.Parallel()
	c := uprung.Must(New(nil, nil))
	calls := 0
	rt := c.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		calls++ // as net/http does it
		return &http.Response{
			StatusCode: 200, Uncompressed: true, ContentLength: -1, Request: r,
			Header: http.Header{"Cache-Control": {"max-age=60"}, "Etag": {`"1"`}}, Body: io.NopCloser(strings.NewReader("plain")),
		}, nil
	}))
	for range 2 {
		resp, err := rt.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(text) != "plain" || err != nil || resp.ContentLength != -1 && resp.ContentLength != 5 || resp.Header.Get("Etag") != `W/"1"` {
			t.Errorf("%q, %v, %d %v", text, err, resp.ContentLength, resp.Header)
		}
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestTrapResponsesAreNotMixed(t *testing.T) { // 19
	t.Parallel()
	c := uprung.Must(New(uprung.Must(NewMemory(&MemoryOptions{Budget: 1 << 20})), nil))
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("X-Path", r.URL.Path)
		n, _ := strconv.Atoi(r.URL.Path[1:])
		for range n * 100 {
			_, _ = io.WriteString(w, r.URL.Path)
		}
	}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for at := range 200 {
				path := "/" + strconv.Itoa(10+at*7%90)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+path, nil))
				if text := w.Body.String(); w.Header().Get("X-Path") != path || strings.Count(text, path)*len(path) != len(text) || len(text) == 0 {
					t.Errorf("%s has the response of another", path)
				}
			}
		})
	}
	wg.Wait()
}

func TestTrapHeadersOfOthersAreNotChanged(t *testing.T) { // 20
	t.Parallel()
	c := uprung.Must(New(nil, nil))
	own := []string{"a", "b"}
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-A"] = own[:1]
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "text")
		own[0] = "changed by the handler"
		w.Header().Set("X-A", "changed after the header")
	}))
	rt := c.Transport(roundTripper(func(*http.Request) (*http.Response, error) { panic("all is stored") }))
	for range 3 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil))
		if got := w.Header()["X-A"]; !slices.Equal(got, []string{"a"}) {
			t.Errorf("the handler face: %q", got)
		}
		w.Header().Add("X-A", "c")
		w.Header().Set("Cache-Control", "no-store")
		delete(w.Header(), "Date")

		resp, err := rt.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header["X-A"]; !slices.Equal(got, []string{"a"}) || resp.Header.Get("Cache-Control") != "max-age=60" {
			t.Errorf("the transport: %v", resp.Header)
		}
		resp.Header["X-A"][0] = "changed in place"
		resp.Header.Add("X-A", "c")
	}
}

// What stands outside of the cache sets fields anew for each response.
func TestTrapFieldsOfOuterLayersAreNotReplayed(t *testing.T) { // 7 and 20
	t.Parallel()
	c := uprung.Must(New(nil, nil))
	n := 0
	cached := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Add("Vary", "X-A")
	}))
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("X-Request-Id", strconv.Itoa(n))
		w.Header().Set("Vary", "Origin")
		cached.ServeHTTP(w, r)
	})
	for at := range 3 {
		w := httptest.NewRecorder()
		outer.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil))
		if h := w.Header(); h.Get("X-Request-Id") != strconv.Itoa(at+1) || !slices.Equal(h["Vary"], []string{"Origin", "X-A"}) {
			t.Errorf("%d: %v", at, h)
		}
	}
	if s := c.Stats(); s.Hits != 2 {
		t.Errorf("%d hits", s.Hits)
	}
}

func TestTrapConnectionNamesFieldsThatDecide(t *testing.T) { // 22
	t.Parallel()
	for _, fields := range []http.Header{
		{"Cache-Control": {"no-store, max-age=60"}}, {"Cache-Control": {"max-age=60"}, "Vary": {"*"}}, {"Cache-Control": {"max-age=60"}, "Set-Cookie": {"a=b"}},
	} {
		c := uprung.Must(New(nil, nil))
		h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), fields)
			w.Header().Set("Connection", "cache-control, vary, set-cookie")
		}))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil))
		if s := c.Stats(); s.Stored != 0 {
			t.Errorf("%v is stored", fields)
		}
	}
}

func TestTrapTagFlood(t *testing.T) { // 25
	t.Parallel()
	const budget = 1 << 20
	c := uprung.Must(New(uprung.Must(NewMemory(&MemoryOptions{Budget: budget})), nil))
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		var tags []string
		for at := range 1000 {
			tags = append(tags, r.URL.Path+"-"+strconv.Itoa(at))
		}
		w.Header().Set("Surrogate-Key", strings.Join(tags, " ")+" "+strings.Repeat("x", 300))
	}))
	for at := range 300 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/"+strconv.Itoa(at), nil))
	}
	s := c.Stats()
	if tags := len(c.tags.cells); s.Bytes > budget || int64(tags) != s.Entries*64 || s.TagsIgnored != 300*(1001-64) {
		t.Errorf("%d tags of %d entries, %d ignored, %d bytes", tags, s.Entries, s.TagsIgnored, s.Bytes)
	}
	c.PurgeAll(t.Context())
	if len(c.tags.cells) != 0 {
		t.Errorf("%d tags of no entry", len(c.tags.cells))
	}
}

func TestTrapTagsAreExact(t *testing.T) { // 26
	t.Parallel()
	c := uprung.Must(New(uprung.Must(NewMemory(&MemoryOptions{Budget: 1 << 30})), nil))
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Surrogate-Key", "all item-"+r.URL.Path[1:])
	}))
	n := 5_000
	if fullModels() {
		n = 100_000
	}
	get := func(at int) {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/"+strconv.Itoa(at), nil))
	}
	for at := range n {
		get(at)
	}
	if known, err := c.PurgeTag(t.Context(), siteURL, "item-1", "item-", "item-1 ", "ITEM-2", "item-1%"); known != 1 || err != nil {
		t.Errorf("%d, %v", known, err)
	}
	before := c.Stats()
	for at := range n {
		get(at)
	}
	if s := c.Stats(); s.Misses-before.Misses != 1 || s.Hits-before.Hits != uint64(n-1) {
		t.Errorf("%d have missed, want 1", s.Misses-before.Misses)
	}
	if known, err := c.PurgeTag(t.Context(), siteURL, "all"); known != 1 || err != nil {
		t.Errorf("%d, %v", known, err)
	}
	before = c.Stats()
	for at := range 1000 {
		get(at)
	}
	if s := c.Stats(); s.Hits != before.Hits {
		t.Errorf("%d are still there", s.Hits-before.Hits)
	}
}

// Trap 29: whatever a fill has begun with, it is gone after a purge.
func TestTrapPurgeDuringAFill(t *testing.T) {
	for _, one := range []struct {
		name  string
		purge func(*site)
	}{
		{"Purge", func(s *site) { _, _ = s.cache.Purge(s.t.Context(), siteURL+"/") }},
		{"SoftPurge", func(s *site) { _, _ = s.cache.SoftPurge(s.t.Context(), siteURL+"/") }},
		{"PurgePrefix", func(s *site) { _, _ = s.cache.PurgePrefix(s.t.Context(), siteURL) }},
		{"PurgeTag", func(s *site) { _, _ = s.cache.PurgeTag(s.t.Context(), siteURL, "x") }},
		{"PurgeAll", func(s *site) { s.cache.PurgeAll(s.t.Context()) }},
		{"POST", func(s *site) { s.do(http.MethodPost, "/") }},
	} {
		for _, when := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} {
			t.Run(fmt.Sprint(one.name, when), func(t *testing.T) {
				faces(t, Options{}, func(t *testing.T, s *site) {
					s.handle(func(w http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodPost {
							return
						}
						time.Sleep(time.Second)
						w.Header().Set("Cache-Control", "max-age=60")
						w.Header().Set("Surrogate-Key", "x")
						_ = http.NewResponseController(w).Flush()
						time.Sleep(time.Second)
						_, _ = io.WriteString(w, "old")
					})
					var wg sync.WaitGroup
					wg.Go(func() { s.get("/") })
					time.Sleep(when)
					one.purge(s)
					wg.Wait()
					script(`origin 200 new | Cache-Control: max-age=60 | Surrogate-Key: x
						GET / => fwd 200 new
						GET / => hit 200 new`).run(t, s)
				})
			})
		}
	}
}

// The same without a clock: once a purge has returned, nobody has what was before it.
func TestTrapPurgeRacesFills(t *testing.T) { // 29
	t.Parallel()
	c := uprung.Must(New(nil, nil))
	var mu sync.Mutex
	version := 0
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		v := version
		mu.Unlock()
		runtime.Gosched()
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Surrogate-Key", "x")
		w.Header().Set("X-Version", strconv.Itoa(v))
	}))
	get := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, siteURL+"/", nil))
		v, _ := strconv.Atoi(w.Header().Get("X-Version"))
		return v
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					get()
				}
			}
		})
	}
	for at := range 1500 {
		get() // and so the others have a turn
		mu.Lock()
		version++
		v := version
		mu.Unlock()
		if at%2 == 0 {
			_, _ = c.Purge(t.Context(), siteURL+"/")
		} else {
			_, _ = c.PurgeTag(t.Context(), siteURL, "x")
		}
		// A request that begins now may wait for a fetch that has begun before, but what is
		// stored is not older.
		for _, e := range c.store.get([]byte(siteURL + "/\n")) {
			if stored, _ := strconv.Atoi(single(e.header, "X-Version")); stored < v && e.valid() == current {
				t.Fatalf("version %d is stored after the purge of %d", stored, v)
			}
		}
	}
	close(stop)
	wg.Wait()
	if s := c.Stats(); s.Stored < 1000 {
		t.Errorf("only %d fills", s.Stored)
	}
}

func TestTrapMemoryIsBounded(t *testing.T) { // 30
	resident := func() float64 {
		var m runtime.MemStats
		debug.FreeOSMemory()
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse) / (1 << 20)
	}
	const budget = 32 << 20
	c := uprung.Must(New(uprung.Must(NewMemory(&MemoryOptions{Budget: budget})), &Options{Profile: RFC9111}))
	piece := bytes.Repeat([]byte{'x'}, 64<<10)
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Vary", "X-A")
		n := 1
		if r.URL.Path == "/large" {
			n = 1024 // 64 MB
		}
		for range n {
			_, _ = w.Write(piece[:max(len(piece)*min(n-1, 1), 1024)])
		}
	}))
	before := resident()
	most := before
	for range 2 {
		w := &counter{header: make(http.Header), each: func(n int64) {
			if n%(8<<20) == 0 {
				most = max(most, resident())
			}
		}}
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/large", nil))
		if w.n != 64<<20 {
			t.Errorf("%d bytes have come", w.n)
		}
	}
	if over := most - before; over > 8+16 {
		t.Errorf("two bodies of 64 MB have taken %.0f MB", over)
	}
	n := 40_000
	if fullModels() {
		n = 100_000
	}
	for at := range n {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/"+strconv.Itoa(at/16), nil)
		r.Header.Set("X-A", strconv.Itoa(at))
		h.ServeHTTP(&counter{header: make(http.Header)}, r)
	}
	if over := resident() - before; over > budget>>20+16 {
		t.Errorf("%d variants take %.0f MB", n, over)
	}
	if s := c.Stats(); s.Bytes > budget || s.Evicted == 0 {
		t.Errorf("%+v", s)
	}
}

type counter struct {
	header http.Header
	n      int64
	each   func(int64)
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.each != nil {
		c.each(c.n)
	}
	return len(p), nil
}

func TestTrapEventStreamsAreNotBuffered(t *testing.T) { // 31
	for _, says := range []string{"no-store", "max-age=60"} {
		t.Run(says, func(t *testing.T) {
			faces(t, Options{}, func(t *testing.T, s *site) {
				s.streams("ab", "Content-Type", "text/event-stream", "Cache-Control", says)
				if a := s.crowd(t.Context(), 1, "/", nil)[0]; a.first != time.Second || a.last != 2*time.Second || a.text != "ab" {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

func TestTrapNothingIsShownByDefault(t *testing.T) { // 33
	faces(t, Options{}, func(t *testing.T, s *site) {
		script(`origin 200 a | Cache-Control: max-age=60 | Surrogate-Key: secret | Cache-Tag: secret
			GET /x => fwd 200 a | Surrogate-Key: - | Cache-Tag: - | Cache-Status: uprung; fwd=uri-miss; ttl=60; stored
			GET /x => hit 200 a | Surrogate-Key: - | Cache-Tag: - | Cache-Status: uprung; hit; ttl=60
			origin 200 a | Cache-Control: no-store | Surrogate-Key: secret
			GET /y => fwd 200 a | Surrogate-Key: -
			POST /y => fwd 200 a | Surrogate-Key: -`).run(t, s)
	})
}

func TestTrapFramingThatIsNotClear(t *testing.T) { // 35
	t.Parallel()
	for _, fields := range []http.Header{
		{"Transfer-Encoding": {"gzip"}}, {"Content-Length": {"1", "2"}}, {"Content-Length": {"1, 1"}}, {"Content-Length": {"-1"}}, {"Content-Length": {"x"}},
	} {
		c := uprung.Must(New(nil, &Options{Profile: RFC9111}))
		fields["Cache-Control"] = []string{"max-age=60"}
		resp, err := c.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: fields, ContentLength: -1, Body: io.NopCloser(strings.NewReader("a")), Request: r}, nil
		})).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if s := c.Stats(); s.Stored != 0 || s.Refused["framing"] != 1 {
			t.Errorf("%v: %+v", fields, s)
		}
	}
}

// H15.2, RFC 8297: they pass at once, and are nobody else's.
func TestInterimResponsesPassAndAreNotStored(t *testing.T) {
	faces(t, Options{Profile: RFC9111}, func(t *testing.T, s *site) {
		s.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</x.css>; rel=preload")
			w.Header().Set("Cache-Control", "max-age=600")
			w.WriteHeader(http.StatusEarlyHints)
			time.Sleep(time.Second)
			w.Header().Del("Link")
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "a")
		})
		start := time.Now()
		hinted := time.Duration(-1)
		r, err := http.NewRequestWithContext(withTrace(t.Context(), func(code int, h http.Header) {
			if hinted = time.Since(start); code != http.StatusEarlyHints || h.Get("Link") == "" {
				t.Errorf("%d %v", code, h)
			}
		}), http.MethodGet, siteURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if hinted != 0 {
			t.Errorf("103 has come after %v", hinted)
		}
		script("GET  => hit 200 a | Link: - | Cache-Control: max-age=60").run(t, s)
	})
}

// C3.1, H6.5.1: trailers pass, and are not stored.
func TestTrailersPassAndAreNotStored(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		for _, says := range []string{"max-age=60", "no-store"} {
			s.handle(func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h.Set("Cache-Control", says)
				h.Set("Trailer", "X-Declared")
				_, _ = io.WriteString(w, "a")
				_ = http.NewResponseController(w).Flush()
				h.Set("X-Declared", "1")
				h.Set(http.TrailerPrefix+"X-Late", "2")
			})
			if got := s.get("/" + says); got.Trailer.Get("X-Declared") != "1" || got.Trailer.Get("X-Late") != "2" || got.text != "a" {
				t.Errorf("%s: %q %v", says, got.text, got.Trailer)
			}
		}
		if got := s.get("/max-age=60"); len(got.Trailer) != 0 || got.Header["X-Declared"] != nil || got.Header["Trailer"] != nil || got.text != "a" {
			t.Errorf("stored: %q %v %v", got.text, got.Header, got.Trailer)
		}
	})
}

// A hit allocates nothing.
func TestHitAllocatesNothing(t *testing.T) {
	c := uprung.Must(New(nil, nil))
	text := bytes.Repeat([]byte{'x'}, 4096)
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Vary", "Accept-Encoding")
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Surrogate-Key", "a b c")
		_, _ = w.Write(text)
	}))
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /x?y=1 HTTP/1.1\r\nHost: Site.example\r\nAccept-Encoding: gzip, br\r\nUser-Agent: x\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	w := &counter{header: make(http.Header)}
	h.ServeHTTP(w, r)
	if n := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s := c.Stats(); s.Misses != 1 || s.Hits < 1000 {
		t.Errorf("%+v", s)
	}
}
