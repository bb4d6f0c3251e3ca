package grpcbalance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"

	"github.com/uprung/uprung/internal/splitmix"
)

// Balancer balances the calls of all connections whose service config names it. Use
// [New], and [Balancer.Register] before the first connection is made; or only the
// function [Register], if its figures are of no interest.
//
// It is safe for concurrent use, but for what is said at Register.
type Balancer struct {
	name  string
	o     Options
	draws atomic.Uint64 // random numbers drawn from Seed

	mu       sync.Mutex
	channels map[*channel]bool // guarded by mu

	inFlight            atomic.Int64
	rejected, ejections atomic.Uint64
	ended               [4]atomic.Uint64 // calls, by Outcome
}

// New returns a balancer of a name, which is 1 to 64 lower-case ASCII letters, digits and
// any of "_-.": service configs name it so, and figures, logs and refusals too. Nil
// options are the defaults. The error names every argument and field that is not valid.
func New(name string, o *Options) (*Balancer, error) {
	if o == nil {
		o = &Options{}
	}
	b := &Balancer{name: name, channels: map[*channel]bool{}}
	var err, bad error
	if !valid(name) {
		bad = fmt.Errorf("grpcbalance: name is %q, want 1 to %d lower-case letters, digits, _, - and dots", name, maxName)
	}
	if b.o, err = o.complete(); bad != nil || err != nil {
		return nil, errors.Join(bad, err)
	}
	return b, nil
}

// maxName bounds a name, which figures and logs repeat.
const maxName = 64

func valid(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// Register makes a balancer and registers it: [New] and [Balancer.Register] in one.
func Register(name string, o *Options) error {
	b, err := New(name, o)
	if err != nil {
		return err
	}
	return b.Register()
}

// registering keeps two calls of Register apart. grpc-go's registry has no lock.
var registering sync.Mutex

// Register makes the name known to grpc-go, whose registry of balancers is global to the
// process and knows no way back. It is an error if the name is known already.
//
// The registry has no lock: call Register in main or in a test's setup, before the first
// connection is made.
func (b *Balancer) Register() error {
	registering.Lock()
	defer registering.Unlock()
	if balancer.Get(b.name) != nil {
		return fmt.Errorf("grpcbalance: name is %q, want one that is not registered yet", b.name)
	}
	balancer.Register(builder{b})
	return nil
}

// ServiceConfig returns the service config that names a balancer, for
// grpc.WithDefaultServiceConfig. To say more in one, such as timeouts or a
// healthCheckConfig, write it by hand with this loadBalancingConfig.
func ServiceConfig(name string) string {
	return fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, name)
}

// builder is a [Balancer] as grpc-go knows it.
type builder struct{ b *Balancer }

var _ balancer.Builder = builder{}

// Name implements [balancer.Builder].
func (r builder) Name() string { return r.b.name }

// Build implements [balancer.Builder].
func (r builder) Build(cc balancer.ClientConn, o balancer.BuildOptions) balancer.Balancer {
	c := &channel{ClientConn: cc, b: r.b, origin: time.Now(), nodes: map[string]*node{}}
	c.state.Store(&snapshot{until: never})
	c.child = endpointsharding.NewBalancer(c, o, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.b.channels[c] = true
	return c
}

// closed forgets a connection.
func (b *Balancer) closed(c *channel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.channels, c)
}

// random returns a random number.
func (b *Balancer) random() uint64 {
	if b.o.Seed == 0 {
		return rand.Uint64()
	}
	return splitmix.Mix(b.o.Seed + b.draws.Add(1)*splitmix.Phi)
}
