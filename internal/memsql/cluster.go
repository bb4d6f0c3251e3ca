package memsql

import (
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// system identifies all clusters alike.
const system = 4711

// Positions in the log of a server.
const (
	logStart = 0x3000000
	logEntry = 96
)

// Error is an error of a server, with its SQLSTATE.
type Error struct{ Code, Message string }

// Error returns code and message.
func (e *Error) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

// SQLState returns the code, as the errors of the drivers of PostgreSQL do.
func (e *Error) SQLState() string { return e.Code }

// entry is one write.
type entry struct {
	key   string
	value int64
	epoch uint32
	at    time.Time // when it was committed at the primary
}

// Cluster is one primary and its replicas. It is safe for concurrent use. Use [New].
type Cluster struct {
	mu    sync.Mutex
	nodes []*Node // the first was the primary; all of their fields are guarded by mu
	epoch uint32
}

// Node is one server: a driver.Connector that connects to it.
type Node struct {
	cluster       *Cluster
	index         int
	log           []entry
	data          map[string]int64
	upstream      *Node // nil at a primary
	epoch         uint32
	lag           time.Duration
	paused        bool
	down          bool
	started       int // counts restarts: connections from before are lost
	fail          error
	commitAndFail error

	workers chan struct{} // nil: any number at a time, which take no time
	service time.Duration
}

// New returns a cluster of a primary and a number of replicas that do not lag.
func New(replicas int) *Cluster {
	c := &Cluster{epoch: 1}
	for i := range replicas + 1 {
		n := &Node{cluster: c, index: i, data: map[string]int64{}, epoch: 1}
		if i > 0 {
			n.upstream = c.nodes[0]
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

// Node returns a server: 0 is the first primary.
func (c *Cluster) Node(i int) *Node { return c.nodes[i] }

// SetCapacity has every server work on so many statements at a time, each for this long.
// Call it before the first statement.
func (c *Cluster) SetCapacity(workers int, service time.Duration) {
	for _, n := range c.nodes {
		n.workers, n.service = make(chan struct{}, workers), service
	}
}

// SetLag sets how much later than the primary a replica applies what was written.
func (n *Node) SetLag(lag time.Duration) {
	n.change(func() { n.lag = lag })
}

// Pause stops a replica from applying anything, or lets it go on.
func (n *Node) Pause(paused bool) {
	n.change(func() { n.paused = paused })
}

// Crash loses all connections to a server and refuses new ones.
func (n *Node) Crash() {
	n.change(func() {
		n.down = true
		n.started++
	})
}

// Start lets a server be reached again, as it was: a primary comes back as one.
func (n *Node) Start() {
	n.change(func() { n.down = false })
}

// KillConnections loses all connections to a server.
func (n *Node) KillConnections() {
	n.change(func() { n.started++ })
}

// Fail makes every statement and connection fail with an error, until it is nil.
func (n *Node) Fail(err error) {
	n.change(func() { n.fail = err })
}

// CommitAndFail has the next write be executed and then answered with an error.
func (n *Node) CommitAndFail(err error) {
	n.change(func() { n.commitAndFail = err })
}

// Promote makes a replica the primary of a new timeline, with all that the primary has
// sent: that is everything, since only to apply it takes as long as SetLag says. The others follow it, as far as they have applied nothing else.
func (n *Node) Promote() {
	n.change(func() {
		c := n.cluster
		c.epoch++
		lag, paused := n.lag, n.paused
		n.lag, n.paused = 0, false
		n.advance(time.Now()) // all that it has received
		n.lag, n.paused = lag, paused
		n.upstream, n.epoch = nil, c.epoch
		for _, other := range c.nodes {
			if other != n && other.upstream != nil {
				other.upstream = n
			}
		}
	})
}

// Rewind makes a server a replica of the present primary, without what it alone has.
func (n *Node) Rewind() {
	n.change(func() {
		for _, p := range n.cluster.nodes {
			if p != n && p.upstream == nil && p.epoch == n.cluster.epoch {
				n.upstream, n.log, n.data = p, nil, map[string]int64{}
			}
		}
	})
}

// change changes a server, after all have applied what they would have by now.
func (n *Node) change(do func()) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, other := range c.nodes {
		other.advance(now)
	}
	do()
}

// advance applies what a replica has by now. It is called under mu.
func (n *Node) advance(now time.Time) {
	up := n.upstream
	if up == nil || n.paused || n.down {
		return
	}
	if last := len(n.log); last > len(up.log) || last > 0 && up.log[last-1] != n.log[last-1] {
		return // it has gone another way
	}
	n.epoch = up.epoch
	for _, e := range up.log[len(n.log):] {
		if e.at.Add(n.lag).After(now) {
			return
		}
		n.apply(e)
	}
}

func (n *Node) apply(e entry) {
	n.log = append(n.log, e)
	n.data[e.key] = e.value
}

// write executes a write. It is called under mu.
func (n *Node) write(now time.Time, key string, value int64) {
	n.apply(entry{key: key, value: value, epoch: n.epoch, at: now})
}

// position is the LSN of what has been applied.
func (n *Node) position() string {
	return fmt.Sprintf("0/%X", logStart+logEntry*len(n.log))
}

// errRefused is what connecting to a server gives that is down.
func errRefused() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// errLost is what a connection gives that was lost.
var errLost = io.ErrUnexpectedEOF

// Writes returns how many writes a server has in its log.
func (n *Node) Writes() int {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return len(n.log)
}
