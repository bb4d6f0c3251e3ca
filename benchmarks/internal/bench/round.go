package bench

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Round is one turn of one implementation in a case.
type Round struct {
	*Env
	// Number counts rounds from 0. It is the same for all implementations.
	Number int
	// Procs is the GOMAXPROCS in force and the number of workers of Loop.
	Procs int
	// Duration is how long a loop is to run.
	Duration time.Duration
}

const (
	// chunk is the number of operations between two looks at the clock.
	chunk = 1024
	// roundStride is how far apart in the workload consecutive rounds begin. It is
	// a prime, so that they do not fall on the same part of a ring.
	roundStride = 1_000_003
)

// worker keeps the result of one worker on cache lines of its own.
type worker struct {
	_        [64]byte
	ops, met int
	_        [64]byte
}

// Loop calls do in each worker until the round is over: do performs n operations
// of a worker, beginning with its operation number from, and returns how many of
// them turned out as the case expects. Loop returns cpu_ns, wall_ns, bytes and
// allocs per operation; wall_ns is the elapsed time divided by the operations of
// all workers. Its error says that an operation turned out otherwise: what
// decides wrongly must not be measured as if it were fast.
func (r *Round) Loop(do func(worker, from, n int) (met int)) (Figures, error) {
	workers := make([]worker, r.Procs)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := CPUTime(), time.Now()
	work := func(i int) {
		w, from := &workers[i], r.Number*roundStride
		for {
			w.met += do(i, from+w.ops, chunk)
			w.ops += chunk
			if time.Since(start) >= r.Duration {
				return
			}
		}
	}
	if r.Procs == 1 {
		work(0)
	} else {
		var wg sync.WaitGroup
		for i := range r.Procs {
			wg.Go(func() { work(i) })
		}
		wg.Wait()
	}
	elapsed, cpu := time.Since(start), CPUTime()-cpu
	runtime.ReadMemStats(&after)

	var ops, met int
	for i := range workers {
		ops += workers[i].ops
		met += workers[i].met
	}
	if met != ops {
		return nil, fmt.Errorf("%d of %d operations did not turn out as expected", ops-met, ops)
	}
	per := func(total float64) float64 { return total / float64(ops) }
	return Figures{
		"cpu_ns":  per(float64(cpu)),
		"wall_ns": per(float64(elapsed)),
		"bytes":   per(float64(after.TotalAlloc - before.TotalAlloc)),
		"allocs":  per(float64(after.Mallocs - before.Mallocs)),
	}, nil
}

// CPUTime returns the CPU time that the process has used, in user and kernel
// mode.
func CPUTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // cannot fail with these arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
