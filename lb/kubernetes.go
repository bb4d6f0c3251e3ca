package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// serviceAccount is where a pod has the files of its service account (Kubernetes:
// Accessing the Kubernetes API from a Pod).
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// KubernetesOptions are the settings of [NewKubernetes]. The zero value of each field
// is its default, which is right for a pod that looks for a service of one port in its
// own namespace.
type KubernetesOptions struct {
	// Namespace is that of the service. Empty means the pod's own, as the file
	// namespace of ServiceAccount says.
	Namespace string
	// Port is the name of a TCP port, or its number on the pods, which need not be the
	// one that the service has. Empty means the only one; if there are several, that is
	// an error which names them.
	Port string
	// Network says which address of a pod is used: "ip4" or "ip6". Empty means those of
	// IPv4, or those of IPv6 where there are none.
	Network string
	// URL is where the API server is, beginning with https. Empty means where the
	// variables KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say, which every pod
	// has in its environment.
	URL string
	// ServiceAccount is a directory with the files token, ca.crt and namespace. They
	// are read when they are needed, and again for each request, since they change.
	// Empty means /var/run/secrets/kubernetes.io/serviceaccount.
	ServiceAccount string
	// Token returns the bearer token of a request. Nothing is sent if it is empty. It
	// must be safe for concurrent use. Nil means the file token of ServiceAccount.
	Token func(ctx context.Context) (string, error)
	// Transport makes the requests; redirects are not followed. Nil means one that
	// trusts the file ca.crt of ServiceAccount and nothing else, and keeps no idle
	// connection.
	Transport http.RoundTripper
	// WatchTimeout is how long the API server is asked to keep up a watch, shortened at
	// random by a quarter at most, before another takes up where it ended. If the server
	// falls silent, that is noticed by then. Zero means 5m; it is at least 1s.
	WatchTimeout time.Duration
}

// NewKubernetes returns the [Resolver] of the ready pods behind a service of Kubernetes,
// which is a [Watcher]: while [Balancer.Run] runs, a pod that comes, goes or changes its
// readiness does so here at once. Nil options are the defaults.
//
// It lists and watches the EndpointSlices of the service (discovery.k8s.io/v1) at the
// API server. The service account of the pod must be allowed to:
//
//	apiVersion: rbac.authorization.k8s.io/v1
//	kind: Role
//	metadata:
//	  name: discovery
//	rules:
//	- apiGroups: [discovery.k8s.io]
//	  resources: [endpointslices]
//	  verbs: [list, watch]
//
// bound by a RoleBinding in the namespace of the service. Without the right to watch,
// the slices are listed each Options.Refresh.
//
// Endpoints are the addresses of the pods, which are sent requests directly, and not by
// way of the service: give it no cluster IP ("headless") if nobody else needs one. Pods
// that are shutting down but still serve are used if none is ready, as kube-proxy does.
// IDs are namespace/name of the pod, or the address where a slice names none; zones are
// those of the nodes, to compare with Options.Zone; hints of slices are not looked at.
//
// While the API server is away, the endpoints found before stay, and the watch goes on
// where it was cut off. Tokens are sent to no server but that of the URL, whose
// certificate is verified, and are in no error and no log.
func NewKubernetes(service string, o *KubernetesOptions) (Resolver, error) {
	if o == nil {
		o = &KubernetesOptions{}
	}
	k := &kubernetes{service: service, o: *o}
	if err := k.complete(); err != nil {
		return nil, err
	}
	return k, nil
}

// complete checks all arguments and fills in the defaults.
func (k *kubernetes) complete() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lb: "+format, args...)) }
	o := &k.o
	if !isLabel(k.service) {
		bad("service is %q, want the name of one", k.service)
	}
	if o.Namespace != "" && !isLabel(o.Namespace) {
		bad("KubernetesOptions.Namespace is %q, want the name of one", o.Namespace)
	}
	if n, err := strconv.Atoi(o.Port); err == nil && (n < 1 || n > 65535) {
		bad("KubernetesOptions.Port is %q, want a name or 1 to 65535", o.Port)
	}
	switch o.Network {
	case "", "ip4", "ip6":
	default:
		bad("KubernetesOptions.Network is %q, want ip4, ip6 or nothing", o.Network)
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	switch {
	case o.URL != "":
		u, err := url.Parse(o.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			// It is not repeated: it may have a password in it.
			bad("KubernetesOptions.URL is not valid, want https://host:port and a path at most")
		}
	case host == "" || port == "":
		bad("KubernetesOptions.URL is empty, want one outside of a pod, where KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	default:
		o.URL = "https://" + net.JoinHostPort(host, port)
	}
	o.URL = strings.TrimRight(o.URL, "/")
	o.ServiceAccount = cmp.Or(o.ServiceAccount, serviceAccount)
	o.WatchTimeout = cmp.Or(o.WatchTimeout, 5*time.Minute)
	if o.WatchTimeout < time.Second {
		bad("KubernetesOptions.WatchTimeout is %v, want >= 1s", o.WatchTimeout)
	}
	return errors.Join(errs...)
}

// isLabel reports whether s can be the name of a service or a namespace (RFC 1123, as
// restricted by Kubernetes: Object Names and IDs).
func isLabel(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// kubernetes is the [Watcher] of a service.
type kubernetes struct {
	service string
	o       KubernetesOptions

	mu    sync.Mutex
	ca    []byte       // what own trusts; guarded by mu
	own   *http.Client // guarded by mu
	known *sliceSet    // where the last watch ended; guarded by mu
}

// Resolve lists the slices.
func (k *kubernetes) Resolve(ctx context.Context) ([]Endpoint, error) {
	set, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	return k.endpoints(set)
}

// briefly is how long a watch must last that may be followed by another at once, so
// that a server which ends each is not asked without a pause.
const briefly = time.Second

// Watch lists the slices, unless it knows them from an earlier call, and watches what
// becomes of them.
func (k *kubernetes) Watch(ctx context.Context, update func([]Endpoint, error)) error {
	t := teller{update: update}
	set := k.take()
	defer func() { k.keep(set) }()
	for {
		listed := set == nil
		if listed {
			var err error
			if set, err = k.list(ctx); err != nil {
				return err
			}
			t.tell(k.endpoints(set))
		}
		began := time.Now()
		err := k.watch(ctx, set, func() { t.tell(k.endpoints(set)) })
		brief := time.Since(began) < briefly
		if err != nil && !resumable(err) {
			set = nil
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errGone) && (!listed || !brief): // list again at once
		case err != nil:
			return err
		case brief:
			return errBrief
		}
	}
}

var errBrief = fmt.Errorf("lb: Kubernetes ended a watch within %v", briefly)

// take returns the slices that an earlier watch knew, or nil. They belong to one watch
// at a time: another one meanwhile lists its own.
func (k *kubernetes) take() *sliceSet {
	k.mu.Lock()
	defer k.mu.Unlock()
	set := k.known
	k.known = nil
	return set
}

func (k *kubernetes) keep(set *sliceSet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = set
}
