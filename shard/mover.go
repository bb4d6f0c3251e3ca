package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrPaused is the error of [Mover.Write] for a range that is at neither home:
// its checkpoint was being saved when the pause had to end, and whether it was is
// not known. The write was not made, and works again once a Save has succeeded.
var ErrPaused = errors.New("shard: range is paused until its checkpoint is saved")

var errRunning = errors.New("shard: Run is running already")

// Checkpoint keeps the progress of a [Mover] across a crash: in a file, or a row of
// a database. Its methods are not called concurrently.
type Checkpoint interface {
	// Load returns what the last successful Save was given, or nothing if there
	// was none.
	Load(ctx context.Context) ([]byte, error)
	// Save replaces the state as a whole and durably before it returns nil. When it
	// returns an error, the state is either the old or the new one, and what that
	// call wanted to store does not appear after a later Save has succeeded. It does
	// not keep the slice.
	Save(ctx context.Context, state []byte) error
}

// Pass is what one call of a [CopyFunc] is to copy.
type Pass struct {
	Step
	// Round counts the calls for this attempt to move the range, from 0. Round 0
	// knows nothing about what is at To: there may be remains of an earlier attempt,
	// made before a crash perhaps, and of a time when the range was there before.
	Round int
	// Final says that no write to the range is in flight and that none begins. The
	// context ends at half of MoverOptions.Pause: what is not copied by then is not.
	Final bool
}

// CopyFunc makes the range of a pass at To equal to that at From. When it returns
// without an error:
//
//   - Every write and every delete in the range that was finished at From before the
//     call began is also in effect at To. Deletes count like writes: a key that From
//     does not have, To does not have either.
//   - It has returned for good: nothing that it began changes To later.
//
// Changes that are made at From during the call may be in effect at To, or not, or
// partly; the next round makes up for it. In a final pass there are none, so that the
// range is equal at both. Nothing outside of the range is changed at To, and nothing
// at all at From.
//
// The count is how many keys had to be changed at To. When it is small, the final
// pass follows. How later rounds find what has changed is up to the function: by
// comparing everything, by a log of changes, or by version columns together with
// tombstones that are kept at least until the range has moved.
//
// A store finds the keys of a range by their hashes, in an indexed column that each
// write sets. In SQL, whose integers are signed, int64(Hash(key)^1<<63) keeps the order
// of the hashes:
//
//	WHERE hash BETWEEN $1 AND $2 -- int64(p.First^1<<63), int64(p.Last^1<<63)
type CopyFunc func(ctx context.Context, p Pass) (changed int, err error)

// MoverOptions are the settings of a [Mover]. The zero value of each field is its
// default.
type MoverOptions struct {
	// Name is the name in metrics: 1 to 64 printable ASCII characters. Zero means
	// "default".
	Name string
	// Cleanup deletes the keys of a range at From, when it has moved and all reads
	// there are released. It is called again if it returns an error, or if the
	// process crashes before that it was done is saved. Nil means that nothing is
	// deleted; whoever deletes it later waits for the reads himself.
	Cleanup func(ctx context.Context, s Step) error
	// Delta is the number of changed keys in a round of copying from which on it
	// counts as small. Zero means 100; a negative number means none at all.
	Delta int
	// Rounds is the number of rounds within which the delta must become small, or
	// else the range is put off. Zero means 100.
	Rounds int
	// Pause is the longest time that a write to the moving range waits. The first half of
	// it is for the writes in flight to be released and for the final pass; if these take
	// longer, the range stays at its old home. The rest is for Save, and writes get
	// [ErrPaused] only if that takes longer. Pause is also the time for each Save, and for
	// reads to be released before Cleanup. Zero means 1s.
	Pause time.Duration
	// Retry is the time before ranges that could not be moved are tried again, after
	// all others were. Zero means 1s.
	Retry time.Duration
	// Attempts is how many times in all, the first included, a call of Run goes through
	// the ranges that are left before it gives up. Zero means 10.
	Attempts int
}

// Mover carries out a [Plan] while the program reads and writes: range by range,
// it copies the keys until few change between two rounds, pauses the writes to that
// range for a short time, copies the rest, saves that the range has moved, and sends
// reads and writes to the new home. If this does not succeed within the pause, the
// writes go on at the old home, and the range is tried again later. In all other
// ranges nothing ever waits.
//
// No acknowledged write is lost and no deleted key comes back, and each read sees the
// last write, also over a crash at any moment, under three conditions:
//
//   - Every read and write of keys in these nodes goes to the home that this Mover
//     names, and is released when it has ended: a write when it can no longer take
//     effect. This begins before Run is called, by when every write that began in
//     another way has ended, be it under an earlier Mover, and ends after Run has
//     returned nil. There is one Mover, in one process: with several processes that
//     write, they send their writes through one of them, or stop.
//   - The [CopyFunc] and the [Checkpoint] keep their contracts.
//   - After a crash, the Mover is made anew from the same plan and the same
//     checkpoint, when no write of the process that crashed is still on its way.
//
// A Mover is safe for concurrent use, apart from Run. It starts no goroutine. Use
// [NewMover].
type Mover struct {
	name       string
	plan       *Plan
	copy       CopyFunc
	checkpoint Checkpoint
	o          MoverOptions
	gates      []gate // of the steps

	running   atomic.Bool
	rollbacks atomic.Uint64
	longest   atomic.Int64 // pause, nanoseconds
}

// NewMover returns a mover that goes on where the checkpoint says. Nil options are
// the defaults. Unlike other constructors it does I/O, one Load: before it, where
// keys are is not known, and a Mover that could be asked then would be wrong. It is
// an error if the checkpoint belongs to another plan, or is damaged. An empty one is
// the beginning of any: each plan has a checkpoint of its own.
func NewMover(ctx context.Context, plan *Plan, copier CopyFunc, checkpoint Checkpoint, o *MoverOptions) (*Mover, error) {
	m := &Mover{plan: plan, copy: copier, checkpoint: checkpoint}
	if o != nil {
		m.o = *o
	}
	name, nameErr := checkName("MoverOptions.Name", m.o.Name)
	m.name = name
	errs := []error{nameErr}
	if plan == nil {
		errs = append(errs, errors.New("shard: plan is nil, want a plan"))
	}
	if copier == nil {
		errs = append(errs, errors.New("shard: copier is nil, want a function"))
	}
	if checkpoint == nil {
		errs = append(errs, errors.New("shard: checkpoint is nil, want a Checkpoint"))
	}
	for _, field := range []struct {
		name  string
		value *int
		zero  int
	}{{"Rounds", &m.o.Rounds, 100}, {"Attempts", &m.o.Attempts, 10}} {
		if *field.value < 0 {
			errs = append(errs, fmt.Errorf("shard: MoverOptions.%s is %d, want >= 0", field.name, *field.value))
		}
		*field.value = cmp.Or(*field.value, field.zero)
	}
	for _, field := range []struct {
		name  string
		value *time.Duration
	}{{"Pause", &m.o.Pause}, {"Retry", &m.o.Retry}} {
		if *field.value < 0 {
			errs = append(errs, fmt.Errorf("shard: MoverOptions.%s is %v, want >= 0", field.name, *field.value))
		}
		*field.value = cmp.Or(*field.value, time.Second)
	}
	m.o.Delta = max(cmp.Or(m.o.Delta, 100), 0)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m.gates = make([]gate, len(plan.steps))
	for i := range m.gates {
		g := &m.gates[i]
		g.readDone, g.writeDone = g.releaseRead, g.releaseWrite
	}
	state, err := checkpoint.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("shard: load the checkpoint: %w", err)
	}
	if err := m.decode(state); err != nil {
		return nil, err
	}
	return m, nil
}

// Read returns the ID of the node where keys of this hash are read. The caller calls
// release once, when the read has ended: until then its keys are not deleted there.
// A second call counts for another read, under which they are then deleted, and
// panics if there is none. Read does not wait and does not allocate.
func (m *Mover) Read(hash uint64) (home string, release func()) {
	i := m.plan.step(hash)
	if i < 0 {
		return m.unmoved(hash), noRelease
	}
	if m.gates[i].read() {
		return m.plan.steps[i].From, m.gates[i].readDone
	}
	return m.plan.steps[i].To, noRelease
}

// Write returns the ID of the node where keys of this hash are written and deleted,
// and where they are read if a write depends on it. The caller calls release once,
// when the write can no longer take effect: not when the caller has lost patience,
// but when the store has answered or the connection is known to be dead. A second call
// of release counts for another write, for which the final pass then does not wait, so
// that it is lost though it was acknowledged; it panics only if there is none.
//
// While writes to the range are paused it waits, until ctx ends or for
// MoverOptions.Pause, and in one case the answer is then [ErrPaused]. On an error
// there is nothing to release. It does not allocate unless it fails.
func (m *Mover) Write(ctx context.Context, hash uint64) (home string, release func(), err error) {
	i := m.plan.step(hash)
	if i < 0 {
		return m.unmoved(hash), noRelease, nil
	}
	old, err := m.gates[i].write(ctx)
	if err != nil {
		return "", nil, err
	}
	if old {
		return m.plan.steps[i].From, m.gates[i].writeDone, nil
	}
	return m.plan.steps[i].To, noRelease, nil
}

func noRelease() {}

// unmoved returns the node of a hash that no step moves.
func (m *Mover) unmoved(hash uint64) string {
	return m.plan.from.Nodes()[m.plan.from.Lookup(hash)].ID
}

// Run moves all ranges, in the order of the plan, and returns nil when they have
// moved and are cleaned up. It returns an error when ctx ends, when a range could not
// be moved in MoverOptions.Attempts attempts, and when it is running already. Routing
// stays right after any error, and Run may be called again; only a range that is
// paused (see [ErrPaused]) has to wait for that.
//
// A Save that fails while a range switches is repeated until it succeeds or ctx ends.
// When ctx ends while the switch of a range is being saved, Run finishes this
// first, which takes MoverOptions.Pause at most.
func (m *Mover) Run(ctx context.Context) error {
	if !m.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer m.running.Store(false)

	// A checkpoint that cannot be saved is noticed before any write is paused.
	// And a range whose switch was not known to be saved is now known to be.
	if err := m.save(ctx); err != nil {
		return fmt.Errorf("shard: %w", err)
	}
	for i := range m.gates {
		m.gates[i].unstick()
	}
	for attempt := 1; ; attempt++ {
		failed, last := 0, error(nil)
		for i := range m.gates {
			err := m.advance(ctx, i)
			if ctx.Err() != nil && !m.done(i) {
				return stopped(ctx, err)
			}
			if err != nil {
				failed, last = failed+1, err
			}
		}
		if failed == 0 {
			return nil
		}
		if attempt == m.o.Attempts {
			return fmt.Errorf("shard: %d of %s not done in %s, lastly: %w",
				failed, counted(len(m.gates), "range"), counted(attempt, "attempt"), last)
		}
		if sleep(ctx, m.o.Retry) != nil {
			return stopped(ctx, last)
		}
	}
}

// stopped is the error of Run when ctx has ended. What failed lastly may have done so
// for that reason.
func stopped(ctx context.Context, last error) error {
	if errors.Is(last, ctx.Err()) {
		return fmt.Errorf("shard: stopped: %w", last)
	}
	return fmt.Errorf("shard: stopped: %w, lastly: %w", ctx.Err(), last)
}

// limit returns ctx with a limit of the Mover's own.
func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("took more than %v", d))
}

// blame returns the error of a call that failed under a limited ctx. When its limit has
// passed, and ctx itself lives, it says so, and does not match what would mean to the
// caller that ctx had ended.
func blame(ctx, limited context.Context, err error) error {
	if limited.Err() == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %v", context.Cause(limited), err) //nolint:errorlint // it is not to match
	}
	return fmt.Errorf("%w: %w", context.Cause(limited), err)
}

// notReleased is the error for reads or writes that have not ended within d.
func notReleased(ctx context.Context, n int, thing string, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%s not released after %v", counted(n, thing), d)
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// done reports whether there is nothing left to do for a range.
func (m *Mover) done(i int) bool {
	at := m.gates[i].phaseNow()
	return at == cleaned || at == switched && m.o.Cleanup == nil
}

// advance does what is left to do for a range.
func (m *Mover) advance(ctx context.Context, i int) error {
	g := &m.gates[i]
	if g.phaseNow() < switched {
		if err := m.move(ctx, i); err != nil {
			return fmt.Errorf("move %v: %w", m.plan.steps[i], err)
		}
	}
	if m.done(i) {
		return nil
	}
	if err := m.clean(ctx, i); err != nil {
		return fmt.Errorf("clean up after %v: %w", m.plan.steps[i], err)
	}
	return nil
}

// move copies a range until its delta is small, and then switches it.
func (m *Mover) move(ctx context.Context, i int) error {
	for round := range m.o.Rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		changed, err := m.copy(ctx, Pass{Step: m.plan.steps[i], Round: round})
		if err != nil {
			return err
		}
		if changed <= m.o.Delta {
			return m.switchOver(ctx, i, round+1)
		}
	}
	return fmt.Errorf("more than %d keys changed in each of %s", m.o.Delta, counted(m.o.Rounds, "round"))
}

// switchOver pauses the writes to a range, copies the rest and switches. Whatever
// happens, and be it a panic, no write waits for longer than the pause.
func (m *Mover) switchOver(ctx context.Context, i, round int) (err error) {
	g := &m.gates[i]
	began := time.Now()
	paused := g.pause()
	timer := time.AfterFunc(m.o.Pause, func() { g.expire(paused) })
	defer func() {
		timer.Stop()
		g.expire(paused)
		if g.phaseNow() == stay {
			m.rollbacks.Add(1)
		}
		m.longest.Store(max(m.longest.Load(), int64(min(time.Since(began), m.o.Pause))))
	}()
	// What is left of the pause then is for Save.
	half := m.o.Pause / 2
	ending, cancel := limit(ctx, half)
	defer cancel()
	if n := g.drained(ending); n > 0 {
		return notReleased(ctx, n, "write", half)
	}
	_, err = m.copy(ending, Pass{Step: m.plan.steps[i], Round: round, Final: true})
	switch {
	case err != nil:
		err = blame(ctx, ending, err)
	case ctx.Err() != nil:
		err = ctx.Err()
	case ending.Err() != nil:
		err = context.Cause(ending)
	case !g.commit(paused):
		err = errors.New("the pause is over")
	}
	if err != nil {
		return fmt.Errorf("final pass: %w", err)
	}
	// From here on a crash may lead to either home, so that none may take a write
	// before a Save has decided.
	for {
		if err = m.save(context.WithoutCancel(ctx)); err == nil {
			g.finish()
			return nil
		}
		if ended := sleep(ctx, m.o.Pause/4); ended != nil {
			return err
		}
	}
}

// clean deletes a range at its old home when nobody reads there any more.
func (m *Mover) clean(ctx context.Context, i int) error {
	g := &m.gates[i]
	ending, cancel := limit(ctx, m.o.Pause)
	defer cancel()
	if n := g.drained(ending); n > 0 {
		return notReleased(ctx, n, "read", m.o.Pause)
	}
	if err := m.o.Cleanup(ctx, m.plan.steps[i]); err != nil {
		return err
	}
	g.set(cleaned)
	saved := false
	defer func() {
		if !saved { // be it for a panic
			g.set(switched)
		}
	}()
	if err := m.save(ctx); err != nil {
		return err
	}
	saved = true
	return nil
}

// Progress is the state of a [Mover].
type Progress struct {
	// Ranges is the number of ranges that are to move.
	Ranges int
	// Switched is the number of those that are read and written at their new home.
	Switched int
	// Cleaned is the number of those that are also deleted at their old home.
	Cleaned int
	// Share is the share of all hashes that has switched; of Plan.Moved in the end.
	Share float64
	// Paused says that writes to a range are refused with [ErrPaused].
	Paused bool
	// Rollbacks counts the write pauses after which a range stayed at its old home.
	Rollbacks uint64
	// LongestPause is the longest time for which writes to a range were paused.
	LongestPause time.Duration
}

// Progress returns how far the move has come. Rollbacks and LongestPause are those
// of this process.
func (m *Mover) Progress() Progress {
	p := Progress{
		Ranges:       len(m.gates),
		Rollbacks:    m.rollbacks.Load(),
		LongestPause: time.Duration(m.longest.Load()),
	}
	moved := width{}
	for i := range m.gates {
		at := m.gates[i].phaseNow()
		if at >= switched {
			p.Switched++
			moved = moved.add(m.plan.steps[i].Range)
		}
		if at == cleaned {
			p.Cleaned++
		}
		p.Paused = p.Paused || at == stuck
	}
	p.Share = moved.share()
	return p
}

// save stores how far the move has come.
func (m *Mover) save(ctx context.Context) error {
	limited, cancel := limit(ctx, m.o.Pause)
	defer cancel()
	if err := m.checkpoint.Save(limited, m.encode()); err != nil {
		return fmt.Errorf("save the checkpoint: %w", blame(ctx, limited, err))
	}
	return nil
}
