package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// flushPasses looks for http.Flusher by type assertion, and for its effect.
func flushPasses(p *probe) {
	first, second := newEvent(), newEvent()
	site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		flusher, ok := w.(http.Flusher)
		if !ok {
			p.hides(w, "http.Flusher", "Flush")
			return
		}
		flusher.Flush()
		if !p.await(first, "the header at the client after Flush, before the handler ends", "no header at the client") {
			return
		}
		write(w, "part")
		if err := http.NewResponseController(w).Flush(); err != nil {
			p.controlFails("Flush", err)
		}
		p.await(second, "the body so far at the client after Flush, before the handler ends", "the body not at the client")
	})
	res := site.open(site.request(http.MethodGet, nil))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	first.set()
	if p.readText(res.Body, "part") {
		second.set()
	}
	_, _ = io.Copy(io.Discard, res.Body)
}

// readText reads as many bytes as want has and compares.
func (p *probe) readText(r io.Reader, want string) bool {
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil {
		p.reportError(fmt.Sprintf("the bytes %q next", want), fmt.Errorf("%w after the bytes %q", err, b[:n]))
		return false
	}
	if string(b) != want {
		p.report(fmt.Sprintf("the bytes %q next", want), "the bytes %q", b)
		return false
	}
	return true
}

// serverSentEvents sends each event only after the client has the one before.
func serverSentEvents(p *probe) {
	seen := []*event{newEvent(), newEvent(), newEvent()}
	site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		controller := http.NewResponseController(w)
		for i, e := range seen {
			_, _ = fmt.Fprintf(w, "id: %d\ndata: event\n\n", i)
			if err := controller.Flush(); err != nil {
				p.controlFails("Flush", err)
				return
			}
			if !p.await(e, fmt.Sprintf("event %d at the client before the handler ends", i), fmt.Sprintf("event %d not at the client", i)) {
				return
			}
		}
	})
	req := site.request(http.MethodGet, nil)
	req.Header.Set("Accept", "text/event-stream")
	res := site.open(req)
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	for i, e := range seen {
		if !p.readText(res.Body, fmt.Sprintf("id: %d\ndata: event\n\n", i)) {
			return
		}
		e.set()
	}
	if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
		p.report("the end of the stream after the last event", "the bytes %q, error %v", rest, err)
	}
}

// downloadStreams writes far more than net/http buffers, without a Flush, and
// goes on only after the client has half of it.
func downloadStreams(p *probe) {
	content := pattern(1 << 19)
	half, quarter := len(content)/2, len(content)/4
	seen := newEvent()
	site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(content[:half]); err != nil {
			p.reportError("Write to work", err)
		}
		if p.await(seen, "the start of a large response at the client before the handler ends", "no such start at the client") {
			_, _ = w.Write(content[half:])
		}
	})
	res := site.open(site.request(http.MethodGet, nil))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	start := make([]byte, quarter)
	if _, err := io.ReadFull(res.Body, start); err != nil {
		p.reportError("the start of a large response", err)
		return
	}
	seen.set()
	rest, err := io.ReadAll(res.Body)
	if err != nil {
		p.reportError("the whole response", err)
	}
	p.expectBytes(append(start, rest...), content)
}

// uploadStreams sends the rest of a body only after the handler has its start.
func uploadStreams(p *probe) {
	content := pattern(1 << 17)
	seen := newEvent()
	site := p.guard(receive(p, content, seen))
	p.expect(site.exchange(site.sending(content, seen)), http.StatusOK, "received")
}

// firstPart is how much of an upload is sent at first.
const firstPart = 1000

func receive(p *probe, content []byte, seen *event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := make([]byte, firstPart)
		if _, err := io.ReadFull(r.Body, start); err != nil {
			p.reportError("the start of the request body", err)
			return
		}
		seen.set()
		rest, err := io.ReadAll(r.Body)
		if err != nil {
			p.reportError("the whole request body", err)
		}
		p.expectBytes(append(start, rest...), content)
		write(w, "received")
	}
}

// pipe makes a pipe that breaks when the probe's time is over.
func (p *probe) pipe() (*io.PipeReader, *io.PipeWriter) {
	r, w := io.Pipe()
	context.AfterFunc(p.ctx, func() { _ = r.CloseWithError(p.ctx.Err()) })
	return r, w
}

// sending makes a request whose body waits, after its first part, until that
// has been seen.
func (s *site) sending(content []byte, seen *event) *http.Request {
	body, w := s.pipe()
	go func() {
		_, _ = w.Write(content[:firstPart])
		if s.await(seen, "the start of the request body read before the rest is sent", "the start of the body not read") {
			_, _ = w.Write(content[firstPart:])
		}
		_ = w.Close()
	}()
	return s.request(http.MethodPost, body)
}

// fullDuplex reads and writes in turns. HTTP/1.1 wants to be asked for it.
func fullDuplex(p *probe) {
	ended := newEvent()
	site := p.guard(func(w http.ResponseWriter, r *http.Request) {
		defer ended.set()
		controller := http.NewResponseController(w)
		if err := controller.EnableFullDuplex(); err != nil {
			p.controlFails("EnableFullDuplex", err)
			return
		}
		for range 3 {
			b := make([]byte, 4)
			if _, err := io.ReadFull(r.Body, b); err != nil {
				p.reportError("the request body to go on after the response has begun", err)
				return
			}
			_, _ = w.Write(b)
			if err := controller.Flush(); err != nil {
				p.controlFails("Flush", err)
				return
			}
		}
	})
	body, send := p.pipe()
	go func() {
		write(send, "ping")
		p.await(ended, "a handler that ends after reading and writing three times in turns", "a handler that has not ended")
		_ = send.Close() // a server waits for the rest of a body that its handler leaves
	}()
	res := site.open(site.request(http.MethodPost, body))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	for i, text := range []string{"ping", "pong", "last"} {
		if i > 0 {
			write(send, text)
		}
		if !p.readText(res.Body, text) {
			return
		}
	}
}

// deadlinesReach sets deadlines that have passed, which has an effect only if
// they reach the connection.
func deadlinesReach(p *probe) {
	past := time.Unix(1, 0)

	hasRead, hasWritten := newEvent(), newEvent()

	reading := p.guard(func(w http.ResponseWriter, r *http.Request) {
		defer hasRead.set()
		if err := http.NewResponseController(w).SetReadDeadline(past); err != nil {
			p.controlFails("SetReadDeadline", err)
			return
		}
		if n, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			p.report("os.ErrDeadlineExceeded from the body after the read deadline", "%d bytes, error %v", n, err)
		}
	})
	body, send := p.pipe()
	go func() {
		p.await(hasRead, "a read that ends at its deadline", "a read of the request body that has not ended")
		_ = send.Close()
	}()
	_, _ = reading.try(reading.request(http.MethodPost, body)) // response or error: the connection may be gone
	p.await(hasRead, "a read that ends at its deadline", "a read of the request body that has not ended")

	writing := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		defer hasWritten.set()
		if err := http.NewResponseController(w).SetWriteDeadline(past); err != nil {
			p.controlFails("SetWriteDeadline", err)
			return
		}
		for block := make([]byte, 1<<16); p.ctx.Err() == nil; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		p.report("an error from Write after the write deadline", "no error from Write")
	})
	_, _ = writing.try(writing.request(http.MethodGet, nil))
	p.await(hasWritten, "a write that ends at its deadline", "a write that has not ended")
}
