package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// lines passes on what is written, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

func TestProxyCaches(t *testing.T) {
	t.Parallel()
	var made atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("CDN-Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%d for %s", made.Add(1), r.Host)
	}))
	defer origin.Close()
	ctx, stop := context.WithCancel(t.Context())
	out, ended := make(lines, 1), make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-listen", "127.0.0.1:0", "-origin", origin.URL, "-profile", "rfc9111"}, out)
	}()
	var base string
	select {
	case line := <-out:
		_, base, _ = strings.Cut(strings.TrimSpace(line), " at ")
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(10 * time.Second):
		t.Fatal("it does not listen")
	}
	for range 3 {
		resp, err := http.Get(base)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := "1 for " + strings.TrimPrefix(base, "http://"); err != nil || string(text) != want {
			t.Errorf("got %q, %v, want %q", text, err, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`-origin is "", want a URL such as http://127.0.0.1:8080`: nil,
		`-profile is "fast", want safe or rfc9111`:                {"-origin", "http://127.0.0.1:1", "-profile", "fast"},
		`httpcache: TargetFields[0] is "a b"`:                     {"-origin", "http://127.0.0.1:1", "-target", "a b"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}
