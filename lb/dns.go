package lb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/uprung/uprung/lb/pick"
)

// DNSOptions are the settings of [NewDNS] and [NewSRV]. The zero value of each field
// is its default.
type DNSOptions struct {
	// Network says which addresses of a host are endpoints: "ip4", "ip6", or "ip" for
	// both. Empty means those of IPv4, or those of IPv6 where there are none: most hosts
	// with both would count twice. NewSRV has no use for it.
	Network string
	// Resolver is what is asked. Nil means [net.DefaultResolver].
	Resolver *net.Resolver
}

// NewDNS returns the [Resolver] of the addresses (A and AAAA records) of a host, with
// a port, as host:port: each address is an endpoint. Call [Balancer.Run] to have it
// asked again; DNS does not tell how long its answer holds, so that
// Options.Refresh says it.
func NewDNS(address string, o *DNSOptions) (Resolver, error) {
	o, err := o.checked()
	host, port, splitErr := net.SplitHostPort(address)
	if splitErr != nil || host == "" || port == "" {
		err = errors.Join(err, fmt.Errorf("lb: address is %q, want host:port", address))
	}
	if err != nil {
		return nil, err
	}
	network := o.Network
	if network == "" {
		network = "ip"
	}
	return ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
		ips, err := o.Resolver.LookupNetIP(ctx, network, host)
		if err != nil {
			return nil, fmt.Errorf("lb: %w", err)
		}
		if o.Network == "" {
			ips = ofOneFamily(ips)
		}
		endpoints := make([]Endpoint, 0, len(ips))
		seen := make(map[netip.Addr]bool, len(ips))
		for _, ip := range ips {
			if ip = ip.Unmap(); !seen[ip] {
				seen[ip] = true
				endpoints = append(endpoints, Endpoint{Addr: net.JoinHostPort(ip.String(), port)})
			}
		}
		return endpoints, nil
	}), nil
}

// ofOneFamily returns the addresses of IPv4, or all if there are none.
func ofOneFamily(ips []netip.Addr) []netip.Addr {
	var v4 []netip.Addr
	for _, ip := range ips {
		if ip.Unmap().Is4() {
			v4 = append(v4, ip)
		}
	}
	if len(v4) == 0 {
		return ips
	}
	return v4
}

// NewSRV returns the [Resolver] of the SRV records (RFC 2782) of a name such as
// _http._tcp.orders.example: each is an endpoint, whose target and port are its
// address, with the weight and the priority of the record. See [NewDNS].
func NewSRV(name string, o *DNSOptions) (Resolver, error) {
	o, err := o.checked()
	if name == "" {
		err = errors.Join(err, errors.New("lb: name is empty, want that of SRV records"))
	}
	if err != nil {
		return nil, err
	}
	return ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
		_, records, err := o.Resolver.LookupSRV(ctx, "", "", name)
		if err != nil && len(records) == 0 { // with some, others are invalid
			return nil, fmt.Errorf("lb: %w", err)
		}
		endpoints := make([]Endpoint, 0, len(records))
		seen := make(map[string]bool, len(records))
		for _, r := range records {
			target := strings.TrimSuffix(r.Target, ".")
			if target == "" {
				continue // RFC 2782: the service is decidedly not available
			}
			addr := net.JoinHostPort(target, fmt.Sprint(r.Port))
			if !seen[addr] {
				seen[addr] = true
				// Weight 0 is the smallest there is, and not none.
				weight := min(max(int(r.Weight), 1), pick.MaxWeight)
				endpoints = append(endpoints, Endpoint{Addr: addr, Weight: weight, Priority: int(r.Priority)})
			}
		}
		return endpoints, nil
	}), nil
}

// checked returns a copy with all defaults in place.
func (o *DNSOptions) checked() (*DNSOptions, error) {
	c := DNSOptions{}
	if o != nil {
		c = *o
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	switch c.Network {
	case "", "ip", "ip4", "ip6":
		return &c, nil
	}
	return nil, fmt.Errorf("lb: DNSOptions.Network is %q, want ip, ip4, ip6 or nothing", c.Network)
}
