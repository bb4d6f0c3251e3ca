package grpcx

import (
	"net"
	"net/netip"
	"testing"

	"google.golang.org/grpc/peer"

	"github.com/uprung/uprung/key"
)

// text is an address of another type than those of package net.
type text string

func (text) Network() string  { return "test" }
func (a text) String() string { return string(a) }

func TestPeerKey(t *testing.T) {
	t.Parallel()
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, tt := range []struct {
		addr net.Addr
		o    *key.AddrOptions
		want string
	}{
		{tcp("192.0.2.1:1234"), nil, "192.0.2.1"},
		{tcp("[::ffff:192.0.2.1]:1234"), nil, "192.0.2.1"},
		{tcp("[2001:db8:1:2:3::4]:1234"), nil, "2001:db8:1:2::/64"},
		{tcp("[2001:db8:1:2:3::4]:1234"), &key.AddrOptions{IPv6Prefix: 32}, "2001:db8::/32"},
		{text("192.0.2.1:5678"), nil, "192.0.2.1"},
		{text("192.0.2.1"), nil, ""},
		{&net.UnixAddr{Name: "@", Net: "unix"}, nil, ""},
		{&net.TCPAddr{}, nil, ""},
		{nil, nil, ""},
	} {
		ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: tt.addr})
		if got, ok := PeerKey(ctx, tt.o); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%v is %q, %t, want %q", tt.addr, got, ok, tt.want)
		}
	}
	if got, ok := PeerKey(t.Context(), nil); ok {
		t.Errorf("nobody is %q", got)
	}
}
