package httpx

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Handlers ask by type assertion what a writer can do, so an observed writer has
// to be of a type with just the methods of the writer below it. There is one
// type for each of the sixteen sets of optional methods, named by initials:
// Flush, Hijack, ReadFrom, Push. Each adds one method to the one that it embeds,
// and all are in the end a single pointer, which an interface value holds without
// a further allocation.
type (
	viewF    struct{ *observed }
	viewH    struct{ *observed }
	viewFH   struct{ viewF }
	viewR    struct{ *observed }
	viewFR   struct{ viewF }
	viewHR   struct{ viewH }
	viewFHR  struct{ viewFH }
	viewP    struct{ *observed }
	viewFP   struct{ viewF }
	viewHP   struct{ viewH }
	viewFHP  struct{ viewFH }
	viewRP   struct{ viewR }
	viewFRP  struct{ viewFR }
	viewHRP  struct{ viewHR }
	viewFHRP struct{ viewFHR }
)

func (v viewF) Flush() { v.flush() }

func (v viewH) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return v.hijack() }
func (v viewFH) Hijack() (net.Conn, *bufio.ReadWriter, error) { return v.hijack() }

func (v viewR) ReadFrom(src io.Reader) (int64, error)   { return v.readFrom(src) }
func (v viewFR) ReadFrom(src io.Reader) (int64, error)  { return v.readFrom(src) }
func (v viewHR) ReadFrom(src io.Reader) (int64, error)  { return v.readFrom(src) }
func (v viewFHR) ReadFrom(src io.Reader) (int64, error) { return v.readFrom(src) }

func (v viewP) Push(target string, opts *http.PushOptions) error    { return v.push(target, opts) }
func (v viewFP) Push(target string, opts *http.PushOptions) error   { return v.push(target, opts) }
func (v viewHP) Push(target string, opts *http.PushOptions) error   { return v.push(target, opts) }
func (v viewFHP) Push(target string, opts *http.PushOptions) error  { return v.push(target, opts) }
func (v viewRP) Push(target string, opts *http.PushOptions) error   { return v.push(target, opts) }
func (v viewFRP) Push(target string, opts *http.PushOptions) error  { return v.push(target, opts) }
func (v viewHRP) Push(target string, opts *http.PushOptions) error  { return v.push(target, opts) }
func (v viewFHRP) Push(target string, opts *http.PushOptions) error { return v.push(target, opts) }

// The optional methods as a set.
const (
	hasFlush = 1 << iota
	hasHijack
	hasReadFrom
	hasPush
)

// view returns o with the optional methods of the writer below it.
func (o *observed) view() http.ResponseWriter {
	set := 0
	if _, ok := o.w.(http.Flusher); ok {
		set |= hasFlush
	}
	if o.canHijack() {
		set |= hasHijack
	}
	if _, ok := o.w.(io.ReaderFrom); ok {
		set |= hasReadFrom
	}
	if _, ok := o.w.(http.Pusher); ok {
		set |= hasPush
	}
	switch set {
	case hasFlush:
		return viewF{o}
	case hasHijack:
		return viewH{o}
	case hasFlush | hasHijack:
		return viewFH{viewF{o}}
	case hasReadFrom:
		return viewR{o}
	case hasFlush | hasReadFrom:
		return viewFR{viewF{o}}
	case hasHijack | hasReadFrom:
		return viewHR{viewH{o}}
	case hasFlush | hasHijack | hasReadFrom:
		return viewFHR{viewFH{viewF{o}}}
	case hasPush:
		return viewP{o}
	case hasFlush | hasPush:
		return viewFP{viewF{o}}
	case hasHijack | hasPush:
		return viewHP{viewH{o}}
	case hasFlush | hasHijack | hasPush:
		return viewFHP{viewFH{viewF{o}}}
	case hasReadFrom | hasPush:
		return viewRP{viewR{o}}
	case hasFlush | hasReadFrom | hasPush:
		return viewFRP{viewFR{viewF{o}}}
	case hasHijack | hasReadFrom | hasPush:
		return viewHRP{viewHR{viewH{o}}}
	case hasFlush | hasHijack | hasReadFrom | hasPush:
		return viewFHRP{viewFHR{viewFH{viewF{o}}}}
	}
	return o
}
