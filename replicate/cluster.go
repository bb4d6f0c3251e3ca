package replicate

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/internal/sqlclass"
	"github.com/uprung/uprung/lb/pick"
)

// Kind is the kind of the layers and rejections of this package.
const Kind uprung.Kind = "replicate"

var (
	// ErrPrimaryBusy is the reason of a refusal of a read that no replica could serve:
	// as many as [Options.MaxPrimaryFallback] are at the primary in their stead.
	ErrPrimaryBusy = errors.New("replicate: too many reads fall back to the primary")

	// ErrNoReplica is the reason of a refusal of a read that no replica could serve,
	// under [ToError].
	ErrNoReplica = errors.New("replicate: no replica is fit for this read")

	// ErrNoPrimary is the reason of a refusal of a statement for which no primary was
	// found in time. It has not been executed.
	ErrNoPrimary = errors.New("replicate: no primary")

	// ErrUncertain is matched by the error of a statement whose connection was lost, so
	// that nobody knows whether it was executed. It is never repeated.
	ErrUncertain = errors.New("replicate: the connection was lost, and the statement may have been executed")
)

// Fallback says what becomes of a read that no replica is fit for.
type Fallback uint8

const (
	// ToPrimary reads at the primary, as many at a time as MaxPrimaryFallback.
	ToPrimary Fallback = iota
	// ToStale reads at a replica that answers, though it lacks something that the level
	// promises, and at the primary if there is none.
	ToStale
	// ToError refuses the read with ErrNoReplica.
	ToError
)

// String returns "primary", "stale" or "error".
func (f Fallback) String() string {
	switch f {
	case ToPrimary:
		return "primary"
	case ToStale:
		return "stale"
	case ToError:
		return "error"
	default:
		return fmt.Sprintf("Fallback(%d)", uint8(f))
	}
}

// The defaults of Options.
const (
	DefaultMaxPrimaryFallback = 64
	DefaultWait               = 50 * time.Millisecond
	DefaultFailoverWait       = 2 * time.Second
	DefaultProbe              = 100 * time.Millisecond
	DefaultProbeTimeout       = time.Second
	DefaultMaxIdle            = 16
	DefaultMaxIdleTime        = 5 * time.Minute
	DefaultMaxStatements      = 64
)

const (
	maxNodes = 64 // a set of them is a word

	// maxWaiting is how many statements wait at a time, for a replica to catch up or for
	// a primary: each holds a goroutine and, of a replica, a connection.
	maxWaiting = 1024

	// busyBan is for how long a server is left alone that takes no more connections or
	// has lost one.
	busyBan = time.Second

	// rememberedClasses is of how many statements the class is remembered. Programs have
	// a few thousand; those that write values into the text have no end of them.
	rememberedClasses = 4096

	// primaryHaste is how much more often servers are probed while there is no primary.
	primaryHaste = 10
)

// Options are the settings of a [Cluster]. The zero value of each field is its default.
type Options struct {
	// Name is the name of the cluster in figures, logs and tokens: 1 to 64 printable
	// ASCII characters. Clusters of which one program has several, such as shards, need
	// names of their own. Zero means "default".
	Name string

	// Dialect is the kind of the servers. Nil means PostgreSQL.
	Dialect Dialect

	// ReadFunctions are functions of your own, or of extensions, that have no effect: a
	// SELECT that calls another that the server does not come with is not taken for a
	// read. They are named as statements call them, "similarity" or "app.score"; case
	// does not matter. A Dialect that is not of this package takes none.
	ReadFunctions []string

	// Level is what reads promise that have none by [WithLevel]. Zero means Session.
	Level Level

	// Fallback says what becomes of reads that no replica is fit for. Zero means
	// ToPrimary.
	Fallback Fallback

	// MaxPrimaryFallback is how many of those may be at the primary at a time. Others
	// wait for as long as Wait, and are then refused with ErrPrimaryBusy: replicas that
	// lag must not take the primary down with them. Zero means 64; a negative value sets
	// no limit.
	MaxPrimaryFallback int

	// Wait is how long a read waits for a replica that is about to have what it must
	// see. Zero means 50ms; a negative value does not wait, nor ask a replica where it
	// stands.
	Wait time.Duration

	// FailoverWait is how long a statement that needs the primary waits for one if there
	// is none. Zero means 2s; a negative value does not wait.
	FailoverWait time.Duration

	// Probe is the time between two probes of a server. It bounds for how long after a
	// write reads go to the primary, and how soon a failover is noticed: while there is
	// no primary, probes come ten times as often. Zero means 100ms.
	Probe time.Duration

	// ProbeTimeout is how long a server has to answer a probe. Zero means 1s.
	ProbeTimeout time.Duration

	// PrimaryReads makes the primary one of the servers that reads are spread over.
	PrimaryReads bool

	// Region is where this program runs: reads go to replicas of that region as long as
	// one of them is fit. Empty means that all are equally near.
	Region string

	// Policy chooses among the replicas that are fit for a read. Nil means
	// [pick.PowerOfTwo].
	Policy pick.Policy

	// MaxIdle is how many unused connections to each server are kept. The number of those
	// in use is what [sql.DB.SetMaxOpenConns] allows, for all servers together. Zero
	// means 16; a negative value keeps none.
	MaxIdle int

	// MaxIdleTime is for how long an unused connection is kept. Zero means 5 minutes; a
	// negative value sets no limit.
	MaxIdleTime time.Duration

	// MaxLifetime is for how long a connection is used. Zero sets no limit. The settings
	// of that name of a [sql.DB] are about what holds no connection.
	MaxLifetime time.Duration

	// MaxStatements is how many prepared statements each connection keeps. Zero means 64.
	MaxStatements int

	// Token says how bookmarks are carried from request to request.
	Token TokenOptions

	// Mode says what is done with decisions. Under [uprung.Shadow] everything runs at the
	// primary, and Stats tell what would have run elsewhere; under [uprung.Percent] so it
	// is with part of the statements, by their texts. [Cluster.SetMode] changes it live.
	// Zero means [uprung.Enforce].
	Mode uprung.Mode

	// Logger is told when servers change. One that has not answered a probe yet, because
	// it is of another Dialect or refuses the user a right, has not: what shows it is that
	// [Stats] counts ProbesFailed and the node is not Up, while all runs at the primary.
	// Nil is silent.
	Logger *slog.Logger
}

// TokenOptions say how tokens are made, and how [Cluster.Middleware] carries them.
type TokenOptions struct {
	// Keys sign tokens: the first makes them, all are accepted, each of 16 bytes at
	// least. All processes that one client may reach need the same. Nil means a random
	// one: tokens of other processes, and of this one before it was started anew, are
	// then refused, and their clients begin anew.
	Keys [][]byte

	// Cookie is the name of the cookie. Zero means "uprung_" and the name of the cluster,
	// "-" none.
	Cookie string

	// Header is the name of the header field, of requests and responses, for clients that
	// keep no cookies. It wins over the cookie. Zero means "Uprung-Bookmark", "-" none.
	Header string

	// MaxAge is for how long a client keeps the cookie. Zero means an hour. By then every
	// replica should have what was written.
	MaxAge time.Duration

	// Insecure lets browsers send the cookie without TLS.
	Insecure bool

	// Skip exempts requests. Nil exempts none.
	Skip func(*http.Request) bool
}

// A Cluster is one primary and its replicas. It is safe for concurrent use. Use [New].
type Cluster struct {
	name          string
	dialect       Dialect
	level         Level
	fallback      Fallback
	wait          time.Duration
	failoverWait  time.Duration
	probe         time.Duration
	probeTimeout  time.Duration
	primaryReads  bool
	policy        pick.Policy
	clocked       bool // the policy may look at times
	maxIdle       int
	idleTime      int64
	lifetime      int64
	maxStatements int
	logger        *slog.Logger
	settings      []uprung.Setting
	face          face

	keys  [][]byte
	group uint64

	base    time.Time
	nodes   []*node
	region  uint64 // the nodes that are near
	slots   chan struct{}
	classes *sqlclass.Cache[Class]
	mode    atomic.Int32

	view       atomic.Pointer[view]
	coarse     atomic.Int64 // an instant of late, while Run runs
	running    atomic.Int32
	lastRound  atomic.Int64
	wrote      atomic.Int64 // when the last write was over, whoever's it was
	waiting    atomic.Int64
	connectors atomic.Int64
	kick       chan struct{}
	counts     counts

	mu    sync.Mutex
	state state              // guarded by mu
	ahead map[Position]int64 // positions of tokens beyond what the primary was known to have, and when they came; guarded by mu
	round sync.Mutex         // held by who probes on demand
}

// New returns a cluster of these servers, the first of which is taken for the primary
// until probes say otherwise. Nil options are the defaults. It opens no connection. The
// error names every field that is out of range.
func New(nodes []Node, o *Options) (*Cluster, error) {
	if o == nil {
		o = &Options{}
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("replicate: "+format, args...)) }
	if len(nodes) == 0 || len(nodes) > maxNodes {
		bad("nodes are %d, want 1 to %d", len(nodes), maxNodes)
	}
	c := &Cluster{
		name: orDefault(o.Name, "default"), dialect: o.Dialect, level: o.Level, fallback: o.Fallback,
		wait: orDefault(o.Wait, DefaultWait), failoverWait: orDefault(o.FailoverWait, DefaultFailoverWait),
		probe: orDefault(o.Probe, DefaultProbe), probeTimeout: orDefault(o.ProbeTimeout, DefaultProbeTimeout),
		primaryReads: o.PrimaryReads, policy: o.Policy, clocked: true,
		maxIdle: orDefault(o.MaxIdle, DefaultMaxIdle), idleTime: int64(orDefault(o.MaxIdleTime, DefaultMaxIdleTime)),
		lifetime: int64(o.MaxLifetime), maxStatements: orDefault(o.MaxStatements, DefaultMaxStatements),
		logger: o.Logger, base: time.Now(), kick: make(chan struct{}, 1),
	}
	if c.dialect == nil {
		c.dialect = PostgreSQL()
	}
	if len(o.ReadFunctions) > 0 {
		if d, ok := c.dialect.(declarer); !ok {
			bad("ReadFunctions are %d, want none: %T classifies by itself", len(o.ReadFunctions), c.dialect)
		} else if dialect, err := d.declare(o.ReadFunctions); err != nil {
			bad("ReadFunctions: %w", err)
		} else {
			c.dialect = dialect
		}
	}
	if c.policy == nil {
		c.policy, c.clocked = pick.PowerOfTwo{}, false
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if err := option.CheckName("Name", c.name); err != nil {
		bad("%w", err)
	}
	if err := o.Level.Validate(); err != nil {
		bad("Level is %w", err)
	}
	if o.Fallback > ToError {
		bad("Fallback is %v, want ToPrimary, ToStale or ToError", o.Fallback)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Probe", o.Probe}, {"ProbeTimeout", o.ProbeTimeout}, {"MaxLifetime", o.MaxLifetime}, {"Token.MaxAge", o.Token.MaxAge}} {
		if d.value < 0 {
			bad("%s is %v, want >= 0", d.field, d.value)
		}
	}
	if o.MaxStatements < 0 {
		bad("MaxStatements is %d, want >= 0", o.MaxStatements)
	}
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	c.mode.Store(int32(o.Mode))
	if limit := orDefault(o.MaxPrimaryFallback, DefaultMaxPrimaryFallback); limit > 0 {
		c.slots = make(chan struct{}, limit)
	}
	for i, n := range nodes {
		where := fmt.Sprintf("nodes[%d].", i)
		if err := option.CheckName(where+"Name", n.Name); err != nil {
			bad("%w", err)
		}
		for j := range i {
			if nodes[j].Name == n.Name {
				bad("%sName is %q, as of nodes[%d], want another", where, n.Name, j)
			} else if tagOf(nodes[j].Name) == tagOf(n.Name) {
				bad("%sName is %q, which tokens cannot tell from that of nodes[%d], want another", where, n.Name, j)
			}
		}
		if n.Connector == nil {
			bad("%sConnector is nil", where)
		}
		if n.Weight < 0 || n.Weight > pick.MaxWeight {
			bad("%sWeight is %d, want 0 to %d", where, n.Weight, pick.MaxWeight)
		}
		c.nodes = append(c.nodes, &node{Node: n, cluster: c, index: i, tag: tagOf(n.Name)})
		if i < maxNodes && n.Region == o.Region {
			c.region |= 1 << i
		}
	}
	errs = append(errs, c.newFace(&o.Token)...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var err error
	if c.classes, err = sqlclass.NewCache[Class](rememberedClasses); err != nil {
		return nil, err
	}
	c.group = hash(c.name)
	c.settings = c.describe(o)
	c.state = newState(len(nodes))
	c.ahead = map[Position]int64{}
	c.publish()
	return c, nil
}

// orDefault returns the default for the zero value, and zero for a negative one.
func orDefault[T ~int | ~int64 | ~string](value, otherwise T) T {
	var zero T
	switch {
	case value == zero:
		return otherwise
	case value < zero:
		return zero
	default:
		return value
	}
}

// now returns the instant, in nanoseconds since New, beginning with 1.
func (c *Cluster) now() int64 { return int64(time.Since(c.base)) + 1 }

// classOf returns the class of a statement, and asks the dialect if it must.
func (c *Cluster) classOf(text string) Class {
	class, ok := c.classes.Get(text)
	if !ok {
		class = c.dialect.Classify(text)
		c.classes.Set(text, class)
	}
	return class
}

// tick returns an instant that may be old by the time between two probes.
func (c *Cluster) tick() int64 {
	if c.running.Load() > 0 {
		return c.coarse.Load()
	}
	return c.now()
}

// randomKey returns a key for tokens that only this process can read.
func randomKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}

// SetMode changes [Options.Mode] for the statements to come. It returns an error, and
// changes nothing, if the mode is not valid.
func (c *Cluster) SetMode(m uprung.Mode) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("replicate: Mode: %w", err)
	}
	c.mode.Store(int32(m))
	return nil
}

// Connector returns what [sql.OpenDB] makes a pool of. Its connections own nothing: each
// statement borrows a connection to the server that it runs on. When the pools of all
// connectors are closed, the connections to the servers are closed too.
func (c *Cluster) Connector() driver.Connector {
	if c.connectors.Add(1) == 1 {
		for _, n := range c.nodes {
			n.setClosed(false)
		}
	}
	return &connector{cluster: c}
}

type connector struct {
	cluster *Cluster
	closed  atomic.Bool
}

// Connect returns a connection that has not borrowed anything yet.
func (c *connector) Connect(context.Context) (driver.Conn, error) {
	return &conn{cluster: c.cluster}, nil
}

// Driver returns the driver of the servers.
func (c *connector) Driver() driver.Driver { return c.cluster.nodes[0].Connector.Driver() }

// Close closes the idle connections to the servers if it is the last to be closed.
func (c *connector) Close() error {
	if c.closed.Swap(true) || c.cluster.connectors.Add(-1) > 0 {
		return nil
	}
	var errs []error
	for _, n := range c.cluster.nodes {
		n.setClosed(true)
		errs = append(errs, n.sweep(true))
	}
	return errors.Join(errs...)
}
