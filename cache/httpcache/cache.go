package httpcache

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

// Cache answers requests from the responses to earlier ones. Its methods Middleware and
// Transport are its faces, which share what is stored. It is safe for concurrent use. Use
// [New].
type Cache struct {
	o        Options
	settings []uprung.Setting
	rules    rules
	store    *Memory
	tags     tagIndex
	flights  flights
	mode     atomic.Int32
	count    counters
	running  atomic.Int64 // validations in the background
	unmet    *httpx.Problem
}

// New returns a cache over a store, which must not be another cache's. A nil store means
// a [Memory] with its defaults, and nil options are the defaults. The error names every
// field that is not valid.
func New(store *Memory, o *Options) (*Cache, error) {
	if o == nil {
		o = &Options{}
	}
	c := &Cache{store: store}
	var err error
	if c.o, c.settings, err = o.complete(); err != nil {
		return nil, err
	}
	if c.store == nil {
		if c.store, err = NewMemory(nil); err != nil {
			return nil, err
		}
	}
	if c.unmet, err = httpx.NewProblem(http.StatusGatewayTimeout, &httpx.ProblemOptions{Detail: "No stored response can answer this request."}); err != nil {
		return nil, err
	}
	c.store.removed = func(e *Entry) { c.tags.release(e.tags) }
	c.mode.Store(int32(c.o.Mode))
	c.rules = rules{
		rfc: c.o.Profile == RFC9111, shared: true, targetFields: c.o.TargetFields, cookies: c.o.SetCookie,
		heuristicMax: max(c.o.HeuristicMax, 0), heuristicPart: 0.1, staleOnError: c.o.StaleOnError, staleSMaxAge: c.o.StaleSMaxAge,
		trustRequest: c.o.TrustRequest,
	}
	return c, nil
}

// Mode returns the mode.
func (c *Cache) Mode() uprung.Mode { return uprung.Mode(c.mode.Load()) }

// SetMode changes the mode while running.
func (c *Cache) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return errors.New("httpcache: " + err.Error())
	}
	c.mode.Store(int32(mode))
	return nil
}

// exchange is a request on its way through the cache.
type exchange struct {
	c        *Cache
	rules    *rules
	in       *http.Request // as it came
	out      *http.Request // as it goes to the origin
	key      string
	division string
	wants    wants
	verdict  verdict
	asked    time.Time
	flight   *flight // that it leads; may be nil
	alone    bool    // it waited for another's in vain
	shadow   bool    // nothing is answered from the cache
	again    bool    // without conditions, since no candidate was meant
}

// passable reports whether a request is none that a cache answers or stores.
func passable(r *http.Request) bool {
	return r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0 || r.URL.Opaque != "" ||
		r.Method == http.MethodGet && (r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody)
}

// trusts reports whether what a request says of caches counts.
func (c *Cache) trusts(r *http.Request, face bool) bool {
	if c.rules.trustRequest != nil {
		return c.rules.trustRequest(r)
	}
	return c.rules.rfc || face
}

// disposition is what is done with a response of the origin.
type disposition struct {
	entry *Entry   // to be used instead, or stored
	use   bool     // the entry answers
	keep  bool     // the response is passed on, and the entry stored
	again bool     // the request goes out once more
	lines []string // Cache-Status
}

// headers decides about a response whose header is here.
func (x *exchange) headers(code int, h http.Header, now time.Time) disposition {
	c, v := x.c, &x.verdict
	s := status{name: c.o.Name, fwd: v.fwd}
	if x.alone {
		s.collapsed = -1
	}
	if c.o.Debug {
		s.key = x.key
	}
	conditional := v.action == validate && !x.shadow && !x.again
	switch {
	case conditional && code == http.StatusNotModified:
		if e := x.validated(h, now); e != nil {
			s.fwdStatus, s.timed, s.ttl, s.stored = code, true, int64(e.remaining(now)/time.Second), true
			return disposition{entry: e, use: true, lines: s.lines(e.header[cacheStatus])}
		}
		if !x.clientHas(h) {
			return disposition{again: true}
		}
	case conditional && (code == 500 || code >= 502 && code <= 504) && x.rules.staleOnErrorAllowed(v.entry, &x.wants, true, now):
		c.count.stale.Add(1)
		s.fwdStatus, s.timed, s.ttl = code, true, int64(v.entry.remaining(now)/time.Second)
		return disposition{entry: v.entry, use: true, lines: s.lines(v.entry.header[cacheStatus])}
	}
	if x.in.Method == http.MethodHead {
		x.head(code, h, now)
		return disposition{lines: s.lines(h[cacheStatus])}
	}
	e, why := x.admit(code, h, now)
	if e == nil {
		c.count.refuse(why)
		return disposition{lines: s.lines(h[cacheStatus])}
	}
	s.stored, s.timed, s.ttl = true, true, int64(e.remaining(now)/time.Second)
	return disposition{entry: e, keep: true, lines: s.lines(h[cacheStatus])}
}

// clientHas reports whether a 304 is about what the client has, and not the cache.
func (x *exchange) clientHas(h http.Header) bool {
	tag, ok := tagOf(h)
	return ok && anyMatches(x.in.Header["If-None-Match"], tag)
}

// admit makes an entry of a response that may be stored, or says why it may not.
func (x *exchange) admit(code int, h http.Header, now time.Time) (*Entry, refusal) {
	c := x.c
	date, dated := dateOf(h, now)
	p := x.rules.policyOf(code, h, date, now)
	if why := x.rules.storable(x.in, &x.wants.directives, code, h, &p); why != stored {
		return nil, why
	}
	length := int64(-1)
	if said := single(h, "Content-Length"); said != "" {
		if n, err := strconv.ParseInt(said, 10, 64); err == nil {
			length = n
		}
	}
	if length > c.o.MaxObject || headerSize(h) > c.o.MaxHeader {
		return nil, refusedSize
	}
	kept := x.rules.kept(h, &p)
	if !dated {
		kept["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
	e := newEntry(x.key, x.out, code, kept, p, x.asked, now)
	e.total, e.division = length, x.division
	if code == http.StatusPartialContent {
		part, ok := parseContentRange(single(h, "Content-Range"))
		if tag, strongly := tagOf(h); !ok || !strongly || tag.weak {
			return nil, refusedIncomplete
		}
		e.partial, e.part, e.total = true, part.byteRange, part.total
	} else if len(h["Content-Range"]) > 0 {
		return nil, refusedIncomplete
	}
	c.withhold(e)
	names, ignored := tagsOf(h, c.o.TagFields, c.o.MaxTags)
	c.count.tagsIgnored.Add(uint64(ignored))
	e.tags = c.tags.acquire(originOf(x.in), names)
	return e, stored
}

// withhold takes out of the header of an entry what is not passed on.
func (c *Cache) withhold(e *Entry) {
	take := func(names []string, keep string) {
		for _, name := range names {
			if values, ok := e.header[name]; ok && name != keep {
				if e.withheld == nil {
					e.withheld = make(http.Header)
				}
				e.withheld[name] = values
				delete(e.header, name)
			}
		}
	}
	if !c.o.KeepTags {
		take(c.o.TagFields, cacheGroups)
	}
	if c.o.StripTargetFields {
		take(c.o.TargetFields, "")
	}
}

// withheldFrom takes the same out of a response that is not stored.
func (c *Cache) withheldFrom(h http.Header) {
	if !c.o.KeepTags {
		for _, name := range c.o.TagFields {
			if name != cacheGroups {
				delete(h, name)
			}
		}
	}
	if c.o.StripTargetFields {
		for _, name := range c.o.TargetFields {
			delete(h, name)
		}
	}
}

func headerSize(h http.Header) int {
	size := 0
	for name, values := range h {
		for _, value := range values {
			size += len(name) + len(value) + 4
		}
	}
	return size
}

// originOf returns scheme and host of a request.
func originOf(r *http.Request) string { return string(appendOrigin(nil, r)) }

// abandon gives up an entry that is not stored.
func (x *exchange) abandon(e *Entry, why refusal) {
	x.c.tags.release(e.tags)
	x.c.count.refuse(why)
}

// commit stores an entry with the body of a flight, which has ended.
func (x *exchange) commit(e *Entry, f *flight, failed error) {
	c := x.c
	f.mu.Lock()
	b, whole, doomed := &body{chunks: f.chunks, length: f.end}, f.whole && f.end <= c.o.MaxObject, f.doomed
	for _, name := range f.purged {
		for at := range e.tags {
			doomed = doomed || e.tags[at].name == name
		}
	}
	f.mu.Unlock()
	switch {
	case doomed:
		x.abandon(e, refusedPurged)
		return
	case !whole:
		x.abandon(e, refusedSize)
		return
	}
	e = e.copied() // others read the one that was published
	e.body = b
	if x.shadow {
		x.compare(e, failed)
	}
	if e.partial {
		if failed != nil || b.length != e.part.size() {
			x.abandon(e, refusedIncomplete)
			return
		}
		x.commitPart(e)
		return
	}
	if failed != nil || e.total >= 0 && e.total != b.length {
		x.commitCut(e)
		return
	}
	e.total = b.length
	if e.status != http.StatusNoContent && e.header["Content-Length"] == nil {
		e.header["Content-Length"] = []string{strconv.FormatInt(b.length, 10)}
	}
	x.put(e)
}

// compare counts a response that the cache would have answered otherwise.
func (x *exchange) compare(e *Entry, failed error) {
	would := x.verdict.entry
	if failed != nil || would == nil || x.verdict.action != reuse && x.verdict.action != reuseOnce {
		return
	}
	if would.status != e.status || would.body.length != e.body.length || !slices.Equal(slices.Concat(would.body.chunks...), slices.Concat(e.body.chunks...)) {
		x.c.count.shadowWrong.Add(1)
	}
}

// put stores an entry.
func (x *exchange) put(e *Entry) {
	e.measure()
	if !x.c.store.put(e, nil) {
		x.abandon(e, refusedSize)
		return
	}
	x.c.count.stored.Add(1)
}

// commitCut stores what came of a body that was cut off as the part that it is, if more
// of it can be told to be of the same (RFC 9111, section 3.3).
func (x *exchange) commitCut(e *Entry) {
	tag, ok := tagOf(e.header)
	if !x.rules.rfc || e.status != http.StatusOK || !ok || tag.weak || e.total <= e.body.length || e.body.length == 0 {
		x.abandon(e, refusedIncomplete)
		return
	}
	e.partial, e.part = true, byteRange{0, e.body.length - 1}
	x.commitPart(e)
}

// commitPart stores a part, joined with one that is stored already (RFC 9111, section
// 3.4).
func (x *exchange) commitPart(e *Entry) {
	own, _ := tagOf(e.header)
	for _, known := range x.c.store.get([]byte(e.key)) {
		if known.division != e.division || !sameSelectors(known.chosen, e.chosen) || known.valid() != current {
			continue
		}
		tag, _ := tagOf(known.header)
		if !strong(tag, own) {
			continue
		}
		if !known.partial {
			x.abandon(e, refusedIncomplete) // all of it is here already
			return
		}
		if known.total >= 0 && e.total >= 0 && known.total != e.total {
			continue
		}
		lo, hi := known, e
		if hi.part.first < lo.part.first {
			lo, hi = hi, lo
		}
		switch {
		case hi.part.first > lo.part.last+1:
			continue // a gap
		case hi.part.last <= lo.part.last:
			e.body, e.part = lo.body, lo.part
		default:
			e.body = join(lo.body, hi.body.cut(lo.part.last+1-hi.part.first, hi.part.last-lo.part.last))
			e.part = byteRange{lo.part.first, hi.part.last}
		}
		e.total = max(e.total, known.total)
		header := freshened(known.header, e.header)
		e.header = header
		break
	}
	delete(e.header, "Content-Range")
	delete(e.header, "Content-Length")
	e.status = http.StatusPartialContent
	if e.total >= 0 && e.part.first == 0 && e.part.last == e.total-1 && e.total <= x.c.o.MaxObject {
		e.status, e.partial = http.StatusOK, false
		e.header["Content-Length"] = []string{strconv.FormatInt(e.total, 10)}
	}
	x.put(e)
}

// validated stores what a 304 says of the candidates that it is about, and returns the
// one to be used, or nil if it is about none.
func (x *exchange) validated(h http.Header, now time.Time) *Entry {
	var use *Entry
	for _, old := range x.verdict.selected(h, now) {
		e := x.freshen(old, h, now)
		if !x.doomed() {
			x.c.tags.retain(e.tags)
			if !x.c.store.put(e, old) {
				x.c.tags.release(e.tags) // the old one is gone: this one serves once
			}
		}
		if use == nil || old == x.verdict.entry {
			use = e
		}
	}
	if use != nil {
		x.c.count.validated.Add(1)
	}
	return use
}

// doomed reports whether what was fetched was purged meanwhile.
func (x *exchange) doomed() bool {
	if x.flight == nil {
		return false
	}
	x.flight.mu.Lock()
	defer x.flight.mu.Unlock()
	return x.flight.doomed
}

// freshen returns a response with what a newer header of it says (RFC 9111, section 3.2).
// What depends on that header, depends on the new one.
func (x *exchange) freshen(old *Entry, h http.Header, now time.Time) *Entry {
	full := old.header
	if old.withheld != nil {
		full = make(http.Header, len(old.header)+len(old.withheld))
		maps.Copy(full, old.header)
		maps.Copy(full, old.withheld)
	}
	merged := freshened(full, h)
	delete(merged, "Age")
	if len(h["Age"]) > 0 {
		merged["Age"] = h["Age"]
	}
	if len(h["Date"]) == 0 {
		merged["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
	date, _ := dateOf(merged, now)
	p := x.rules.policyOf(old.status, merged, date, now)
	e := &Entry{
		key: old.key, method: old.method, status: old.status, header: x.rules.kept(merged, &p), body: old.body,
		total: old.total, part: old.part, partial: old.partial, chosen: old.chosen, policy: p, date: date, received: now,
		initial: initialAge(merged, date, x.asked, now), tags: old.tags, division: old.division,
	}
	for at := range e.tags {
		if e.tags[at].soft != e.tags[at].cell.soft.Load() { // what was purged softly is new again
			fresh := append([]tagged(nil), e.tags...)
			for at := range fresh {
				fresh[at].soft = fresh[at].cell.soft.Load()
			}
			e.tags = fresh
			break
		}
	}
	x.c.withhold(e)
	e.measure()
	return e
}

// head uses the response to a HEAD to learn about the stored response to a GET (RFC 9111,
// section 4.3.5).
func (x *exchange) head(code int, h http.Header, now time.Time) {
	old := x.verdict.entry
	if code != http.StatusOK || old == nil || old.partial {
		return
	}
	for _, name := range []string{"Etag", "Last-Modified", "Content-Length"} {
		if said := single(h, name); said != "" && said != single(old.header, name) {
			old.stale.Store(true)
			return
		}
	}
	e := x.freshen(old, h, now)
	x.c.tags.retain(e.tags)
	if !x.c.store.put(e, old) {
		x.c.tags.release(e.tags)
	}
}

// invalidate ends what the response to an unsafe request says is no longer so (RFC 9111,
// section 4.4).
func (c *Cache) invalidate(r *http.Request, principal string, code int, h http.Header) {
	if code < 200 || code > 399 {
		return
	}
	c.drop(string(c.appendKey(nil, r, principal)))
	for _, name := range []string{"Location", "Content-Location"} {
		said := single(h, name)
		if said == "" {
			continue
		}
		at, err := r.URL.Parse(said)
		if err != nil || at.Opaque != "" {
			continue
		}
		other := &http.Request{Method: http.MethodGet, URL: at, TLS: r.TLS, Header: http.Header{}}
		if at.Host == "" {
			other.Host = r.Host
		}
		if originOf(other) == originOf(r) {
			c.drop(string(c.appendKey(nil, other, principal)))
		}
	}
	if !c.o.IgnoreGroupInvalidation {
		if groups, ok := parseList(h[groupInvalidates]); ok {
			for at, group := range groups {
				if at == c.o.MaxTags {
					break
				}
				if group.kind == stringItem {
					c.purgeTag(originOf(r), group.text, false)
				}
			}
		}
	}
}

// drop ends all responses under a key.
func (c *Cache) drop(key string) {
	c.flights.doomKey(key)
	c.count.invalidated.Add(uint64(c.store.removeKey(key, false)))
}

// safeMethods are those that change nothing (RFC 9110, section 9.2.1; RFC 4918 and its
// kin).
func safeMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "PROPFIND", "REPORT", "SEARCH", "QUERY":
		return true
	}
	return false
}

// Purge ends all responses to requests for a URL, absolute and byte for byte as clients
// send it, and returns how many there were. A fetch that has begun before is not stored.
func (c *Cache) Purge(_ context.Context, url string) (int, error) { return c.purgeURL(url, false) }

// SoftPurge makes them stale, so that they are validated before they are used again, and
// can be used while they are, or if the origin fails.
func (c *Cache) SoftPurge(_ context.Context, url string) (int, error) { return c.purgeURL(url, true) }

func (c *Cache) purgeURL(url string, soft bool) (int, error) {
	key, err := c.keyOf(url)
	if err != nil {
		return 0, err
	}
	c.count.purges.Add(1)
	c.flights.doomKey(key)
	return c.store.removeKey(key, soft), nil
}

// keyOf returns the key of a URL in a shared cache.
func (c *Cache) keyOf(url string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil || r.URL.Host == "" {
		return "", errors.New("httpcache: url is " + strconv.Quote(url) + ", want an absolute one")
	}
	return string(c.appendKey(nil, r, "")), nil
}

// PurgePrefix ends all responses whose URL begins with a prefix: an absolute URL whose
// path ends a segment, so that /items stands for /items, /items/1 and /items?page=2, and
// not for /items2. It looks at all keys that there are.
func (c *Cache) PurgePrefix(_ context.Context, prefix string) (int, error) {
	key, err := c.keyOf(prefix)
	if err != nil {
		return 0, err
	}
	key = strings.TrimSuffix(key, string(rune(keyEnd)))
	match := func(known string) bool { return prefixed(known, key) }
	c.count.purges.Add(1)
	c.flights.doom(func(f *flight) bool { return match(f.key) })
	return c.store.removeWhere(match, false), nil
}

// PurgeTag ends all responses of an origin, such as https://example.com, that have one of
// the tags. It takes as long for one response as for a million. Tags are compared byte for
// byte.
func (c *Cache) PurgeTag(_ context.Context, origin string, tags ...string) {
	c.count.purges.Add(1)
	for _, tag := range tags {
		c.purgeTag(strings.ToLower(origin), tag, false)
	}
}

// SoftPurgeTag makes them stale.
func (c *Cache) SoftPurgeTag(_ context.Context, origin string, tags ...string) {
	c.count.purges.Add(1)
	for _, tag := range tags {
		c.purgeTag(strings.ToLower(origin), tag, true)
	}
}

func (c *Cache) purgeTag(origin, tag string, soft bool) {
	name := tagKey(origin, tag)
	c.flights.doom(func(f *flight) bool {
		if len(f.purged) < maxPurgedIn {
			f.purged = append(f.purged, name)
			return false
		}
		return true
	})
	c.tags.purge(origin, tag, soft)
}

// PurgeAll ends all responses, and returns how many there were.
func (c *Cache) PurgeAll(context.Context) int {
	c.count.purges.Add(1)
	c.flights.doom(func(*flight) bool { return true })
	return c.store.removeWhere(func(string) bool { return true }, false)
}
