package shard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	worldKeys    = 24
	worldClients = 4
	garbage      = 1 << 30 // a version that nobody wrote
)

var (
	errCrashed = errors.New("process has crashed")
	errDisk    = errors.New("disk error")
)

// world is what survives a crash: the stores and the checkpoint; and the model:
// what each key may be read as. A key has one writer, which numbers its versions,
// so that a read is linearizable if and only if it is not older than what was
// acknowledged or read before it began, and was begun before it ended.
type world struct {
	t      *testing.T
	plan   *Plan
	keys   []string
	faults bool

	mu      sync.Mutex
	random  *rand.Rand
	stores  map[string]map[string]int // by node and key: the version
	saved   []byte
	deletes map[string][]bool // by key and version: whether it is a delete
	floor   map[string]int    // what was acknowledged or read
	events  int
	crashAt int // the event, 0 for never

	reads, writes, refused int
	rollbacks              uint64
}

// process is one life of the program.
type process struct {
	w     *world
	mover *Mover
	ctx   context.Context //nolint:containedctx // it is the life of the process, which ends in a crash
	crash context.CancelFunc
}

func newWorld(t *testing.T, seed uint64, crashAt int) *world {
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), crashAt: crashAt, faults: seed%2 == 1,
		stores: make(map[string]map[string]int), deletes: make(map[string][]bool), floor: make(map[string]int),
	}
	var from, to Table
	if seed%3 == 0 {
		slots, err := NewSlots(numbered(3), &SlotsOptions{Slots: 12})
		if err != nil {
			t.Fatal(err)
		}
		from = slots
		if to, _, err = slots.Rebalance(numbered(4)); err != nil {
			t.Fatal(err)
		}
	} else {
		from = mustRing(t, numbered(3), &RingOptions{Points: 2})
		to = mustRing(t, numbered(4)[1:], &RingOptions{Points: 2})
	}
	var err error
	if w.plan, err = NewPlan(from, to); err != nil {
		t.Fatal(err)
	}
	for _, n := range numbered(4) {
		w.stores[n.ID] = make(map[string]int)
	}
	for i := range worldKeys {
		key := fmt.Sprintf("key-%d", i)
		w.keys = append(w.keys, key)
		w.deletes[key] = []bool{true, false}
		w.floor[key] = 1
		w.stores[owner(from, Hash(key))][key] = 1
		if home := owner(to, Hash(key)); home != owner(from, Hash(key)) && i%2 == 0 {
			w.stores[home][key] = garbage // of a time when the key was there before
		}
	}
	return w
}

// intn is a random number that all goroutines of the world share.
func (w *world) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

func (w *world) sleep(most time.Duration) { time.Sleep(time.Duration(w.intn(int(most)))) }

// do does something atomically, unless the process has crashed.
func (p *process) do(f func()) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.ctx.Err() != nil {
		return errCrashed
	}
	f()
	return nil
}

// step is where the process may crash.
func (p *process) step() error {
	return p.do(func() {
		if p.w.events++; p.w.events == p.w.crashAt {
			p.crash()
		}
	})
}

func (p *process) Load(context.Context) ([]byte, error) { return p.w.saved, nil }

// Save fails at times, before or after it has done its work.
func (p *process) Save(ctx context.Context, state []byte) error {
	state = append([]byte(nil), state...)
	fault := 9
	if p.w.faults {
		fault = p.w.intn(6)
	}
	if fault == 0 {
		return errDisk
	}
	if fault == 1 {
		time.Sleep(40 * time.Millisecond) // longer than the pause, and regardless of ctx
	}
	if err := p.step(); err != nil {
		return err
	}
	if err := p.do(func() { p.w.saved = state }); err != nil {
		return err
	}
	if err := p.step(); err != nil {
		return err
	}
	if fault == 2 {
		return errDisk
	}
	return nil
}

// copy compares and copies key by key, while other goroutines write.
func (p *process) copy(ctx context.Context, pass Pass) (changed int, err error) {
	for _, key := range p.w.keys {
		if !pass.Contains(Hash(key)) {
			continue
		}
		if err := ctx.Err(); err != nil && !p.w.faults { // else it overruns the pause
			return changed, err
		}
		var version int
		var found bool
		err := errors.Join(p.step(), p.do(func() { version, found = p.w.stores[pass.From][key] }))
		if err != nil {
			return changed, err
		}
		p.w.sleep(2 * time.Millisecond)
		if p.w.faults && p.w.intn(20) == 0 {
			time.Sleep(30 * time.Millisecond)
		}
		err = errors.Join(p.step(), p.do(func() {
			old, had := p.w.stores[pass.To][key]
			if had != found || old != version {
				changed++
			}
			if found {
				p.w.stores[pass.To][key] = version
			} else {
				delete(p.w.stores[pass.To], key)
			}
		}))
		if err != nil {
			return changed, err
		}
	}
	if p.w.faults && p.w.intn(20) == 0 {
		return changed, errDisk
	}
	return changed, nil
}

func (p *process) cleanup(_ context.Context, s Step) error {
	for _, key := range p.w.keys {
		if !s.Contains(Hash(key)) {
			continue
		}
		if err := errors.Join(p.step(), p.do(func() { delete(p.w.stores[s.From], key) })); err != nil {
			return err
		}
	}
	return p.step()
}

// client reads any keys and writes and deletes its own until stop.
func (p *process) client(number int, stop <-chan struct{}) {
	w := p.w
	for p.ctx.Err() == nil {
		select {
		case <-stop:
			return
		default:
		}
		w.sleep(4 * time.Millisecond)
		if w.intn(2) == 0 {
			p.read(w.keys[w.intn(worldKeys)])
		} else {
			p.write(w.keys[w.intn(worldKeys/worldClients)*worldClients+number])
		}
	}
}

// latency is that of a store, and at times long.
func (p *process) latency() {
	if p.w.intn(40) == 0 {
		time.Sleep(30 * time.Millisecond)
	}
	p.w.sleep(time.Millisecond)
}

func (p *process) read(key string) {
	w := p.w
	floor := 0
	_ = p.do(func() { floor = w.floor[key] })
	home, release := p.mover.Read(Hash(key))
	defer release()
	p.latency()
	version := 0
	if p.do(func() { version = w.stores[home][key] }) != nil {
		return
	}
	p.latency()
	_ = p.do(func() {
		w.reads++
		deletes := w.deletes[key]
		seen := version
		if version == 0 {
			for seen = floor; seen < len(deletes) && !deletes[seen]; seen++ {
			}
		}
		if seen < floor || seen >= len(deletes) || deletes[seen] != (version == 0) {
			w.t.Errorf("read %s at %s: got version %d, want at least %d of %d", key, home, version, floor, len(deletes)-1)
		}
		w.floor[key] = max(w.floor[key], seen)
	})
}

func (p *process) write(key string) {
	w := p.w
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	began := time.Now()
	home, release, err := p.mover.Write(ctx, Hash(key))
	if waited := time.Since(began); waited > 20*time.Millisecond {
		w.t.Errorf("write waited %v, want at most the pause", waited)
	}
	if errors.Is(err, ErrPaused) {
		_ = p.do(func() { w.refused++ })
		return
	}
	if err != nil {
		if p.ctx.Err() == nil {
			w.t.Errorf("write: %v", err)
		}
		return
	}
	defer release()
	version, remove := 0, w.intn(3) == 0
	_ = p.do(func() {
		version = len(w.deletes[key])
		w.deletes[key] = append(w.deletes[key], remove)
	})
	p.latency()
	err = p.do(func() {
		if remove {
			delete(w.stores[home], key)
		} else {
			w.stores[home][key] = version
		}
	})
	if err != nil {
		return
	}
	p.latency()
	_ = p.do(func() {
		w.writes++
		w.floor[key] = max(w.floor[key], version)
	})
}

// live runs one process until its mover has finished, and reports whether it did
// so, or crashed.
func (w *world) live() bool {
	p := &process{w: w}
	p.ctx, p.crash = context.WithCancel(w.t.Context())
	defer p.crash()
	var err error
	p.mover, err = NewMover(p.ctx, w.plan, p.copy, p, &MoverOptions{
		Cleanup: p.cleanup, Delta: 1, Rounds: 10, Pause: 20 * time.Millisecond, Retry: 5 * time.Millisecond, Attempts: 3,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range worldClients {
		clients.Go(func() { p.client(i, stop) })
	}
	finished := false
	for p.ctx.Err() == nil && !finished {
		ctx, cancel := context.WithTimeout(p.ctx, 200*time.Millisecond)
		finished = p.mover.Run(ctx) == nil
		cancel()
		w.sleep(10 * time.Millisecond)
	}
	if finished {
		time.Sleep(50 * time.Millisecond) // clients go on at the new homes
	}
	close(stop)
	clients.Wait()
	w.rollbacks += p.mover.Progress().Rollbacks
	return finished
}

// checkEnd checks that every key is where the new table says, and nowhere else.
func (w *world) checkEnd() {
	for _, key := range w.keys {
		home := owner(w.plan.to, Hash(key))
		for node, store := range w.stores {
			version, found := store[key]
			if node != home {
				if found {
					w.t.Errorf("%s is at %s, want it at %s only", key, node, home)
				}
				continue
			}
			ok := found && version >= w.floor[key] && version < len(w.deletes[key])
			for v := w.floor[key]; !found && v < len(w.deletes[key]); v++ {
				ok = ok || w.deletes[key][v]
			}
			if !ok {
				w.t.Errorf("%s ends as version %d, want at least %d of %d", key, version, w.floor[key], len(w.deletes[key])-1)
			}
		}
	}
}

// simulate moves everything, with up to two crashes, and returns the world.
func simulate(t *testing.T, seed uint64, crashAt int) (w *world) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, seed, crashAt)
		for life := 1; !w.live(); life++ {
			if life == 1 {
				w.crashAt = w.events + 1 + w.random.IntN(40)
			}
			if life > 3 {
				t.Fatalf("crashed %d times, want 2 at most", life)
			}
		}
		w.checkEnd()
	})
	if t.Failed() {
		t.Fatalf("seed %d, crash at step %d", seed, crashAt)
	}
	return w
}

// TestMoverSurvivesACrashAtEveryStep moves keys while clients read, write and
// delete them, and has the process crash at every step of copying, saving and
// cleaning up: the state of the mover is gone, and it goes on from the checkpoint.
func TestMoverSurvivesACrashAtEveryStep(t *testing.T) {
	t.Parallel()
	seeds := uint64(30)
	if fullModels() {
		seeds = 1000
	}
	var reads, writes, refused, crashes int
	var rollbacks uint64
	for seed := range seeds {
		for crashAt := 0; ; crashAt++ {
			w := simulate(t, seed, crashAt)
			reads, writes, refused, rollbacks = reads+w.reads, writes+w.writes, refused+w.refused, rollbacks+w.rollbacks
			if crashAt > 0 && w.events < crashAt {
				break // it had moved everything before
			}
			crashes++
		}
	}
	t.Logf("%d crashes, %d reads, %d writes, %d refused, %d rollbacks", crashes, reads, writes, refused, rollbacks)
	if refused == 0 || rollbacks == 0 {
		t.Error("want the model to see refused writes and rollbacks")
	}
}
