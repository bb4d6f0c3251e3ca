package httpcache

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Entry is a stored response. It is immutable: one that was freshened is another, with
// the same body.
type Entry struct {
	key      string
	method   string // of the request: GET or POST
	status   int
	header   http.Header // as it is passed on
	withheld http.Header // what is not: tags and targeted fields; mostly nil
	body     *body
	total    int64 // length of the complete body; less is here if part is set
	part     byteRange
	partial  bool
	chosen   []selector // fields of the request that chose it
	policy   policy
	date     time.Time // of the response, or its receipt
	received time.Time
	initial  time.Duration // age when it was received
	tags     []tagged
	division string  // partition that it belongs to
	fields   []field // of the header, for a quick copy
	line     string  // of the status
	size     int64   // what it takes of the budget
	at       int     // in the ring of its shard, whose mu guards it

	stale      atomic.Bool // by a soft purge, or by a HEAD that shows another version
	validating atomic.Bool // in the background
	paused     instant     // until when that is not tried again
	used       atomic.Bool // since the eviction last looked
	rendered   atomic.Pointer[ageField]
}

// field is one of a header.
type field struct {
	name   string
	values []string
}

// touch keeps the entry from being evicted for some time.
func (e *Entry) touch() {
	if !e.used.Load() { // most often it is, and a store would take it from other processors
		e.used.Store(true)
	}
}

// ageField is what changes with the age of a response, made once a second.
type ageField struct {
	seconds int64
	age     []string
	status  []string // Cache-Status of a hit
}

// Status returns the status code.
func (e *Entry) Status() int { return e.status }

// Header returns the header, which must not be changed.
func (e *Entry) Header() http.Header { return e.header }

// Size returns what the entry takes of a store's budget, in bytes.
func (e *Entry) Size() int64 { return e.size }

// age returns how old the response is (RFC 9111, section 4.2.3).
func (e *Entry) age(now time.Time) time.Duration {
	return e.initial + min(max(now.Sub(e.received), 0), maxSeconds*time.Second)
}

// fresh reports whether the response can be used without further ado.
func (e *Entry) fresh(now time.Time) bool {
	return e.policy.lifetime > e.age(now) && !e.stale.Load() && e.valid() == current
}

// remaining returns for how long it is fresh, negative if it is not.
func (e *Entry) remaining(now time.Time) time.Duration { return e.policy.lifetime - e.age(now) }

// aged returns the fields that change with the age of the response.
func (e *Entry) aged(now time.Time, name string) *ageField {
	seconds := int64(min(e.age(now)/time.Second, maxSeconds))
	if known := e.rendered.Load(); known != nil && known.seconds == seconds {
		return known
	}
	hit := status{name: name, hit: true, ttl: int64(e.policy.lifetime/time.Second) - seconds, timed: true}
	made := &ageField{seconds: seconds, age: []string{strconv.FormatInt(seconds, 10)}, status: hit.lines(e.header[cacheStatus])}
	e.rendered.Store(made)
	return made
}

// newEntry makes an entry of a response, without its body.
func newEntry(key string, r *http.Request, status int, h http.Header, p policy, asked, received time.Time) *Entry {
	date, _ := dateOf(h, received)
	return &Entry{
		key: key, method: r.Method, status: status, header: h, policy: p, date: date, received: received,
		chosen:  selectors(h, r.Header),
		initial: initialAge(h, date, asked, received),
	}
}

// initialAge returns the corrected initial age (RFC 9111, section 4.2.3), at most what a
// delta of seconds can say, so that nothing overflows.
func initialAge(h http.Header, date, asked, received time.Time) time.Duration {
	apparent := max(received.Sub(date), 0)
	return min(max(apparent, ageOf(h)+max(received.Sub(asked), 0)), maxSeconds*time.Second)
}

// copied returns another entry with the same content, whose header can be changed.
func (e *Entry) copied() *Entry {
	return &Entry{
		key: e.key, method: e.method, status: e.status, header: maps.Clone(e.header), withheld: e.withheld, body: e.body, total: e.total,
		part: e.part, partial: e.partial, chosen: e.chosen, policy: e.policy, date: e.date, received: e.received, initial: e.initial,
		tags: e.tags, division: e.division,
	}
}

// overhead is about what an entry takes besides what is counted: the structs, the fields
// that change with its age, its places in maps and rings, and what these have to spare.
const overhead = 1 << 10

// measure makes what follows from the parts of the entry, and what it takes.
func (e *Entry) measure() {
	e.line = strconv.Itoa(e.status) + " " + http.StatusText(e.status)
	e.fields = make([]field, 0, len(e.header))
	for name, values := range e.header {
		e.fields = append(e.fields, field{name, values})
	}
	e.size = overhead + int64(len(e.key)) + e.body.size()
	for name, values := range e.header {
		e.size += int64(len(name)) + 128
		for _, value := range values {
			e.size += int64(len(value)) + 16
		}
	}
	for at := range e.chosen {
		e.size += int64(len(e.chosen[at].name)+2*len(e.chosen[at].value)) + 64
	}
	for at := range e.tags {
		e.size += int64(len(e.tags[at].name)) + 128 // as if the tag were nobody else's
	}
}

// body is what was stored of a body, in parts of at most chunkSize, which do not change.
type body struct {
	chunks [][]byte
	length int64
}

// chunkSize is the length of the parts in which bodies are kept and passed on.
const chunkSize = 32 << 10

// singleChunk is up to where a body is kept in one piece, for a single write.
const singleChunk = 64 << 10

// compacted returns a body of the parts of a log, which others may read still, without
// the room that is left in them.
func compacted(chunks [][]byte, length int64) *body {
	b := &body{chunks: slices.Clone(chunks), length: length}
	if length <= singleChunk && len(chunks) > 1 {
		b.chunks = [][]byte{slices.Concat(chunks...)}
	}
	for at, chunk := range b.chunks {
		if room := cap(chunk) - len(chunk); room > len(chunk)/8 {
			b.chunks[at] = append(make([]byte, 0, len(chunk)), chunk...)
		}
	}
	return b
}

func (b *body) size() int64 {
	if b == nil {
		return 0
	}
	return b.length + int64(len(b.chunks))*24
}

// writeRange writes a part of the body.
func (b *body) writeRange(w io.Writer, from, n int64) error {
	for _, chunk := range b.chunks {
		if n <= 0 {
			return nil
		}
		if size := int64(len(chunk)); from >= size {
			from -= size
			continue
		}
		piece := chunk[from:min(from+n, int64(len(chunk)))]
		if _, err := w.Write(piece); err != nil {
			return err
		}
		n -= int64(len(piece))
		from = 0
	}
	return nil
}

// reader reads a part of a body.
type reader struct {
	chunks [][]byte
	skip   int64
	left   int64
}

func (b *body) reader(from, n int64) *reader { return &reader{chunks: b.chunks, skip: from, left: n} }

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for r.left > 0 && len(r.chunks) > 0 {
		chunk := r.chunks[0]
		if r.skip >= int64(len(chunk)) {
			r.skip -= int64(len(chunk))
			r.chunks = r.chunks[1:]
			continue
		}
		piece := chunk[r.skip:]
		n := copy(p, piece[:min(int64(len(piece)), r.left)])
		r.skip += int64(n)
		r.left -= int64(n)
		return n, nil
	}
	return 0, io.EOF
}

// WriteTo implements [io.WriterTo]: nothing is copied on the way.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	b, n := body{chunks: r.chunks}, r.left
	r.left = 0
	return n, b.writeRange(w, r.skip, n)
}

// Close implements [io.Closer].
func (r *reader) Close() error { r.left = 0; return nil }

// join returns a body of two in a row, which share their parts.
func join(a, b *body) *body {
	return &body{chunks: append(append([][]byte(nil), a.chunks...), b.chunks...), length: a.length + b.length}
}

// cut returns a part of a body, which shares its parts.
func (b *body) cut(from, n int64) *body {
	out := &body{length: n}
	for _, chunk := range b.chunks {
		if size := int64(len(chunk)); from >= size {
			from -= size
			continue
		}
		piece := chunk[from:min(from+n, int64(len(chunk)))]
		if len(piece) == 0 {
			break
		}
		out.chunks = append(out.chunks, piece)
		n -= int64(len(piece))
		from = 0
	}
	return out
}
