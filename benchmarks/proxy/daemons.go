package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// daemon is a proxy that is a program of its own.
type daemon struct {
	name string
	// versionFlag makes it print its version.
	versionFlag string
	// args are those by which it serves, in the foreground, as a configuration file in
	// a directory says.
	args func(dir, file string) []string
	// config returns the configuration for an address to serve at.
	config func(dir, addr string, backends []string) string
	// target is what we want to reach compared to it, or nil.
	target *bench.Target
}

var daemons = []daemon{
	{
		name:        "haproxy",
		versionFlag: "-v",
		args:        func(_, file string) []string { return []string{"-db", "-f", file} },
		config:      haproxyConfig,
		target:      &bench.Target{Case: caseName, Metric: "requests_per_s", Peer: "haproxy", Bound: bench.AtLeast(0.5)},
	},
	{
		name:        "nginx",
		versionFlag: "-v",
		args: func(dir, file string) []string {
			return []string{"-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file}
		},
		config: nginxConfig,
	},
}

// path finds the program, also where the PATH of users does not lead.
func (d *daemon) path() (string, error) {
	path, err := exec.LookPath(d.name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", d.name))
	}
	return path, err
}

// version returns the first line of what the program says of itself.
func (d *daemon) version(path string) string {
	out, err := exec.Command(path, d.versionFlag).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil || line == "" {
		return d.name + " of unknown version"
	}
	return line
}

// start starts the program before the backends.
func (d *daemon) start(path string, backends []string) (*process, error) {
	dir, err := os.MkdirTemp("", "uprung-proxy-")
	if err != nil {
		return nil, err
	}
	var errs []error
	for range 3 { // since somebody else may take the port meanwhile
		addr, err := freeAddr()
		if err != nil {
			errs = append(errs, err)
			break
		}
		file := filepath.Join(dir, d.name+".conf")
		if err := os.WriteFile(file, []byte(d.config(dir, addr, backends)), 0o600); err != nil {
			errs = append(errs, err)
			break
		}
		p := &process{addrs: []string{addr}, cmd: exec.Command(path, d.args(dir, file)...)}
		if err = begin(p); err == nil {
			if err = p.awaitListener(); err == nil {
				p.dir = dir
				return p, nil
			}
			p.Close()
		}
		errs = append(errs, err)
	}
	_ = os.RemoveAll(dir)
	return nil, errors.Join(errs...)
}

// freeAddr returns an address at which nobody listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// haproxyConfig has a thread for each core, as is the default, and shares connections
// to backends between clients, as the others do.
func haproxyConfig(_, addr string, backends []string) string {
	var config strings.Builder
	fmt.Fprintf(&config, `global
    maxconn 1024
    nbthread %d
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend in
    bind %s
    default_backend out
backend out
    balance roundrobin
    http-reuse always
    option forwardfor
    http-request set-header X-Forwarded-Host %%[req.hdr(host)]
    http-request set-header X-Forwarded-Proto http
`, runtime.NumCPU(), addr)
	for i, backend := range backends {
		fmt.Fprintf(&config, "    server backend-%d %s\n", i, backend)
	}
	return config.String()
}

// nginxConfig has a process for each core, between which the kernel divides the
// connections, and keeps those to backends, which is what its documentation says of
// keepalive. The default of a thousand requests for each connection is lifted.
func nginxConfig(dir, addr string, backends []string) string {
	var config, servers strings.Builder
	for _, backend := range backends {
		fmt.Fprintf(&servers, "        server %s;\n", backend)
	}
	fmt.Fprintf(&config, `daemon off;
worker_processes %d;
pid %s;
error_log stderr;
events {
    worker_connections 1024;
}
http {
    access_log off;
    keepalive_requests 1000000000;
`, runtime.NumCPU(), filepath.Join(dir, "nginx.pid"))
	for _, use := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&config, "    %s_temp_path %s;\n", use, filepath.Join(dir, use))
	}
	fmt.Fprintf(&config, `    upstream backends {
%s        keepalive 512;
        keepalive_requests 1000000000;
    }
    server {
        listen %s reuseport;
        location / {
            proxy_pass http://backends;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
        }
    }
}
`, servers.String(), addr)
	return config.String()
}
