package replicate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/memsql"
)

var errBad = driver.ErrBadConn

func TestTrap8And2TokenIsTakenAtTheCommitOnTheSameConnection(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		b := w.cluster.BookmarkOf(ctx)
		for name, write := range map[string]func() error{
			"exec": func() error { _, err := w.db.ExecContext(ctx, updateValue, "a", 1); return err },
			"rows": func() error { return w.db.QueryRowContext(ctx, returnValue, "a", 2).Scan(new(int64)) },
			"tx": func() error {
				tx, err := w.db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, updateValue, "a", 3); err != nil {
					return err
				}
				if need := b.at().need; need.Offset >= w.position() {
					t.Errorf("a token was taken inside of the transaction")
				}
				return tx.Commit()
			},
		} {
			before := b.at().need
			if err := write(); err != nil {
				t.Fatal(err)
			}
			got, now := b.at(), w.position()
			w.write(t.Context(), t, "b", 1) // somebody else's
			if got.need.Offset != now || got.need.Offset <= before.Offset || got.wrote != 0 || got.open != 0 {
				t.Errorf("%s: the bookmark is %+v, want position %X exactly", name, got, now)
			}
			if b.at().need != got.need {
				t.Errorf("%s: what others write has moved the bookmark", name)
			}
		}
	})
}

// position is that of the primary.
func (w *world) position() uint64 { return 0x3000000 + 96*uint64(w.servers.Node(0).Writes()) }

// ORMs write by INSERT .. RETURNING, which reads at the primary.
func TestReadsAfterReturningRowsAreAtReplicas(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		for i := range int64(20) {
			var got int64
			tx, err := w.db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.QueryRowContext(ctx, returnValue, "a", i).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if value, node := w.read(ctx, t, "a"); value != i || node == "p" {
				t.Errorf("value is %d at %s, want %d at a replica that has it already", value, node, i)
			}
			if err := w.db.QueryRowContext(ctx, returnValue, "a", i).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if value, node := w.read(ctx, t, "a"); value != i || node == "p" {
				t.Errorf("outside of a transaction: value is %d at %s, want %d at a replica", value, node, i)
			}
		}
	})
}

func TestTrap10StatementsWithoutBookmarkSeeAllWrites(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.servers.Node(1).SetLag(time.Second)
		w.servers.Node(2).SetLag(time.Second)
		w.write(t.Context(), t, "a", 5)
		for range 20 {
			var value int64
			if err := w.db.QueryRowContext(t.Context(), selectValue, "a").Scan(&value); err != nil || value != 5 {
				t.Fatalf("value is %d, %v; want 5", value, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s := w.cluster.Stats(); s.Reads[ByWrites] == 0 || s.Reads[AtReplica] == 0 {
			t.Errorf("reads are %v, want some at the primary and, a second later, some at replicas", s.Reads)
		}
	})
}

func TestTrap11ColumnsKeepTheirTypes(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.write(t.Context(), t, "a", 5)
		rows, err := w.db.QueryContext(t.Context(), selectValue, "a")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		types, err := rows.ColumnTypes()
		if err != nil || types[0].DatabaseTypeName() != "INT8" {
			t.Errorf("type is %q, %v; want INT8", types[0].DatabaseTypeName(), err)
		}
	})
}

func TestTrap13LostReadsAreRepeatedElsewhere(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.write(t.Context(), t, "a", 5)
		w.settle()
		for round := range 3 {
			w.servers.Node(1).KillConnections()
			w.servers.Node(2).Crash()
			for range 50 {
				if value, node := w.read(t.Context(), t, "a"); value != 5 || node != "r1" {
					t.Fatalf("round %d: value is %d at %s, want 5 at r1", round, value, node)
				}
			}
			w.servers.Node(2).Start()
			w.settle()
		}
		if s := w.cluster.Stats(); s.Retried == 0 || s.Nodes[2].Reads != 0 {
			t.Errorf("stats are %+v", s)
		}
	})
}

// breaking is a server whose connections are lost after a row of a read.
type breaking struct {
	driver.Connector
	queries *atomic.Int32
}

func (b breaking) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := b.Connector.Connect(ctx)
	return &breakingConn{Conn: inner, queries: b.queries}, err
}

type breakingConn struct {
	driver.Conn
	queries *atomic.Int32
	lost    bool
}

func (c *breakingConn) IsValid() bool { return !c.lost }

func (c *breakingConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if c.lost {
		return nil, io.ErrUnexpectedEOF
	}
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, text, args)
	if text == selectValue && err == nil {
		c.queries.Add(1)
		rows = &breakingRows{Rows: rows, conn: c}
	}
	return rows, err
}

type breakingRows struct {
	driver.Rows
	conn *breakingConn
	read bool
}

func (r *breakingRows) Next(to []driver.Value) error {
	if r.read {
		r.conn.lost = true
		return io.ErrUnexpectedEOF
	}
	r.read = true
	return r.Rows.Next(to)
}

func TestTrap13FailureInTheMiddleOfRowsSurfaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		servers, queries := memsql.New(1), new(atomic.Int32)
		nodes := nodesOf(servers, 2)
		nodes[1].Connector = breaking{nodes[1].Connector, queries}
		c, err := New(nodes, &Options{Level: Eventual})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{servers, c, sql.OpenDB(c.Connector())}
		defer w.db.Close()
		w.write(t.Context(), t, "a", 5)
		for round := int32(1); round <= 3; round++ {
			rows, err := w.db.QueryContext(t.Context(), selectValue, "a")
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for rows.Next() {
				var v int64
				if err := rows.Scan(&v); err != nil {
					t.Fatal(err)
				}
				got = append(got, v)
			}
			if err := rows.Err(); len(got) != 1 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("rows are %v, error %v; want the one that came, and that the rest did not", got, err)
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
			if n := queries.Load(); n != round {
				t.Errorf("after round %d the read was sent %d times: none may be repeated after its first row", round, n)
			}
			if n := c.Stats().Nodes[1]; n.Idle != n.Open {
				t.Errorf("%d connections, %d of them idle: one is leaked", n.Open, n.Idle)
			}
		}
	})
}

func TestTrap14LagDoesNotStampedeThePrimary(t *testing.T) {
	t.Parallel()
	in(t, Options{MaxPrimaryFallback: 4, Wait: 20 * time.Millisecond}, func(t *testing.T, w *world) {
		w.servers.SetCapacity(4, 10*time.Millisecond)
		w.servers.Node(1).Pause(true)
		w.servers.Node(2).Pause(true)
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		w.write(ctx, t, "a", 5)
		time.Sleep(time.Second)
		var served, refused int
		var mu sync.Mutex
		var readers sync.WaitGroup
		for range 100 {
			readers.Go(func() {
				err := w.db.QueryRowContext(ctx, selectValue, "a").Scan(new(int64))
				mu.Lock()
				defer mu.Unlock()
				rejection, rejected := errors.AsType[*uprung.Rejection](err)
				switch {
				case err == nil:
					served++
				case errors.Is(err, ErrPrimaryBusy) && rejected && rejection.RetryAfter > 0:
					refused++
				default:
					t.Errorf("read: %v", err)
				}
			})
		}
		readers.Wait()
		if served == 0 || served > 16 || served+refused != 100 {
			t.Errorf("%d served and %d refused, want what four places serve in 30ms", served, refused)
		}
		if s := w.cluster.Stats(); s.Refused != uint64(refused) {
			t.Errorf("stats count %d refusals, want %d", s.Refused, refused)
		}
	})
}

func TestTrap14Fallbacks(t *testing.T) {
	t.Parallel()
	for fallback, want := range map[Fallback]string{ToPrimary: "p 5", ToStale: "replica 0", ToError: "error"} {
		in(t, Options{Fallback: fallback}, func(t *testing.T, w *world) {
			w.servers.Node(1).Pause(true)
			w.servers.Node(2).Pause(true)
			ctx := w.cluster.WithBookmark(t.Context(), nil)
			w.write(ctx, t, "a", 5)
			time.Sleep(time.Second)
			var value int64
			err := w.db.QueryRowContext(ctx, selectValue, "a").Scan(&value)
			node, _ := w.cluster.NodeOf(ctx)
			got := "error"
			switch {
			case errors.Is(err, ErrNoReplica):
			case node == "p" && value == 5:
				got = "p 5"
			case node != "p" && errors.Is(err, sql.ErrNoRows):
				got = "replica 0"
			default:
				t.Errorf("%v: %d at %s, %v", fallback, value, node, err)
			}
			if got != want {
				t.Errorf("%v: %s, want %s", fallback, got, want)
			}
		})
	}
}

func TestTrap15OneReplicaThatHasCaughtUpIsNotAll(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.servers.Node(2).Pause(true)
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		w.write(ctx, t, "a", 5)
		w.settle()
		for range 50 {
			b, err := w.cluster.Open(w.cluster.Token(ctx, w.cluster.BookmarkOf(ctx)))
			if err != nil {
				t.Fatal(err)
			}
			if value, node := w.read(w.cluster.WithBookmark(ctx, b), t, "a"); value != 5 || node != "r1" {
				t.Fatalf("value is %d at %s, want 5 at r1", value, node)
			}
		}
	})
}

func TestTrap15NoReplicaIsNotCaughtUp(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.servers.Node(1).Crash()
		w.servers.Node(2).Crash()
		w.settle()
		if _, node := w.read(t.Context(), t, "a"); node != "p" {
			t.Errorf("read at %s, want p", node)
		}
		if s := w.cluster.Stats(); s.Reads[ByAbsence] != 1 {
			t.Errorf("reads are %v", s.Reads)
		}
	})
}

func TestTrap16ConflictsAndBusyServers(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.write(t.Context(), t, "a", 5)
		w.settle()
		for _, code := range []string{"40001", "53300", "57P01"} {
			w.servers.Node(1).Fail(&memsql.Error{Code: code})
			for range 20 {
				if value, node := w.read(t.Context(), t, "a"); value != 5 || node == "r1" {
					t.Fatalf("%s: value is %d at %s, want 5 at another", code, value, node)
				}
			}
			w.servers.Node(1).Fail(nil)
			time.Sleep(2 * busyBan)
			w.settle()
		}
		// Both have a conflict: the primary has none.
		w.servers.Node(1).Fail(&memsql.Error{Code: "40001"})
		w.servers.Node(2).Fail(&memsql.Error{Code: "40001"})
		if value, node := w.read(t.Context(), t, "a"); value != 5 || node != "p" {
			t.Errorf("value is %d at %s, want 5 at p", value, node)
		}
	})
}

func TestTrap17ForgedAndFutureTokens(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef")
	in(t, Options{Token: TokenOptions{Keys: [][]byte{key}}}, func(t *testing.T, w *world) {
		c := w.cluster
		far := Position{1, 1<<64 - 1}
		if b, err := c.Open(seal([]byte("another key that is long"), c.group, claim{need: far})); !errors.Is(err, ErrToken) || b.at() != (progress{}) {
			t.Errorf("a forged token gives %+v, %v", b.at(), err)
		}
		if _, err := c.Open(seal(key, c.group+1, claim{need: far})); !errors.Is(err, ErrToken) {
			t.Errorf("a token of another cluster gives %v", err)
		}
		// One that the primary does not reach, though it was asked after the token came:
		// what it stands for is lost.
		token := seal(key, c.group, claim{need: far})
		b, err := c.Open(token)
		if err != nil || b.at().need != far {
			t.Errorf("a token from the future gives %+v, %v", b.at(), err)
		}
		w.settle()
		if b, err = c.Open(token); err != nil || b.at().need.Offset != w.position() {
			t.Errorf("a token from a future that never came gives %+v, %v", b.at(), err)
		}
		if s := c.Stats(); s.WritesLost != 1 || s.TokensRefused != 2 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestRefusedWriteRunsAtThePrimary(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := OnReplica(w.cluster.WithBookmark(t.Context(), nil))
		for i := range int64(100) {
			var value int64
			if err := w.db.QueryRowContext(ctx, sneakyWrite, "a", i).Scan(&value); err != nil || value != i {
				t.Fatalf("write %d: %d, %v", i, value, err)
			}
		}
		if got := w.servers.Node(0).Writes(); got != 100 {
			t.Errorf("%d writes were executed, want 100", got)
		}
		if s := w.cluster.Stats(); s.Rerouted != 1 {
			t.Errorf("%d statements were refused, want one: then it is known", s.Rerouted)
		}
		if value, _ := w.read(ctx, t, "a"); value != 99 {
			t.Errorf("value is %d, want 99", value)
		}
	})
}

func TestFailover(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		w.write(ctx, t, "a", 1)
		w.servers.Node(0).Crash()
		time.Sleep(300 * time.Millisecond)
		go func() {
			time.Sleep(100 * time.Millisecond)
			w.servers.Node(1).Promote()
		}()
		began := time.Now()
		w.write(ctx, t, "a", 2) // waits
		if took := time.Since(began); took > 150*time.Millisecond {
			t.Errorf("the write took %v, want at most 50ms after the promotion", took)
		}
		if value, node := w.read(ctx, t, "a"); value != 2 || node == "p" {
			t.Errorf("value is %d at %s, want 2 at a server of the new timeline", value, node)
		}
		w.servers.Node(0).Start() // as the primary that it was
		w.settle()
		for i := range int64(20) {
			w.write(ctx, t, "a", 3+i)
			if value, node := w.read(ctx, t, "a"); value != 3+i || node == "p" {
				t.Errorf("value is %d at %s, want %d at a server of the new timeline", value, node, 3+i)
			}
		}
		if s := w.cluster.Stats(); s.Failovers == 0 || s.Nodes[0].Up || s.Nodes[1].Role != Primary {
			t.Errorf("stats are %+v", s)
		}
		if got := w.servers.Node(0).Writes(); got != 1 {
			t.Errorf("the old primary has %d writes, want 1", got)
		}
	})
}

func TestWithoutPrimary(t *testing.T) {
	t.Parallel()
	in(t, Options{FailoverWait: 500 * time.Millisecond}, func(t *testing.T, w *world) {
		w.servers.Node(0).Crash()
		w.settle()
		began := time.Now()
		if _, err := w.db.ExecContext(t.Context(), updateValue, "a", 1); err == nil || errors.Is(err, ErrUncertain) {
			t.Errorf("a write returned %v, want the refusal of the connection", err)
		}
		if took := time.Since(began); took < 500*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("it took %v, want the wait", took)
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := w.db.ExecContext(short, updateValue, "a", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write in haste returned %v", err)
		}
		if _, node := w.read(WithLevel(t.Context(), Eventual), t, "a"); node == "p" {
			t.Error("a read is at a primary that is gone")
		}
	})
}

func TestBoundedStaleness(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.servers.Node(1).SetLag(2 * time.Second)
		w.servers.Node(2).SetLag(10 * time.Second)
		for i := range int64(200) { // something is always written
			w.write(t.Context(), t, "x", i)
			time.Sleep(100 * time.Millisecond)
		}
		for bound, allowed := range map[time.Duration]string{time.Second: "p", 3 * time.Second: "r1", 30 * time.Second: "r1 r2"} {
			for range 30 {
				ctx := WithLevel(w.cluster.WithBookmark(t.Context(), nil), BoundedStaleness(bound))
				_, node := w.read(ctx, t, "x")
				if allowed == "r1 r2" && node == "p" || allowed != "r1 r2" && node != allowed {
					t.Fatalf("bound %v: read at %s, want %s", bound, node, allowed)
				}
			}
		}
		s := w.cluster.Stats()
		if got := s.Nodes[1].Staleness; got < 2*time.Second || got > 2300*time.Millisecond {
			t.Errorf("r1 is %v stale, want what it lags and two probes at most", got)
		}
		if s.Reads[ByBound] != 30 {
			t.Errorf("reads are %v", s.Reads)
		}
	})
}

func TestReadsWaitForAReplicaThatIsAboutToHaveIt(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.servers.Node(1).SetLag(10 * time.Millisecond)
		w.servers.Node(2).SetLag(10 * time.Millisecond)
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		w.write(ctx, t, "a", 1)
		began := time.Now()
		if value, node := w.read(ctx, t, "a"); value != 1 || node == "p" || time.Since(began) > 20*time.Millisecond {
			t.Errorf("value is %d at %s after %v", value, node, time.Since(began))
		}
		if s := w.cluster.Stats(); s.Reads[AfterWait] != 1 {
			t.Errorf("reads are %v", s.Reads)
		}
	})
}

func TestRegionsAndPrimaryReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		servers := memsql.New(2)
		nodes := nodesOf(servers, 3)
		nodes[1].Region, nodes[2].Region = "near", "far"
		c, err := New(nodes, &Options{Region: "near", PrimaryReads: true, Level: Eventual})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{servers, c, sql.OpenDB(c.Connector())}
		defer w.db.Close()
		for range 20 {
			if _, node := w.read(t.Context(), t, "a"); node != "r1" {
				t.Fatalf("read at %s, want r1", node)
			}
		}
		servers.Node(1).Crash()
		seen := map[string]bool{}
		for range 50 {
			_, node := w.read(t.Context(), t, "a")
			seen[node] = true
		}
		if !seen["p"] || !seen["r2"] || len(seen) != 2 {
			t.Errorf("reads are at %v, want p and r2", seen)
		}
	})
}

func TestModeShadowsDecisions(t *testing.T) {
	t.Parallel()
	in(t, Options{Mode: uprung.Shadow}, func(t *testing.T, w *world) {
		if _, node := w.read(t.Context(), t, "a"); node != "p" {
			t.Errorf("read at %s, want p", node)
		}
		if err := w.cluster.SetMode(uprung.Enforce); err != nil {
			t.Fatal(err)
		}
		if _, node := w.read(t.Context(), t, "a"); node == "p" {
			t.Error("read at the primary")
		}
		if w.cluster.SetMode(uprung.Mode(-9)) == nil {
			t.Error("a mode that is none was taken")
		}
		if s := w.cluster.Stats(); s.Reads[ByMode] != 1 {
			t.Errorf("reads are %v", s.Reads)
		}
	})
}

func TestWithoutRunServersAreProbedOnDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, Options{})
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		w.write(ctx, t, "a", 1)
		time.Sleep(200 * time.Millisecond)
		if value, node := w.read(ctx, t, "a"); value != 1 || node == "p" {
			t.Errorf("value is %d at %s, want 1 at a replica", value, node)
		}
		w.servers.Node(0).Crash()
		w.servers.Node(1).Promote()
		time.Sleep(2 * idleCheck) // a write tries a connection that has been idle for so long
		w.write(ctx, t, "a", 2)
		if value, _ := w.read(ctx, t, "a"); value != 2 {
			t.Errorf("value is %d, want 2", value)
		}
	})
}

func TestNewNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, err := New([]Node{{Name: "a"}, {Name: "a", Connector: memsql.New(0).Node(0), Weight: -1}}, &Options{
		Name: "\n", Level: -9, Fallback: 9, Probe: -1, ProbeTimeout: -1, MaxLifetime: -1, MaxStatements: -1, Mode: -9,
		ReadFunctions: []string{"not a name"},
		Token:         TokenOptions{Keys: [][]byte{{1}}, Cookie: " ", Header: " ", MaxAge: -1},
	})
	if err == nil {
		t.Fatal("everything was accepted")
	}
	for _, want := range []string{
		"nodes[0].Connector is nil", `nodes[1].Name is "a", as of nodes[0]`, "nodes[1].Weight is -1", "Name is", "Level is",
		"Fallback is", "Probe is", "ProbeTimeout is", "MaxLifetime is", "MaxStatements is", "Mode:", "ReadFunctions", "Token.Keys[0]",
		"Token.Cookie", "Token.Header", "Token.MaxAge",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if _, err := New(nil, nil); err == nil {
		t.Error("no nodes were accepted")
	}
}
