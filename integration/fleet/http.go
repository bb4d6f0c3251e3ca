//go:build linux

package fleet

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// WorkPath is what [Service.ServeHTTP] is for.
const WorkPath = "/work"

// workOf returns the work that a request asks for.
func workOf(r *http.Request) (time.Duration, error) {
	ns, err := strconv.ParseInt(r.URL.Query().Get("ns"), 10, 64)
	return time.Duration(ns), err
}

// ServeHTTP does the work that a request asks for.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	work, err := workOf(r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.Do(work)
	_, _ = io.WriteString(w, "done\n")
}

// SendHTTP returns what sends requests through the HTTP clients of a plan.
func SendHTTP(clients []*http.Client) Send {
	return func(ctx context.Context, client int, work time.Duration) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders"+WorkPath+"?ns="+strconv.FormatInt(int64(work), 10), nil)
		if err != nil {
			return err
		}
		resp, err := clients[client].Do(r)
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			return wrapped.Err // without the URL, so that errors can be counted
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // it has been read
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return err
	}
}
