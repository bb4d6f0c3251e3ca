// Command httpcacheproxy is a reverse proxy with a cache and nothing else:
//
//	go run ./examples/httpcacheproxy -listen 127.0.0.1:8000 -origin http://127.0.0.1:8080
//
// With -profile rfc9111 it does all that RFC 9111 lets a shared cache do. It goes by
// CDN-Cache-Control where a response has it (RFC 9213).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/uprung/uprung/cache/httpcache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("httpcacheproxy", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", "127.0.0.1:8000", "`address` to listen on")
	origin := flags.String("origin", "", "`URL` of the origin")
	profile := flags.String("profile", "safe", "safe or rfc9111")
	target := flags.String("target", "CDN-Cache-Control", "`fields` that say what this cache is to do, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	to, err := url.Parse(*origin)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return fmt.Errorf("-origin is %q, want a URL such as http://127.0.0.1:8080", *origin)
	}
	o := &httpcache.Options{}
	switch *profile {
	case "safe":
	case "rfc9111":
		o.Profile = httpcache.RFC9111
	default:
		return fmt.Errorf("-profile is %q, want safe or rfc9111", *profile)
	}
	if *target != "" {
		o.TargetFields = strings.Split(*target, ",")
	}
	handler, err := newProxy(to, o)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "serving %s at http://%s\n", to, listener.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// newProxy returns a reverse proxy whose transport has a cache.
func newProxy(to *url.URL, o *httpcache.Options) (http.Handler, error) {
	cache, err := httpcache.New(nil, o)
	if err != nil {
		return nil, err
	}
	base := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		DisableCompression:    true, // bodies are passed on as they are
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.URL.RawQuery = r.In.URL.RawQuery // byte for byte, also what some servers cannot read
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport:     cache.Transport(base),
		FlushInterval: -1, // what has come is passed on, also if no more comes
		ErrorHandler:  unreachable,
	}, nil
}

// unreachable answers for an origin that has not. What is stored may not be used then, or
// it would have been: RFC 9111 (section 5.2.2.2) has 504 for that.
func unreachable(w http.ResponseWriter, r *http.Request, _ error) {
	if r.Context().Err() != nil {
		return // nobody is there
	}
	w.WriteHeader(http.StatusGatewayTimeout)
}
