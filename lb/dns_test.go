package lb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/uprung/uprung/internal/memnet"
)

// The types of records.
const (
	typeA    = 1
	typeAAAA = 28
	typeSRV  = 33
)

// nameserver answers DNS queries (RFC 1035) over TCP, from records by name and type,
// and says that all other names do not exist.
type nameserver map[string]map[uint16][][]byte

// resolver starts the server and returns one that asks it.
func (s nameserver) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	l := memnet.Listen()
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for s.answer(conn) == nil {
				}
			}()
		}
	}()
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return l.DialContext(ctx, "tcp", "")
	}}
}

// answer reads a query and answers it.
func (s nameserver) answer(conn net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	var labels []string
	at := 12
	for query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	question := query[12 : at+5]
	types, exists := s[strings.Join(labels, ".")]

	flags := uint16(0x8180) // a response, recursion desired and available
	if !exists {
		flags |= 3 // NXDOMAIN
	}
	out := slices.Clone(query[:2])
	for _, v := range []uint16{flags, 1, uint16(len(types[kind])), 0, 0} {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	out = append(out, question...)
	for _, data := range types[kind] {
		out = append(out, 0xc0, 12) // the name of the question
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 60)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}

// srv is the data of an SRV record.
func srv(priority, weight, port uint16, target string) []byte {
	var b []byte
	for _, v := range []uint16{priority, weight, port} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	for label := range strings.SplitSeq(target, ".") {
		if label != "" {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

// It is in no bubble: package net keeps a channel for all resolvers, which would
// belong to it.
func TestDNS(t *testing.T) {
	t.Parallel()
	v6 := net.ParseIP("2001:db8::1")
	s := nameserver{
		"orders.example":            {typeA: {{10, 0, 0, 2}, {10, 0, 0, 1}, {10, 0, 0, 1}}, typeAAAA: {v6}},
		"six.example":               {typeAAAA: {v6}},
		"_http._tcp.orders.example": {typeSRV: {srv(1, 0, 8080, "a.example."), srv(0, 20, 8081, "b.example.")}},
		"_none._tcp.orders.example": {typeSRV: {srv(0, 0, 0, ".")}},
		"_part._tcp.orders.example": {typeSRV: {srv(0, 1, 8080, "a.example."), srv(0, 1, 8081, "b c.example.")}},
	}
	resolver := s.resolver(t)
	for _, tt := range []struct {
		name string
		new  func() (Resolver, error)
		want []Endpoint
		err  bool
	}{
		{"IPv4 by default", func() (Resolver, error) {
			return NewDNS("orders.example:80", &DNSOptions{Resolver: resolver})
		}, Addrs("10.0.0.1:80", "10.0.0.2:80"), false},
		{"IPv6 alone", func() (Resolver, error) { return NewDNS("six.example:80", &DNSOptions{Resolver: resolver}) }, Addrs("[2001:db8::1]:80"), false},
		{"both", func() (Resolver, error) {
			return NewDNS("orders.example:80", &DNSOptions{Resolver: resolver, Network: "ip"})
		}, Addrs("10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80"), false},
		{"IPv6 wanted", func() (Resolver, error) {
			return NewDNS("orders.example:80", &DNSOptions{Resolver: resolver, Network: "ip6"})
		}, Addrs("[2001:db8::1]:80"), false},
		{"an address", func() (Resolver, error) { return NewDNS("10.0.0.9:80", &DNSOptions{Resolver: resolver}) }, Addrs("10.0.0.9:80"), false},
		{"no such name", func() (Resolver, error) { return NewDNS("nobody.example:80", &DNSOptions{Resolver: resolver}) }, nil, true},
		{"SRV", func() (Resolver, error) {
			return NewSRV("_http._tcp.orders.example", &DNSOptions{Resolver: resolver})
		}, []Endpoint{{Addr: "a.example:8080", Weight: 1, Priority: 1}, {Addr: "b.example:8081", Weight: 20}}, false},
		{"SRV, decidedly not available", func() (Resolver, error) {
			return NewSRV("_none._tcp.orders.example", &DNSOptions{Resolver: resolver})
		}, nil, false},
		{"SRV, some that are not valid", func() (Resolver, error) {
			return NewSRV("_part._tcp.orders.example", &DNSOptions{Resolver: resolver})
		}, []Endpoint{{Addr: "a.example:8080", Weight: 1}}, false},
		{"SRV, no such name", func() (Resolver, error) {
			return NewSRV("_http._tcp.nobody.example", &DNSOptions{Resolver: resolver})
		}, nil, true},
	} {
		r, err := tt.new()
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Resolve(t.Context())
		slices.SortFunc(got, func(a, b Endpoint) int { return strings.Compare(a.Addr, b.Addr) })
		if !slices.Equal(got, tt.want) || (err != nil) != tt.err {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		if _, ok := errors.AsType[*net.DNSError](err); tt.err && !ok {
			t.Errorf("%s: error is %v, want a DNSError", tt.name, err)
		}
	}
}

func TestDNSErrors(t *testing.T) {
	t.Parallel()
	_, err := NewDNS("orders", &DNSOptions{Network: "tcp"})
	for _, want := range []string{`address is "orders", want host:port`, `Network is "tcp"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if _, err := NewSRV("", nil); err == nil || !strings.Contains(err.Error(), "name is empty") {
		t.Errorf("error is %v, want one of the name", err)
	}
}
