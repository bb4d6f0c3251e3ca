package redisx

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
)

// connectTimeout is how long a connection may take, up to the first answer, if the
// options of the client do not say.
const connectTimeout = time.Second

// Options are the settings of a [Client].
type Options struct {
	// Name is that of the breaker in figures and logs. Empty means "default".
	Name string
	// Redis says where Redis is and how to speak to it. InitAddress is required. Retries
	// of the client are disabled, whatever it says. A zero Dialer.Timeout and
	// ConnWriteTimeout mean 1s.
	Redis rueidis.ClientOption
	// Timeout is how long a call may take; to connect again must be possible in that
	// time. Zero means [DefaultTimeout].
	Timeout time.Duration
	// Logger is told of changes of state. Nil is silent.
	Logger *slog.Logger
}

// Client is a client of Redis that connects when it is first used. It is safe for
// concurrent use.
type Client struct {
	gate   *Gate
	option rueidis.ClientOption
	client atomic.Pointer[rueidis.Client] // nil until connected

	mu     sync.Mutex
	flight *flight // the connecting that is going on; guarded by mu
}

// flight is one attempt to connect. Its fields are written before done is closed.
type flight struct {
	done   chan struct{}
	client rueidis.Client
	err    error
}

// New returns a client. It does no I/O. The error names every option that is out of
// range.
func New(o Options) (*Client, error) {
	gate, err := NewGate(GateOptions{Name: o.Name, Timeout: o.Timeout, Logger: o.Logger})
	if len(o.Redis.InitAddress) == 0 {
		err = errors.Join(err, errors.New("Redis.InitAddress is empty, want at least one host:port"))
	}
	if err != nil {
		return nil, err
	}
	c := &Client{gate: gate, option: o.Redis}
	c.option.DisableRetry = true
	c.option.Dialer.Timeout = cmp.Or(o.Redis.Dialer.Timeout, connectTimeout)
	c.option.ConnWriteTimeout = cmp.Or(o.Redis.ConnWriteTimeout, time.Second)
	if o.Redis.DialCtxFn == nil && o.Redis.DialFn == nil {
		c.option.DialCtxFn = dial
	}
	if dial := c.option.DialCtxFn; dial != nil {
		c.option.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(gate.ctx, cancel)()
			return dial(ctx, addr, d, t)
		}
	}
	return c, nil
}

// dial connects as a client does by default.
func dial(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
	if config == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	secure := tls.Dialer{NetDialer: d, Config: config}
	return secure.DialContext(ctx, "tcp", addr)
}

// Do calls f with the connected client, within the timeout, if Redis is not down. Its
// error is [ErrDown] if it is, that of ctx if that has ended, [context.DeadlineExceeded]
// after the timeout, and else what f returns. Every error of f is a failure of Redis to
// the breaker; f must return nil for [rueidis.Nil]. It may still run when Do has returned.
//
// The key is that which f is about, or one of several in the same slot.
func (c *Client) Do(ctx context.Context, key string, f func(context.Context, rueidis.Client) error) error {
	return c.DoWithin(ctx, c.gate.timeout, key, f)
}

// DoWithin is [Client.Do] with another timeout, such as what is left of one.
func (c *Client) DoWithin(ctx context.Context, timeout time.Duration, key string, f func(context.Context, rueidis.Client) error) error {
	return c.gate.DoWithin(ctx, timeout, key, func(ctx context.Context) error {
		client, err := c.Connect(ctx)
		if err != nil {
			return err
		}
		return f(ctx, client)
	}, func(ctx context.Context) error {
		client, err := c.Connect(ctx)
		if err != nil {
			return err
		}
		// In a cluster PING goes to any node, and this to that of the key.
		err = client.Do(ctx, client.B().Exists().Key(key).Build()).Error()
		if reply, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(reply.Error(), "NOPERM") {
			return nil // it answers
		}
		return err
	})
}

// Timeout is how long a call may take.
func (c *Client) Timeout() time.Duration { return c.gate.Timeout() }

// Connect returns the client, and connects if that has not succeeded yet, for as long
// as ctx allows: whoever comes later finds it done. It does not ask the breaker. The client is
// not to be closed.
func (c *Client) Connect(ctx context.Context) (rueidis.Client, error) {
	if client := c.client.Load(); client != nil {
		return *client, nil
	}
	f := c.connect()
	select {
	case <-f.done:
		return f.client, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connect begins to connect, or joins who does.
func (c *Client) connect() *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != nil {
		return c.flight
	}
	f := &flight{done: make(chan struct{})}
	if client := c.client.Load(); client != nil { // connected since
		f.client = *client
		close(f.done)
		return f
	}
	if !c.gate.task(func() {
		client, err := rueidis.NewClient(c.option)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flight = nil
		defer close(f.done)
		if err != nil {
			if client != nil {
				client.Close()
			}
			f.err = err
			return
		}
		f.client = client
		if client.Mode() == rueidis.ClientModeCluster {
			c.gate.Split()
		}
		c.client.Store(&client)
	}) {
		f.err = ErrClosed
		close(f.done)
		return f
	}
	c.flight = f
	return f
}

// Metrics yields the figures of the breaker.
func (c *Client) Metrics(yield func(uprung.Metric) bool) { c.gate.Metrics(yield) }

// Close closes the connections and waits until nothing is left of them. Calls in flight
// fail. It returns nil, always.
func (c *Client) Close() error {
	c.gate.cancel()
	if client := c.client.Load(); client != nil {
		(*client).Close()
	}
	c.gate.Close()
	if client := c.client.Load(); client != nil { // connected meanwhile
		(*client).Close()
	}
	return nil
}
