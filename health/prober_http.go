package health

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// DefaultBodyLimit is how many bytes of a response body a probe over HTTP reads by
// default.
const DefaultBodyLimit = 64 << 10

const maxBodyLimit = 1 << 30

// HTTPOptions are the settings of the [Prober] that [NewHTTP] returns. The zero
// value of each field is its default.
type HTTPOptions struct {
	// Path is the path to ask for, with a query if it has one. Zero means "/".
	Path string
	// Scheme is http or https. Zero means http.
	Scheme string
	// Host is the Host header to send, and over https the name that TLS asks for and
	// verifies, unless Client is set. Zero means the address that is probed.
	Host string
	// MinStatus and MaxStatus bound the status codes of a server that works, within
	// 200 to 399. Zero means 200 and 299.
	MinStatus, MaxStatus int
	// BodyLimit is the number of bytes up to which a body is read to its end, so that
	// the connection can be used again; that of a longer one is closed. A body that
	// breaks off earlier is a failure. At most 1<<30; zero means [DefaultBodyLimit].
	BodyLimit int64
	// Client sends the requests, and so decides about certificates, redirects and
	// reuse of connections. Its Timeout is not needed. Nil means one that follows no
	// redirect and opens a connection for each probe, since a server whose old
	// connections still work may have ceased to accept others.
	Client *http.Client
}

// httpProber is what NewHTTP returns.
type httpProber struct {
	o      HTTPOptions
	target url.URL // without a host
}

// NewHTTP returns a [Prober] that sends GET requests. Nil options are the defaults.
// The error names every field that is not valid.
func NewHTTP(o *HTTPOptions) (Prober, error) {
	if o == nil {
		o = &HTTPOptions{}
	}
	p := &httpProber{o: *o}
	p.o.Scheme = cmp.Or(o.Scheme, "http")
	p.o.MinStatus = cmp.Or(o.MinStatus, http.StatusOK)
	p.o.MaxStatus = cmp.Or(o.MaxStatus, 299)
	p.o.BodyLimit = cmp.Or(o.BodyLimit, DefaultBodyLimit)

	var errs []error
	target, err := url.ParseRequestURI(cmp.Or(o.Path, "/"))
	if err != nil || !strings.HasPrefix(cmp.Or(o.Path, "/"), "/") {
		errs = append(errs, fmt.Errorf("health: HTTPOptions.Path is %q, want a path that begins with a slash", o.Path))
	} else {
		p.target = *target
		p.target.Scheme = p.o.Scheme
	}
	if p.o.Scheme != "http" && p.o.Scheme != "https" {
		errs = append(errs, fmt.Errorf("health: HTTPOptions.Scheme is %q, want http or https", o.Scheme))
	}
	for _, field := range []struct {
		name  string
		value int
	}{{"MinStatus", p.o.MinStatus}, {"MaxStatus", p.o.MaxStatus}} {
		if field.value < 200 || field.value > 399 {
			errs = append(errs, fmt.Errorf("health: HTTPOptions.%s is %d, want 200 to 399", field.name, field.value))
		}
	}
	if p.o.MinStatus > p.o.MaxStatus {
		errs = append(errs, fmt.Errorf("health: HTTPOptions.MinStatus is %d, want at most MaxStatus, %d", p.o.MinStatus, p.o.MaxStatus))
	}
	if o.BodyLimit < 0 || o.BodyLimit > maxBodyLimit {
		errs = append(errs, fmt.Errorf("health: HTTPOptions.BodyLimit is %d, want 0 to %d", o.BodyLimit, maxBodyLimit))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if o.Client == nil {
		p.o.Client = &http.Client{
			Transport: &http.Transport{
				DisableKeepAlives: true,
				TLSClientConfig:   &tls.Config{ServerName: hostname(p.o.Host)},
				ForceAttemptHTTP2: true, // which a TLSClientConfig would switch off
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return p, nil
}

// hostname returns a host without its port.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]") // IPv6 without a port
}

// Probe sends one request and reads the answer.
func (p *httpProber) Probe(ctx context.Context, addr string) error {
	target := p.target
	target.Host = addr
	request := (&http.Request{
		Method: http.MethodGet,
		URL:    &target,
		Host:   cmp.Or(p.o.Host, addr),
		Header: http.Header{"User-Agent": {"uprung-health"}},
	}).WithContext(ctx)
	response, err := p.o.Client.Do(request)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	_, err = io.CopyN(io.Discard, response.Body, p.o.BodyLimit+1) // beyond the last byte, to see the end
	_ = response.Body.Close()                                     // what had to be read is read
	if response.StatusCode < p.o.MinStatus || response.StatusCode > p.o.MaxStatus {
		return fmt.Errorf("health: status is %d, want %d to %d", response.StatusCode, p.o.MinStatus, p.o.MaxStatus)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("health: body: %w", err)
	}
	return nil
}
