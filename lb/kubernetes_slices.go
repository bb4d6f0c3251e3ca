package lb

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// endpointSlice is what is needed of an EndpointSlice (Kubernetes API reference,
// discovery.k8s.io/v1). A slice lists endpoints that have their ports in common.
type endpointSlice struct {
	Metadata    metadata        `json:"metadata"`
	AddressType string          `json:"addressType"`
	Endpoints   []sliceEndpoint `json:"endpoints"`
	Ports       []slicePort     `json:"ports"`
}

type metadata struct {
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion"`
	Continue        string `json:"continue"`
}

type sliceEndpoint struct {
	Addresses  []string `json:"addresses"`
	Conditions struct {
		Ready       *bool `json:"ready"` // nil means true
		Serving     bool  `json:"serving"`
		Terminating bool  `json:"terminating"`
	} `json:"conditions"`
	TargetRef struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"targetRef"`
	Zone string `json:"zone"`
}

type slicePort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"` // empty means TCP
	Port     int    `json:"port"`     // 0 means all, which says nothing
}

type sliceList struct {
	Metadata metadata        `json:"metadata"`
	Items    []endpointSlice `json:"items"`
}

// watchEvent is a change of a slice, or has the code and the message of an error.
type watchEvent struct {
	Type   string `json:"type"`
	Object struct {
		endpointSlice
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"object"`
}

// sliceSet are the slices of a service as of a version.
type sliceSet struct {
	version string
	slices  map[string]*endpointSlice // by name
}

// eventError says that something came that is not what it should be.
type eventError struct{ err error }

func (e *eventError) Error() string { return fmt.Sprintf("lb: Kubernetes sends %v", e.err) }

func (e *eventError) Unwrap() error { return e.err }

// follow applies a stream of events until it ends, and calls changed after each that
// changes anything. Its error is nil if the stream ends between two events.
func (s *sliceSet) follow(r io.Reader, changed func()) error {
	limit := &limited{r: r}
	for events := json.NewDecoder(limit); ; {
		limit.left = maxEvent
		var e watchEvent
		switch err := events.Decode(&e); {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, limit.err), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errTooLarge):
			return wrapped(err) // of the connection, or of what there is of it
		default:
			return &eventError{err}
		}
		if err := s.apply(&e); err != nil {
			return err
		}
		if e.Type != "BOOKMARK" {
			changed()
		}
	}
}

// apply brings the set up to date.
func (s *sliceSet) apply(e *watchEvent) error {
	slice := e.Object.endpointSlice
	switch e.Type {
	case "ADDED", "MODIFIED", "DELETED":
		if slice.Metadata.Name == "" {
			return &eventError{fmt.Errorf("an event %s of a slice without a name", e.Type)}
		}
	case "BOOKMARK": // tells the version alone
	case "ERROR":
		return newStatusError(e.Object.Code, e.Object.Message)
	default:
		return &eventError{fmt.Errorf("an event of type %q", e.Type[:min(len(e.Type), maxMessage)])}
	}
	if slice.Metadata.ResourceVersion == "" {
		return &eventError{fmt.Errorf("an event %s without a version", e.Type)}
	}
	switch e.Type {
	case "ADDED", "MODIFIED":
		s.slices[slice.Metadata.Name] = &slice
	case "DELETED":
		delete(s.slices, slice.Metadata.Name)
	}
	s.version = slice.Metadata.ResourceVersion
	return nil
}

// endpoints returns the endpoints that are in use, in the order of their IDs. Each
// counts once, however many slices have it.
func (k *kubernetes) endpoints(set *sliceSet) ([]Endpoint, error) {
	ports, err := k.ports(set)
	if err != nil {
		return nil, err
	}
	var found [4]map[string]Endpoint // by ID: ready of IPv4 and IPv6, then those which still serve
	for i := range found {
		found[i] = map[string]Endpoint{}
	}
	for _, name := range slices.Sorted(maps.Keys(set.slices)) {
		slice := set.slices[name]
		port, family := ports[name], 0
		switch {
		case port == "":
			continue
		case slice.AddressType == "IPv4" && k.o.Network != "ip6":
		case slice.AddressType == "IPv6" && k.o.Network != "ip4":
			family = 1
		default:
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			rank := family
			switch c := &e.Conditions; {
			case c.Ready == nil || *c.Ready:
			case c.Serving && c.Terminating:
				rank += 2
			default:
				continue
			}
			if endpoint, ok := e.endpoint(port); ok {
				found[rank][endpoint.ID] = endpoint
			}
		}
	}
	for _, some := range found {
		if len(some) > 0 {
			return slices.SortedFunc(maps.Values(some), func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) }), nil
		}
	}
	return nil, nil
}

// endpoint returns the endpoint with a port, unless it has no address.
func (e *sliceEndpoint) endpoint(port string) (Endpoint, bool) {
	if len(e.Addresses) == 0 {
		return Endpoint{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0]) // any others are not defined
	if err != nil {
		return Endpoint{}, false
	}
	endpoint := Endpoint{Addr: net.JoinHostPort(addr.Unmap().String(), port), Zone: e.Zone}
	endpoint.ID = endpoint.Addr
	if e.TargetRef.Name != "" {
		endpoint.ID = e.TargetRef.Namespace + "/" + e.TargetRef.Name
	}
	return endpoint, true
}

// ports returns the number of the port that is asked for in each slice that has it.
func (k *kubernetes) ports(set *sliceSet) (map[string]string, error) {
	ports, names := map[string]string{}, map[string]bool{}
	for name, slice := range set.slices {
		for _, p := range slice.Ports {
			if p.Protocol != "" && p.Protocol != "TCP" || p.Port < 1 || p.Port > 65535 {
				continue
			}
			number := strconv.Itoa(p.Port)
			names[p.Name] = true
			if k.o.Port == "" || k.o.Port == p.Name || k.o.Port == number {
				ports[name] = number
			}
		}
	}
	switch {
	case k.o.Port == "" && len(names) > 1:
		return nil, fmt.Errorf("lb: KubernetesOptions.Port is empty, want one of the ports of %s: %s", k.service, listed(names))
	case k.o.Port != "" && len(ports) == 0 && len(names) > 0:
		return nil, fmt.Errorf("lb: KubernetesOptions.Port is %q, want one of the ports of %s: %s", k.o.Port, k.service, listed(names))
	}
	return ports, nil
}

// listed returns the first few of some names.
func listed(names map[string]bool) string {
	list := slices.Sorted(maps.Keys(names))
	more := ""
	if len(list) > 10 {
		list, more = list[:10], ", ..."
	}
	for i := range list {
		list[i] = strconv.Quote(list[i])
	}
	return strings.Join(list, ", ") + more
}

var errTooLarge = &eventError{errors.New("more than there can be")}

// limited reads no more than what is left, and keeps the error of the reader.
type limited struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if err != nil {
		l.err = err
	}
	return n, err
}
