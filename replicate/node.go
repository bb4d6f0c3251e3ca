package replicate

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Node is one server.
type Node struct {
	// Name is the name of the server in figures, logs and tokens: 1 to 64 printable
	// ASCII characters.
	Name string
	// Connector opens connections to the server: what [sql.OpenDB] would be given, such
	// as stdlib.GetConnector of pgx, or mysql.NewConnector. It must always lead to the
	// same server: no list of hosts, no name that moves.
	Connector driver.Connector
	// Region is where the server stands. Reads go to those of [Options.Region] first.
	Region string
	// Weight is the server's share of reads relative to the others. Zero means 1.
	Weight int
}

// node is a server and the connections to it that nobody has borrowed.
type node struct {
	Node
	cluster *Cluster
	index   int
	tag     uint16 // stands for the name in tokens; never 0

	open          atomic.Int64 // connections
	reads, writes atomic.Uint64
	probing       atomic.Bool

	mu     sync.Mutex
	idle   []*physical // the one returned last is the last; guarded by mu
	closed bool        // nothing is kept; guarded by mu
}

// idleCheck is for how long a connection may have been unused before it is tried, when
// it is to be used for what cannot be repeated.
const idleCheck = time.Second

// borrow returns a connection, an idle one if there is one that still serves. sure says
// that it will be used for something that must not meet a connection that was lost while
// nobody looked.
func (n *node) borrow(ctx context.Context, sure bool) (*physical, error) {
	c := n.cluster
	for {
		p := n.pop()
		if p == nil {
			break
		}
		now := c.tick()
		if c.lifetime > 0 && now-p.opened > c.lifetime || c.idleTime > 0 && now-p.returned > c.idleTime {
			_ = p.close() // old age is no failure
			continue
		}
		if p.resetter != nil {
			if err := p.resetter.ResetSession(ctx); err != nil {
				_ = p.close() // what is wrong with it matters to nobody
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				continue
			}
		}
		if sure && now-p.returned > int64(idleCheck) && p.ping(ctx) != nil {
			_ = p.close() // it was lost while it was idle
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue
		}
		return p, nil
	}
	conn, err := n.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	n.open.Add(1)
	return newPhysical(n, conn, c.now()), nil
}

func (n *node) pop() *physical {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := len(n.idle) - 1
	if last < 0 {
		return nil
	}
	p := n.idle[last]
	n.idle[last] = nil
	n.idle = n.idle[:last]
	return p
}

// give takes a connection back.
func (n *node) give(p *physical) {
	c := n.cluster
	if p.broken || p.tainted || p.validator != nil && !p.validator.IsValid() {
		_ = p.close() // it is not fit for anybody else
		return
	}
	p.returned = c.tick()
	n.mu.Lock()
	if !n.closed && len(n.idle) < c.maxIdle {
		n.idle = append(n.idle, p)
		p = nil
	}
	n.mu.Unlock()
	if p != nil {
		_ = p.close() // there are enough
	}
}

// sweep closes idle connections that are too old, or all of them.
func (n *node) sweep(all bool) error {
	c, now := n.cluster, n.cluster.now()
	n.mu.Lock()
	var out []*physical
	n.idle = slices.DeleteFunc(n.idle, func(p *physical) bool {
		old := all || c.lifetime > 0 && now-p.opened > c.lifetime || c.idleTime > 0 && now-p.returned > c.idleTime
		if old {
			out = append(out, p)
		}
		return old
	})
	n.mu.Unlock()
	var errs []error
	for _, p := range out {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// setClosed says whether connections are kept.
func (n *node) setClosed(closed bool) {
	n.mu.Lock()
	n.closed = closed
	n.mu.Unlock()
}

// idleCount returns how many connections nobody has borrowed.
func (n *node) idleCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.idle)
}
