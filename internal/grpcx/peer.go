package grpcx

import (
	"context"
	"net"
	"net/netip"

	"google.golang.org/grpc/peer"

	"github.com/uprung/uprung/key"
)

// PeerKey returns the key of the address that a call came from, as [key.Direct] has it
// for HTTP. It returns false in a client, and for a peer that is not on the Internet.
func PeerKey(ctx context.Context, o *key.AddrOptions) (string, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return "", false
	}
	if tcp, ok := p.Addr.(*net.TCPAddr); ok { // as ever, and its text need not be made
		return key.Addr(tcp.AddrPort().Addr(), o)
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return "", false
	}
	return key.Addr(at.Addr(), o)
}
