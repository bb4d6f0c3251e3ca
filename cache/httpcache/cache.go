package httpcache

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
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
	if c.store.owned.Swap(true) {
		return nil, errors.New("httpcache: store is another cache's, want one of its own")
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
	flight   *flight     // that it leads; may be nil
	alone    bool        // it waited for another's in vain
	shadow   bool        // nothing is answered from the cache
	status   int         // of the response
	outer    http.Header // of the response, which was there before the origin answered; may be nil
	again    bool        // without conditions, since no candidate was meant
}

// ErrNotStored is what Options.Refused gets for a request that wants a stored response or
// none (only-if-cached), where none can be used.
var ErrNotStored = errors.New("httpcache: no stored response can answer the request")

// passable reports whether a request is none that a cache answers or stores.
func passable(r *http.Request) bool {
	return r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0 || r.URL.Opaque != "" ||
		(r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody
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
	rest  bool     // the entry is the rest of one, which answers once it is complete
	lines []string // Cache-Status
}

// headers decides about a response whose header is here.
func (x *exchange) headers(code int, h http.Header, now time.Time) disposition {
	c, v := x.c, &x.verdict
	x.status = code
	s := status{name: c.o.Name, fwd: v.fwd}
	if x.alone {
		s.collapsed = -1
	}
	if c.o.Debug {
		s.key = x.key
	}
	conditional := v.action == validate && !x.shadow && !x.again
	switch {
	case v.action == complete && !x.shadow && !x.again && (code == http.StatusPartialContent || code == http.StatusRequestedRangeNotSatisfiable):
		e, _ := x.admit(code, h, now)
		if e == nil {
			return disposition{again: true}
		}
		if e.part != v.missing || e.total != v.part.total {
			c.tags.release(e.tags)
			return disposition{again: true}
		}
		s.fwdStatus, s.timed, s.ttl, s.stored = code, true, int64(e.remaining(now)/time.Second), true
		return disposition{entry: e, rest: true, lines: s.lines(h[cacheStatus])}
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
		if c.o.Debug {
			s.detail = string(why)
		}
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
	kept := x.kept(h, &p)
	if !dated {
		kept["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
	e := newEntry(x.key, x.out, code, kept, p, x.asked, now)
	e.total, e.division = length, x.division
	if code == http.StatusPartialContent {
		part, ok := parseContentRange(single(h, "Content-Range"))
		if !ok {
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

// kept returns the header that is stored. What was there before the origin answered, and
// it has not touched, is whose who put it there, and comes anew with each response.
func (x *exchange) kept(h http.Header, p *policy) http.Header {
	k := x.rules.kept(h, p)
	for name, values := range x.outer {
		if slices.Equal(k[name], values) {
			delete(k, name)
		}
	}
	return k
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
	chunks, length, whole := f.chunks, f.end, f.whole && f.end <= c.o.MaxObject
	f.mu.Unlock()
	switch {
	case f.endedBy(e):
		x.abandon(e, refusedPurged)
		return
	case !whole:
		x.abandon(e, refusedSize)
		return
	}
	e = e.copied() // others read the one that was published
	e.body = compacted(chunks, length)
	b := e.body
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
	switch x.c.store.put(e, nil, x.flight) {
	case putTooLarge:
		x.abandon(e, refusedSize)
	case putGone:
		x.abandon(e, refusedPurged)
	default:
		x.c.count.stored.Add(1)
	}
}

// commitCut stores what came of a body that was cut off as the part that it is, if more
// of it can be told to be of the same (RFC 9111, section 3.3).
func (x *exchange) commitCut(e *Entry) {
	if !x.rules.rfc || e.status != http.StatusOK || e.total <= e.body.length || e.body.length == 0 {
		x.abandon(e, refusedIncomplete)
		return
	}
	e.partial, e.part = true, byteRange{0, e.body.length - 1}
	x.commitPart(e)
}

// commitPart stores a part, joined with one that is stored already (RFC 9111, section
// 3.4).
func (x *exchange) commitPart(e *Entry) *Entry {
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
			return known
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
	return e
}

// completed stores the rest of a response, and returns that if it is complete now.
func (x *exchange) completed(e *Entry, rest []byte, failed error) *Entry {
	if failed != nil || int64(len(rest)) != e.part.size() || x.flight.endedBy(e) {
		x.abandon(e, refusedIncomplete)
		return nil
	}
	e.body = compacted([][]byte{rest}, int64(len(rest)))
	if e = x.commitPart(e); e.partial {
		return nil
	}
	return e
}

// validated stores what a 304 says of the candidates that it is about, and returns the
// one to be used, or nil if it is about none.
func (x *exchange) validated(h http.Header, now time.Time) *Entry {
	var use *Entry
	for _, old := range x.verdict.selected(x.in, h, now) {
		e := x.freshened(old, h, now)
		if use == nil || old == x.verdict.entry {
			use = e
		}
	}
	if use != nil {
		x.c.count.validated.Add(1)
	}
	return use
}

// freshened stores a response with what a newer header of it says, in place of what it
// was, and returns it. One that must not be stored any more serves this once.
func (x *exchange) freshened(old *Entry, h http.Header, now time.Time) *Entry {
	e := x.freshen(old, h, now)
	asked := &http.Request{Method: old.method, URL: x.in.URL, Host: x.in.Host}
	if why := x.rules.storable(asked, &directives{}, e.status, e.header, &e.policy); why != stored {
		x.c.store.remove(old)
		x.abandon(e, why)
		return e
	}
	asked.Header = x.in.Header
	switch why := x.rules.storable(asked, &x.wants.directives, e.status, e.header, &e.policy); {
	case why != stored: // by what only this client has sent: others keep what they had
		x.abandon(e, why)
	case x.flight != nil && x.flight.endedBy(e), x.c.store.put(e, old, x.flight) != putDone:
		x.abandon(e, refusedPurged)
	}
	return e
}

// freshen returns a response with what a newer header of it says (RFC 9111, section 3.2).
// What depends on that header, depends on the new one. Its tags are to be released if it is
// not stored.
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
		key: old.key, method: old.method, status: old.status, header: x.kept(merged, &p), body: old.body,
		total: old.total, part: old.part, partial: old.partial, chosen: old.chosen, policy: p, date: date, received: now,
		initial: initialAge(merged, date, x.asked, now), tags: old.tags, division: old.division,
	}
	switch names, _ := tagsOf(merged, x.c.o.TagFields, x.c.o.MaxTags); {
	case !sameTags(old.tags, originOf(x.in), names):
		e.tags = x.c.tags.acquire(originOf(x.in), names)
	case old.valid() == softPurged: // it is new again
		e.tags = slices.Clone(old.tags)
		for at := range e.tags {
			e.tags[at].soft = e.tags[at].cell.soft.Load()
		}
		fallthrough
	default:
		x.c.tags.retain(e.tags)
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
	x.freshened(old, h, now)
}

// invalidate ends what the response to an unsafe request says is no longer so (RFC 9111,
// section 4.4).
//
// What the exchange of the request stores itself, if there is one, comes after it.
func (c *Cache) invalidate(r *http.Request, principal string, code int, h http.Header, own *exchange) {
	if code < 200 || code > 399 {
		return
	}
	var fills *flight
	if own != nil {
		fills = own.flight
	}
	c.drop(string(c.appendKey(nil, r, principal)), fills)
	for _, name := range []string{"Location", "Content-Location"} {
		if at := resolve(r, single(h, name)); at != nil {
			other := *r
			other.URL = at
			c.drop(string(c.appendKey(nil, &other, principal)), fills)
		}
	}
	if !c.o.IgnoreGroupInvalidation {
		if groups, ok := parseList(h[groupInvalidates]); ok {
			for _, group := range groups[:min(len(groups), c.o.MaxTags)] {
				if group.kind == stringItem {
					c.purgeTag(originOf(r), group.text, false, fills)
				}
			}
		}
	}
}

// drop ends all responses under a key, but what a fetch will store.
func (c *Cache) drop(key string, but *flight) {
	c.flights.doomKey(key, but)
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
