package middlewaretest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

// hijackPasses takes the connection over by type assertion and by
// http.ResponseController. HTTP/2 has no connection to take: the attempt is
// refused there, and does no harm.
func hijackPasses(p *probe) {
	if p.protocol != http1 {
		site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
			_, _, err := http.NewResponseController(w).Hijack()
			if !errors.Is(err, http.ErrNotSupported) {
				p.report("http.ErrNotSupported from Hijack, because HTTP/2 has no connection to take", "error %v", err)
			}
			write(w, "still here")
		})
		p.expect(site.get(), http.StatusOK, "still here")
		p.quiet()
		return
	}
	for _, byAssertion := range []bool{true, false} {
		site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
			hijack := http.NewResponseController(w).Hijack
			if byAssertion {
				hijacker, ok := w.(http.Hijacker)
				if !ok {
					p.hides(w, "http.Hijacker", "Hijack")
					return
				}
				hijack = hijacker.Hijack
			}
			conn, buffered, err := hijack()
			if err != nil {
				p.controlFails("Hijack", err)
				return
			}
			defer func() { _ = conn.Close() }()
			write(buffered, "HTTP/1.1 201 Created\r\nContent-Length: 3\r\nConnection: close\r\n\r\nraw")
			_ = buffered.Flush()
		})
		p.expect(site.get(), http.StatusCreated, "raw")
	}
	p.quiet()
}

// The handshake example of RFC 6455 section 1.3.
const (
	webSocketKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	webSocketAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func webSocket(p *probe) {
	site := p.guard(upgrade(p))
	res := site.open(site.upgrading()) //nolint:bodyclose // converse closes it
	if res != nil {
		p.converse(res)
	}
	p.quiet()
}

// upgrade answers the handshake, speaks first, and then echoes until the client
// closes.
func upgrade(p *probe) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") ||
			!strings.EqualFold(r.Header.Get("Connection"), "upgrade") ||
			r.Header.Get("Sec-Websocket-Key") != webSocketKey {
			p.report("the fields of the handshake at the handler", "Upgrade %q, Connection %q, Sec-WebSocket-Key %q",
				r.Header.Get("Upgrade"), r.Header.Get("Connection"), r.Header.Get("Sec-Websocket-Key"))
			return
		}
		hijacker, ok := w.(http.Hijacker)
		if !ok {
			p.hides(w, "http.Hijacker", "Hijack")
			return
		}
		conn, buffered, err := hijacker.Hijack()
		if err != nil {
			p.reportError("the connection from Hijack", err)
			return
		}
		defer func() { _ = conn.Close() }()
		defer context.AfterFunc(p.ctx, func() { _ = conn.Close() })()
		write(buffered, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: "+webSocketAccept+"\r\n\r\nwelcome")
		_ = buffered.Flush()
		_, _ = io.Copy(conn, buffered)
	}
}

func (s *site) upgrading() *http.Request {
	req := s.request(http.MethodGet, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-Websocket-Version", "13")
	req.Header.Set("Sec-Websocket-Key", webSocketKey)
	return req
}

// converse speaks with what upgrade serves, and closes the connection.
func (p *probe) converse(res *http.Response) {
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusSwitchingProtocols {
		p.report("status 101", "status %d", res.StatusCode)
		return
	}
	if got := res.Header.Get("Sec-Websocket-Accept"); got != webSocketAccept {
		p.report("Sec-WebSocket-Accept "+webSocketAccept, "Sec-WebSocket-Accept %q", got)
	}
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		p.report("a body that is an io.ReadWriteCloser with status 101", "%T, which has no Write", res.Body)
		return
	}
	defer context.AfterFunc(p.ctx, func() { _ = conn.Close() })()
	if !p.readText(conn, "welcome") {
		return
	}
	for _, text := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(conn, text); err != nil {
			p.reportError("the upgraded connection to take bytes", err)
			return
		}
		if !p.readText(conn, text) {
			return
		}
	}
}
