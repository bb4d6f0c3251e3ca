package httpcache

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	greg "github.com/gregjones/httpcache"

	"github.com/uprung/uprung/benchmarks/proxy"
	"github.com/uprung/uprung/cache/httpcache"
)

func newUprung(backends []string) (http.Handler, error) {
	c, err := httpcache.New(nil, nil)
	if err != nil {
		return nil, err
	}
	return c.Middleware(reverseProxy(backends, proxy.Pooling())), nil
}

func newUprungTransport(backends []string) (http.Handler, error) {
	c, err := httpcache.New(nil, nil)
	if err != nil {
		return nil, err
	}
	return reverseProxy(backends, c.Transport(proxy.Pooling())), nil
}

func newGregjones(backends []string) (http.Handler, error) {
	t := greg.NewMemoryCacheTransport()
	t.Transport = proxy.Pooling()
	return reverseProxy(backends, t), nil
}

// reverseProxy has one backend, since gregjones has the URL of the backend as its key.
func reverseProxy(backends []string, t http.RoundTripper) http.Handler {
	target := &url.URL{Scheme: "http", Host: backends[0]}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: t,
	}
}

var daemons = []proxy.Daemon{
	{Name: "nginx", VersionFlag: "-v", Args: proxy.NginxArgs, Config: nginxConfig},
	{
		Name: "varnish", Program: "varnishd", VersionFlag: "-V",
		Args: func(dir, addr, file string) []string {
			return []string{"-j", "none", "-F", "-n", filepath.Join(dir, "work"), "-a", addr, "-f", file, "-s", "malloc,64m"}
		},
		Config: varnishConfig,
	},
}

// nginxConfig has one worker, and keeps what its backends say may be kept.
func nginxConfig(dir, addr string, backends []string) string {
	var config strings.Builder
	if os.Getuid() == 0 { // or its worker is somebody who may not write to dir
		config.WriteString("user root;\n")
	}
	fmt.Fprintf(&config, `daemon off;
worker_processes 1;
pid %s;
error_log stderr;
events {
    worker_connections 1024;
}
http {
    access_log off;
    keepalive_requests 1000000000;
    proxy_cache_path %s keys_zone=all:1m;
`, filepath.Join(dir, "nginx.pid"), filepath.Join(dir, "cache"))
	for _, use := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&config, "    %s_temp_path %s;\n", use, filepath.Join(dir, use))
	}
	fmt.Fprintf(&config, `    server {
        listen %s;
        location / {
            proxy_pass http://%s;
            proxy_set_header Host $http_host;
            proxy_cache all;
            proxy_cache_lock on;
        }
    }
}
`, addr, backends[0])
	return config.String()
}

func varnishConfig(_, _ string, backends []string) string {
	host, port, _ := strings.Cut(backends[0], ":")
	return fmt.Sprintf("vcl 4.1;\nbackend default {\n    .host = %q;\n    .port = %q;\n}\n", host, port)
}
