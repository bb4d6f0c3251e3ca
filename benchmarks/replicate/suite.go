package replicate

import (
	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// The statements of the suite.
const (
	query  = `SELECT value FROM kv WHERE key = $1`
	update = `UPDATE kv SET value = $2 WHERE key = $1`
)

// value is what every read must find.
const value = 42

// raw is the driver alone, below a pool of database/sql.
const raw = "raw-sql"

// subject is one implementation, each method a loop that returns how many operations
// turned out well.
type subject interface {
	read(n int) int
	exec(n int) int
	tx(n int) int
	Close()
}

// Suite returns the suite.
func Suite() *bench.Suite {
	contest := &bench.Contest[subject]{Impls: []bench.Impl[subject]{
		{Name: bench.Ours, Open: openOurs(false)},
		{Name: bench.Ours + "-bookmark", Open: openOurs(true)},
		{Name: raw, Open: openRaw},
		{Name: "dbresolver", Open: openDBResolver},
		{Name: "gorm-dbresolver", Open: openGorm},
	}}
	for _, one := range []struct {
		name  string
		procs int
		do    func(subject, int) int
	}{
		{"read/cpus=1", 1, subject.read},
		{"read/cpus=2", 2, subject.read},
		{"exec/cpus=1", 1, subject.exec},
		{"tx/cpus=1", 1, subject.tx},
	} {
		contest.Cases = append(contest.Cases, bench.Case[subject]{
			Name: one.name, Procs: one.procs, Ratio: "cpu_ns", Reference: raw,
			Begin: func(*bench.Env) func(subject, *bench.Round) (bench.Figures, error) {
				return func(s subject, r *bench.Round) (bench.Figures, error) {
					return r.Loop(func(_, _, n int) int { return one.do(s, n) })
				}
			},
		})
	}
	return &bench.Suite{
		Name: "replicate",
		Workload: `statements to a model of a primary and two replicas in memory, which answer at once; raw-sql is a *sql.DB at the right one of them, and the figures of the others are what they add to it
read: QueryRow and Scan of one number by its key; exec: an UPDATE; tx: BeginTx, an UPDATE, Commit
uprung has default settings, probes every 100 ms, and has no bookmark, -bookmark one: it keeps where it read, and asks for the position of every write, a statement more
dbresolver is github.com/bxcodec/dbresolver/v2 with its round robin; gorm-dbresolver is the plugin of gorm with its random policy, by Raw(..).Row(), Exec and Transaction`,
		Contests: []bench.Runnable{contest},
		Targets: []bench.Target{
			{Case: "read/cpus=1", Metric: "cpu_ns", Bound: bench.AtMost(100)},
			{Case: "read/.*", Metric: "allocs", Bound: bench.AtMost(0.01)},
			{Case: "read/.*", Metric: "cpu_ns", Peer: bench.Best, Bound: bench.AtMost(1)},
		},
	}
}
