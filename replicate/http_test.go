package replicate

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/middlewaretest"
)

func TestMiddlewareKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	c, err := New(nodesOf(memsql.New(1), 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	middlewaretest.Run(t, c.Middleware, nil)
}

// cookies returns the tokens that a response has, in cookie and header.
func tokens(header http.Header) (cookie, field string) {
	for _, c := range (&http.Response{Header: header}).Cookies() {
		if c.Name == "uprung_default" {
			cookie = c.Value
		}
	}
	return cookie, header.Get("Uprung-Bookmark")
}

func TestTrap18TokenSurvivesEveryWayToAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"implicit 200":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
		"nothing":       func(http.ResponseWriter, *http.Request) {},
		"redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusSeeOther) },
		"failure":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"informational": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(204) },
		"flush":         func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"copy":          func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("hello")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, Options{})
			server := httptest.NewServer(w.cluster.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				w.write(r.Context(), t, "a", 1)
				answer(rw, r)
			})))
			defer server.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			cookie, field := tokens(resp.Header)
			if cookie != field || len(cookie) != TokenLen {
				t.Fatalf("cookie is %q, header field %q", cookie, field)
			}
			if b, err := w.cluster.Open(cookie); err != nil || b.at().need.Offset != w.position() {
				t.Errorf("the token stands for %+v, %v; want %X", b.at(), err, w.position())
			}
		})
	}
}

func TestTrap18HijackedConnectionHasTheTokenInReach(t *testing.T) {
	t.Parallel()
	w := open(t, Options{})
	server := httptest.NewServer(w.cluster.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.write(r.Context(), t, "a", 1)
		token := w.cluster.Token(r.Context(), w.cluster.BookmarkOf(r.Context()))
		conn, buffer, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		_, _ = buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nUprung-Bookmark: " + token + "\r\n\r\n")
		_ = buffer.Flush()
	})))
	defer server.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, field := tokens(resp.Header); len(field) != TokenLen {
		t.Errorf("the token is %q", field)
	}
}

func TestMiddlewareCarriesBookmarks(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		var node string
		handler := w.cluster.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.write(r.Context(), t, "a", 1)
			}
			_, node = w.read(r.Context(), t, "a")
		}))
		serve := func(method, token string, byHeader bool) (cookie string, header http.Header) {
			r := httptest.NewRequest(method, "/", nil)
			if byHeader {
				r.Header.Set("Uprung-Bookmark", token)
			} else {
				r.AddCookie(&http.Cookie{Name: "uprung_default", Value: token})
			}
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, r)
			cookie, _ = tokens(rec.Header())
			return cookie, rec.Header()
		}
		w.servers.Node(2).Pause(true)
		token, header := serve(http.MethodPost, "", false)
		if line := header.Get("Set-Cookie"); !strings.Contains(line, "HttpOnly; Secure; SameSite=Lax") || !strings.Contains(line, "Max-Age=3600") {
			t.Errorf("the cookie is %q", line)
		}
		w.settle()
		for i := range 20 {
			next, _ := serve(http.MethodGet, token, i%2 == 0)
			if node != "r1" {
				t.Fatalf("request %d: read at %s, want r1", i, node)
			}
			if next != "" {
				token = next
			}
		}
		// A client that has come no further gets no new token.
		if next, _ := serve(http.MethodGet, token, false); next != "" {
			t.Errorf("a client that has come no further gets %q for %q", next, token)
		}
		if serve(http.MethodGet, "x"+token[1:], false); w.cluster.Stats().TokensRefused != 1 {
			t.Error("a token that was tampered with was not refused")
		}
	})
}

func TestMiddlewareSkipsAndExplains(t *testing.T) {
	t.Parallel()
	c, err := New(nodesOf(memsql.New(1), 2), &Options{Token: TokenOptions{Skip: func(*http.Request) bool { return true }, Cookie: "-", Header: "-"}})
	if err != nil {
		t.Fatal(err)
	}
	handler := c.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if c.BookmarkOf(r.Context()) != nil {
			t.Error("a request that is skipped has a bookmark")
		}
	}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	layers := uprung.Layers(handler)
	if len(layers) != 1 || layers[0].Kind != Kind {
		t.Fatalf("layers are %v", layers)
	}
	if !slices.ContainsFunc(layers[0].Settings, func(s uprung.Setting) bool { return s.Name == "Cookie" && s.Value == "none" && !s.Default }) {
		t.Errorf("settings are %v", layers[0].Settings)
	}
}
