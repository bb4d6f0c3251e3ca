package proxy

import (
	"cmp"
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

// Daemon is a proxy that is a program of its own.
type Daemon struct {
	Name string
	// Program is its file, where that is not the name.
	Program string
	// VersionFlag makes it print its version.
	VersionFlag string
	// Args are those by which it serves at an address, in the foreground, as a
	// configuration file in a directory says.
	Args func(dir, addr, file string) []string
	// Config returns the configuration for an address to serve at.
	Config func(dir, addr string, backends []string) string
	// Target is what we want to reach compared to it, or nil.
	Target *bench.Target
}

var daemons = []Daemon{
	{
		Name:        "haproxy",
		VersionFlag: "-v",
		Args:        func(_, _, file string) []string { return []string{"-db", "-f", file} },
		Config:      haproxyConfig,
		Target:      &bench.Target{Case: caseName, Metric: "requests_per_s", Peer: "haproxy", Bound: bench.AtLeast(0.5)},
	},
	{
		Name:        "nginx",
		VersionFlag: "-v",
		Args:        NginxArgs,
		Config:      nginxConfig,
	},
}

// NginxArgs are those of nginx.
func NginxArgs(dir, _, file string) []string {
	return []string{"-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file}
}

// path finds the program, also where the PATH of users does not lead.
func (d *Daemon) path() (string, error) {
	program := cmp.Or(d.Program, d.Name)
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", program))
	}
	return path, err
}

// version returns the first line of what the program says of itself.
func (d *Daemon) version(path string) string {
	out, err := exec.Command(path, d.VersionFlag).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil || line == "" {
		return d.Name + " of unknown version"
	}
	return line
}

// start starts the program before the backends.
func (d *Daemon) start(path string, backends []string) (*process, error) {
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
		file := filepath.Join(dir, d.Name+".conf")
		if err := os.WriteFile(file, []byte(d.Config(dir, addr, backends)), 0o600); err != nil {
			errs = append(errs, err)
			break
		}
		p := &process{addrs: []string{addr}, cmd: exec.Command(path, d.Args(dir, addr, file)...)}
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
