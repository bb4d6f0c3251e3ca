package httpx

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A guarded writer, too, has just the methods of the writer below it: these are for it
// what the views are for an observed one.
type (
	lentF    struct{ *guarded }
	lentH    struct{ *guarded }
	lentFH   struct{ lentF }
	lentR    struct{ *guarded }
	lentFR   struct{ lentF }
	lentHR   struct{ lentH }
	lentFHR  struct{ lentFH }
	lentP    struct{ *guarded }
	lentFP   struct{ lentF }
	lentHP   struct{ lentH }
	lentFHP  struct{ lentFH }
	lentRP   struct{ lentR }
	lentFRP  struct{ lentFR }
	lentHRP  struct{ lentHR }
	lentFHRP struct{ lentFHR }
)

func (v lentF) Flush() { v.flush() }

func (v lentH) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return v.hijack() }
func (v lentFH) Hijack() (net.Conn, *bufio.ReadWriter, error) { return v.hijack() }

func (v lentR) ReadFrom(src io.Reader) (int64, error)   { return v.readFrom(src) }
func (v lentFR) ReadFrom(src io.Reader) (int64, error)  { return v.readFrom(src) }
func (v lentHR) ReadFrom(src io.Reader) (int64, error)  { return v.readFrom(src) }
func (v lentFHR) ReadFrom(src io.Reader) (int64, error) { return v.readFrom(src) }

func (v lentP) Push(target string, opts *http.PushOptions) error    { return v.push(target, opts) }
func (v lentFP) Push(target string, opts *http.PushOptions) error   { return v.push(target, opts) }
func (v lentHP) Push(target string, opts *http.PushOptions) error   { return v.push(target, opts) }
func (v lentFHP) Push(target string, opts *http.PushOptions) error  { return v.push(target, opts) }
func (v lentRP) Push(target string, opts *http.PushOptions) error   { return v.push(target, opts) }
func (v lentFRP) Push(target string, opts *http.PushOptions) error  { return v.push(target, opts) }
func (v lentHRP) Push(target string, opts *http.PushOptions) error  { return v.push(target, opts) }
func (v lentFHRP) Push(target string, opts *http.PushOptions) error { return v.push(target, opts) }

// lend returns g with the optional methods of the writer below it.
func (g *guarded) lend() http.ResponseWriter {
	set := 0
	if _, ok := g.w.(http.Flusher); ok {
		set |= hasFlush
	}
	if (&observed{w: g.w}).canHijack() {
		set |= hasHijack
	}
	if _, ok := g.w.(io.ReaderFrom); ok {
		set |= hasReadFrom
	}
	if _, ok := g.w.(http.Pusher); ok {
		set |= hasPush
	}
	switch set {
	case hasFlush:
		return lentF{g}
	case hasHijack:
		return lentH{g}
	case hasFlush | hasHijack:
		return lentFH{lentF{g}}
	case hasReadFrom:
		return lentR{g}
	case hasFlush | hasReadFrom:
		return lentFR{lentF{g}}
	case hasHijack | hasReadFrom:
		return lentHR{lentH{g}}
	case hasFlush | hasHijack | hasReadFrom:
		return lentFHR{lentFH{lentF{g}}}
	case hasPush:
		return lentP{g}
	case hasFlush | hasPush:
		return lentFP{lentF{g}}
	case hasHijack | hasPush:
		return lentHP{lentH{g}}
	case hasFlush | hasHijack | hasPush:
		return lentFHP{lentFH{lentF{g}}}
	case hasReadFrom | hasPush:
		return lentRP{lentR{g}}
	case hasFlush | hasReadFrom | hasPush:
		return lentFRP{lentFR{lentF{g}}}
	case hasHijack | hasReadFrom | hasPush:
		return lentHRP{lentHR{lentH{g}}}
	case hasFlush | hasHijack | hasReadFrom | hasPush:
		return lentFHRP{lentFHR{lentFH{lentF{g}}}}
	}
	return g
}
