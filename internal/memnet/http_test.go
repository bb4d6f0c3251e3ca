package memnet_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// An hour with a slow server, in no time: each answer takes ten seconds.
func TestHTTP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		listener := memnet.Listen()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			_, _ = fmt.Fprint(w, r.Proto, " for ", r.RemoteAddr)
		})}
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
			}
		}()
		transport := &http.Transport{DialContext: listener.DialContext}
		client := &http.Client{Transport: transport}

		start := time.Now()
		for range 360 {
			get(t, client, "http://example.com/", "HTTP/1.1 for 127.0.0.1:49152")
		}
		if got, want := time.Since(start), time.Hour; got != want {
			t.Errorf("took %v, want %v", got, want)
		}

		client.Timeout = 3 * time.Second
		resp, err := client.Get("http://example.com/")
		if err == nil {
			_ = resp.Body.Close()
			t.Error("Get with a timeout = nil, want an error")
		}
		transport.CloseIdleConnections()
		if err := server.Shutdown(t.Context()); err != nil { // polls until the handler has ended
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// HTTP/2 without TLS: one connection for requests at the same time.
func TestHTTP2Unencrypted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		listener := memnet.Listen()
		server := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Minute)
			_, _ = fmt.Fprint(w, r.Proto, " for ", r.RemoteAddr)
		})}
		go func() { _ = server.Serve(listener) }() // ends with Close
		transport := &http.Transport{DialContext: listener.DialContext, Protocols: &protocols}
		client := &http.Client{Transport: transport}

		start := time.Now()
		done := make(chan struct{})
		const requests = 10
		for range requests {
			go func() {
				get(t, client, "http://example.com/", "HTTP/2.0 for 127.0.0.1:49152")
				done <- struct{}{}
			}()
			synctest.Wait() // the first one dials for all
		}
		for range requests {
			<-done
		}
		if got, want := time.Since(start), time.Minute; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
		transport.CloseIdleConnections()
		_ = server.Close()
	})
}

// HTTP/2 with TLS, by the certificate of httptest.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		listener := memnet.Listen()
		server := &httptest.Server{
			Listener:    listener,
			EnableHTTP2: true,
			Config: &http.Server{
				ErrorLog: log.New(io.Discard, "", 0),
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for i := range 3 {
						_, _ = fmt.Fprint(w, i)
						if err := http.NewResponseController(w).Flush(); err != nil {
							t.Errorf("Flush: %v", err)
						}
						time.Sleep(time.Second)
					}
					_, _ = fmt.Fprint(w, " ", r.Proto)
				}),
			},
		}
		server.StartTLS()
		defer server.Close()
		client := server.Client()
		client.Transport.(*http.Transport).DialContext = listener.DialContext

		start := time.Now()
		get(t, client, "https://example.com/", "012 HTTP/2.0")
		if got, want := time.Since(start), 3*time.Second; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

// Three servers behind one transport, told apart by their addresses.
func TestManyServers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		transport := &http.Transport{DialContext: network.DialContext}
		client := &http.Client{Transport: transport}
		for i := range 3 {
			listener := network.Listen()
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprint(w, "server ", i)
			})}
			go func() { _ = server.Serve(listener) }() // ends with Close
			defer func() { _ = server.Close() }()
			get(t, client, "http://"+listener.Addr().String(), fmt.Sprint("server ", i))
		}
		transport.CloseIdleConnections()
	})
}

func get(t *testing.T, client *http.Client, url, want string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Errorf("Get: %v", err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the body: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Errorf("closing the body: %v", err)
	}
	if string(body) != want {
		t.Errorf("body is %q, want %q", body, want)
	}
}
