package middlewaretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The wrappers in this file break one promise each.

type wrapper = func(http.RoundTripper) http.RoundTripper

func tripping(f func(base http.RoundTripper, req *http.Request) (*http.Response, error)) wrapper {
	return func(base http.RoundTripper) http.RoundTripper {
		return baseFunc(func(req *http.Request) (*http.Response, error) { return f(base, req) })
	}
}

// answered makes a wrapper of what changes a response.
func answered(f func(*http.Response)) wrapper {
	return tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
		res, err := base.RoundTrip(req)
		if err == nil {
			f(res)
		}
		return res, err
	})
}

type brokenTransport struct {
	check, how string
	wrap       wrapper
}

func brokenTransports(stop <-chan struct{}) []brokenTransport {
	var serial sync.Mutex
	return []brokenTransport{
		{"request", "drops the query", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			req = req.Clone(req.Context())
			req.URL.RawQuery = ""
			return base.RoundTrip(req)
		})},
		{"request-unchanged", "sets a field", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			req.Header.Set("Authorization", "secret")
			return base.RoundTrip(req)
		})},
		{"request-unchanged", "rewrites the address", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			shallow := *req
			shallow.URL.RawQuery = "key=secret"
			return base.RoundTrip(&shallow)
		})},
		{"request-unchanged", "replaces the body", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			if req.Body != nil {
				content, _ := io.ReadAll(req.Body)
				_ = req.Body.Close()
				req.Body = io.NopCloser(bytes.NewReader(content))
			}
			return base.RoundTrip(req)
		})},
		{"request-body-closed", "hides Close", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			if req.Body != nil {
				req = req.Clone(req.Context())
				req.Body = io.NopCloser(req.Body)
			}
			return base.RoundTrip(req)
		})},
		{"request-body-closed", "gives up early", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			if err := req.Context().Err(); err != nil {
				return nil, err
			}
			return base.RoundTrip(req)
		})},
		{"context", "begins anew", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			return base.RoundTrip(req.WithContext(context.Background()))
		})},
		{"response", "makes 5xx one", answered(func(res *http.Response) {
			if res.StatusCode > 500 {
				res.StatusCode = 500
			}
		})},
		{"response", "keeps one value", answered(func(res *http.Response) {
			for name := range res.Header {
				res.Header.Set(name, res.Header.Get(name))
			}
		})},
		{"response-body-closed", "hides Close", answered(func(res *http.Response) { res.Body = io.NopCloser(res.Body) })},
		{"one-result", "keeps a response beside the error", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			res, err := base.RoundTrip(req)
			if res == nil {
				res = &http.Response{StatusCode: http.StatusBadGateway, Body: http.NoBody}
			}
			return res, err
		})},
		{"error", "makes it text", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			res, err := base.RoundTrip(req)
			if err != nil {
				err = errors.New("failed: " + err.Error())
			}
			return res, err
		})},
		{"head", "measures the body", answered(func(res *http.Response) {
			content, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
		})},
		{"trailers", "copies the response", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			res, err := base.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: res.StatusCode, Header: res.Header, Body: res.Body, Request: req}, nil
		})},
		{"informational", "has a trace of its own", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithCancel(context.Background())
			context.AfterFunc(req.Context(), cancel)
			return base.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{})))
		})},
		{"stream-response", "reads it all", answered(func(res *http.Response) {
			content, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			res.Body = io.NopCloser(bytes.NewReader(content))
		})},
		{"stream-response", "cancels when it returns", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithCancel(req.Context())
			defer cancel()
			return base.RoundTrip(req.WithContext(ctx))
		})},
		{"stream-request", "reads it all", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			content, err := io.ReadAll(req.Body)
			if err := errors.Join(err, req.Body.Close()); err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
			return base.RoundTrip(req)
		})},
		{"upgrade", "hides Write", answered(func(res *http.Response) {
			res.Body = struct{ io.ReadCloser }{res.Body}
		})},
		{"cancel", "detaches the context", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), time.Second)
			context.AfterFunc(ctx, cancel)
			return base.RoundTrip(req.WithContext(ctx))
		})},
		{"concurrent", "takes turns", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			serial.Lock()
			defer serial.Unlock()
			return base.RoundTrip(req)
		})},
		{"goroutines", "leaves one behind", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			go func() { <-stop }()
			return base.RoundTrip(req)
		})},
		{"refusal-error", "makes up a response", tripping(func(http.RoundTripper, *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody}, nil
		})},
		{"refusal-error", "passes it on as well", tripping(func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			_, err := base.RoundTrip(req)
			return nil, err
		})},
		{"refusal-error", "panics", tripping(func(http.RoundTripper, *http.Request) (*http.Response, error) {
			panic("refused")
		})},
		{"refusal-body-closed", "forgets the body", tripping(func(http.RoundTripper, *http.Request) (*http.Response, error) {
			return nil, errors.New("refused")
		})},
	}
}

func TestBrokenTransportIsSeen(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	broken := brokenTransports(stop)
	for _, c := range transportChecks() {
		if !slices.ContainsFunc(broken, func(b brokenTransport) bool { return b.check == c.name }) {
			t.Errorf("no broken wrapper for the check %q", c.name)
		}
	}
	for _, b := range broken {
		t.Run(b.check+"/"+strings.ReplaceAll(b.how, " ", "-"), func(t *testing.T) {
			t.Parallel()
			o := &TransportOptions{Wait: brokenWait, Refusing: b.wrap}
			wantSeen(t, transportSuite(b.wrap, o), b.check)
		})
	}
}
