package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/uprung/uprung/lb/pick"
)

// Endpoint is one of the places that serve what is asked for.
type Endpoint struct {
	// ID names the endpoint: what is known of it belongs to the ID, and where keys
	// decide ([ByKey]), they belong to it too. IDs are unique. Empty means Addr.
	ID string
	// Addr is where to connect to, as host:port. It is required.
	Addr string
	// Weight is the endpoint's share relative to the others, at most
	// [pick.MaxWeight]. Zero means 1. What it does is said at each policy.
	Weight int
	// Zone names where the endpoint is, such as a data centre, to compare with
	// Options.Zone. Empty means that it is not known.
	Zone string
	// Priority is the level to which the endpoint belongs. Requests go to the lowest
	// level, and to the next one for as much as that cannot serve, for want of
	// healthy endpoints. It is not negative.
	Priority int
	// Host is the name by which the endpoint wants to be spoken to, in the Host header
	// and in TLS, in place of the one in the URL of the request. Empty means that of
	// the URL.
	Host string
}

// checked returns endpoints with their IDs set, in the order of these, or an error
// that names all that is wrong.
func checked(endpoints []Endpoint) ([]Endpoint, error) {
	if len(endpoints) == 0 {
		return nil, errNoEndpoints
	}
	endpoints = slices.Clone(endpoints)
	seen := make(map[string]int, len(endpoints))
	var errs []error
	bad := func(i int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("lb: endpoints[%d].%s", i, fmt.Sprintf(format, args...)))
	}
	for i := range endpoints {
		e := &endpoints[i]
		e.ID = cmp.Or(e.ID, e.Addr)
		if host, port, err := net.SplitHostPort(e.Addr); err != nil || host == "" || port == "" {
			bad(i, "Addr is %q, want host:port", e.Addr)
		}
		if e.Weight < 0 || e.Weight > pick.MaxWeight {
			bad(i, "Weight is %d, want 0 to %d", e.Weight, pick.MaxWeight)
		}
		if e.Priority < 0 {
			bad(i, "Priority is %d, want >= 0", e.Priority)
		}
		if before, ok := seen[e.ID]; ok {
			bad(i, "ID is %q, want one that no other has, and endpoints[%d] has it", e.ID, before)
		}
		seen[e.ID] = i
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(endpoints, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return endpoints, nil
}

var errNoEndpoints = errors.New("lb: the resolver returned no endpoints")

// Resolver finds the endpoints of a service.
type Resolver interface {
	// Resolve returns the endpoints as of now, in any order. It must end when ctx
	// does. It is never called twice at the same time. With an error, and with no
	// endpoints at all, those found before stay.
	Resolve(ctx context.Context) ([]Endpoint, error)
}

// ResolverFunc is a function that is a [Resolver].
type ResolverFunc func(ctx context.Context) ([]Endpoint, error)

// Resolve calls f.
func (f ResolverFunc) Resolve(ctx context.Context) ([]Endpoint, error) { return f(ctx) }

// Static is the [Resolver] of endpoints that do not change.
type Static []Endpoint

// Addrs returns endpoints at these addresses, each host:port, alike in all else.
func Addrs(addrs ...string) Static {
	s := make(Static, len(addrs))
	for i, addr := range addrs {
		s[i].Addr = addr
	}
	return s
}

// Resolve returns the endpoints.
func (s Static) Resolve(context.Context) ([]Endpoint, error) { return s, nil }
