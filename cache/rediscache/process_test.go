//go:build linux

package rediscache_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/rediscache"
	"github.com/uprung/uprung/internal/testserver"
)

// taskVar is the environment variable that makes the test binary a process of a fleet.
const taskVar = "UPRUNG_REDISCACHE_TASK"

// fileFD is the descriptor of the file that a fleet shares.
const fileFD = 3

// task is what such a process is to do.
type task struct {
	Do      string // load, hang or write
	Addr    string
	Callers int
	Load    time.Duration
	Lease   time.Duration // zero is the default
}

// report is what it says in the end.
type report struct {
	Errors, Wrong int
	P50, Max      time.Duration
}

func TestMain(m *testing.M) {
	text := os.Getenv(taskVar)
	if text == "" {
		os.Exit(m.Run())
	}
	var tk task
	err := json.Unmarshal([]byte(text), &tk)
	if err == nil {
		err = tk.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fleetCache returns a cache for a process, with a connection.
func fleetCache(addr, name string, lease time.Duration) (*cache.Cache[string, uint64], *rediscache.Store, error) {
	store, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{addr}, ClientName: name}, &rediscache.Options{Timeout: patient})
	if err != nil {
		return nil, nil, err
	}
	c, err := cache.New(10_000, &cache.Options[string, uint64]{Store: store, Namespace: "fleet", StoreTimeout: patient, Lease: lease})
	if err == nil {
		_, err = store.Get(context.Background(), "fleet:connect")
	}
	return c, store, err
}

// run is the main function of a process of the fleet. It says ready, and begins when it is
// told to.
func (tk *task) run() error {
	c, _, err := fleetCache(tk.Addr, tk.Do, tk.Lease)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	file := os.NewFile(fileFD, "shared")
	if tk.Do == "write" {
		return tk.write(c, file)
	}
	load := func(context.Context, string) (uint64, error) {
		now := uint64(time.Now().UnixNano())
		if _, err := file.Write(binary.BigEndian.AppendUint64(nil, now)); err != nil {
			return 0, err
		}
		if tk.Do == "hang" {
			fmt.Println("loading")
			select {} // until it is killed
		}
		time.Sleep(tk.Load)
		return now, nil
	}
	var mu sync.Mutex
	var r report
	var took []time.Duration
	values := make(map[uint64]bool)
	var callers sync.WaitGroup
	for range tk.Callers {
		callers.Go(func() {
			start := time.Now()
			v, err := c.GetOrLoad(context.Background(), "hot", load)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(start))
			values[v] = true
			if err != nil {
				r.Errors++
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		for c.Stats().LeaseWaits+c.Stats().StoreHits+c.Stats().Misses == 0 { // or done
			time.Sleep(time.Millisecond)
		}
		fmt.Println("waiting")
	}()
	callers.Wait()
	<-waited
	slices.Sort(took)
	r.P50, r.Max, r.Wrong = took[len(took)/2], took[len(took)-1], len(values)-1
	return json.NewEncoder(os.Stdout).Encode(r)
}

const (
	writes    = 10_000
	writeKeys = 100
)

// write changes the database, which is the file, and invalidates, and says so each time.
func (tk *task) write(c *cache.Cache[string, uint64], file *os.File) error {
	out := bufio.NewWriter(os.Stdout)
	var versions [writeKeys]uint64
	for range writes {
		k := rand.IntN(writeKeys)
		versions[k]++
		if _, err := file.WriteAt(binary.BigEndian.AppendUint64(nil, versions[k]), int64(8*k)); err != nil {
			return err
		}
		if err := c.Invalidate(context.Background(), fmt.Sprint(k)); err != nil {
			return err
		}
		fmt.Fprintln(out, k, versions[k])
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// member is a process of a fleet.
type member struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// sharedFile returns the file of a fleet.
func sharedFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "shared"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// start starts a process, which ends with the test, and waits until it is ready.
func start(t *testing.T, file *os.File, tk *task) *member {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tk)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), taskVar+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	m := &member{t, cmd, in, bufio.NewReader(out)}
	m.await("ready")
	return m
}

func (m *member) await(line string) {
	m.t.Helper()
	got, err := m.out.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != line {
		m.t.Fatalf("a process says %q, %v; want %q", got, err, line)
	}
}

func (m *member) begin() {
	m.t.Helper()
	if _, err := io.WriteString(m.in, "\n"); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) report() (r report) {
	m.t.Helper()
	if err := json.NewDecoder(m.out).Decode(&r); err != nil {
		m.t.Fatal(err)
	}
	return r
}

// loads returns the instants at which a fleet began to load.
func loads(t *testing.T, file *os.File) []time.Time {
	t.Helper()
	data, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	var at []time.Time
	for ; len(data) >= 8; data = data[8:] {
		at = append(at, time.Unix(0, int64(binary.BigEndian.Uint64(data))))
	}
	return at
}

const (
	processes = 4
	callers   = 2500
	loadTime  = 50 * time.Millisecond
)

func TestOneLoadInFourProcesses(t *testing.T) {
	server := testserver.Redis(t)
	file := sharedFile(t)
	var all []*member
	for range processes {
		// A lease longer than this machine may be busy with others.
		all = append(all, start(t, file, &task{Do: "load", Addr: server.Addr(), Callers: callers, Load: loadTime, Lease: patient}))
	}
	for _, m := range all {
		m.begin()
	}
	for i, m := range all {
		m.await("waiting")
		r := m.report()
		t.Logf("process %d: p50 %v, max %v", i, r.P50, r.Max)
		if r.Errors > 0 || r.Wrong > 0 {
			t.Errorf("process %d has %d errors and %d values too many", i, r.Errors, r.Wrong)
		}
	}
	if n := len(loads(t, file)); n != 1 {
		t.Errorf("%d callers in %d processes made %d loads, want 1", callers, processes, n)
	}
}

func TestAnotherTakesOverFromALeaderThatIsKilled(t *testing.T) {
	server := testserver.Redis(t)
	file := sharedFile(t)
	leader := start(t, file, &task{Do: "hang", Addr: server.Addr(), Callers: callers})
	var others []*member
	for range processes - 1 {
		others = append(others, start(t, file, &task{Do: "load", Addr: server.Addr(), Callers: callers, Load: loadTime}))
	}
	leader.begin()
	leader.await("loading")
	for _, m := range others {
		m.begin()
	}
	for _, m := range others {
		m.await("waiting")
	}
	killed := time.Now()
	if err := leader.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for i, m := range others {
		r := m.report()
		if r.Errors > 0 || r.Wrong > 0 {
			t.Errorf("process %d has %d errors and %d values too many", i, r.Errors, r.Wrong)
		}
	}
	at := loads(t, file)
	if len(at) != 2 {
		t.Fatalf("there were %d loads, want 2", len(at))
	}
	takeover := at[1].Sub(killed)
	t.Logf("takeover after %v", takeover)
	if takeover > 500*time.Millisecond {
		t.Errorf("another took over after %v, want at most 0.5s", takeover)
	}
}

// kill closes the connections that have a name, and returns how many they were.
func kill(t *testing.T, server *testserver.RedisServer, name string) (n int) {
	t.Helper()
	reply, err := server.Do(t.Context(), "CLIENT", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	list, _ := reply.(string)
	for line := range strings.Lines(list) {
		id := ""
		named := false
		for field := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(field, "id="); ok {
				id = v
			}
			named = named || field == "name="+name
		}
		if named {
			if _, err := server.Do(t.Context(), "CLIENT", "KILL", "ID", id); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	return n
}

// Trap 10: what is changed while nothing can be heard is not served once it can.
func TestNothingStaleSurvivesALostConnection(t *testing.T) {
	server := testserver.Redis(t)
	file := sharedFile(t)
	if err := file.Truncate(8 * writeKeys); err != nil {
		t.Fatal(err)
	}
	writer := start(t, file, &task{Do: "write", Addr: server.Addr()})
	c, store, err := fleetCache(server.Addr(), "reader", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	defer c.Close()
	load := func(_ context.Context, key string) (uint64, error) {
		var k int
		var b [8]byte
		if _, err := fmt.Sscan(key, &k); err != nil {
			return 0, err
		}
		_, err := file.ReadAt(b[:], int64(8*k))
		return binary.BigEndian.Uint64(b[:]), err
	}
	read := func(k int) uint64 {
		v, err := c.GetOrLoad(context.Background(), fmt.Sprint(k), load)
		if err != nil {
			t.Error(err)
		}
		return v
	}

	var told [writeKeys]atomic.Uint64 // versions that the writer has invalidated
	var done, written atomic.Int64
	var background sync.WaitGroup
	background.Go(func() {
		defer done.Store(1)
		for {
			var k int
			var version uint64
			if _, err := fmt.Fscan(writer.out, &k, &version); err != nil {
				return
			}
			told[k].Store(version)
			written.Add(1)
		}
	})
	for range 2 {
		background.Go(func() {
			for done.Load() == 0 {
				read(rand.IntN(writeKeys))
			}
		})
	}
	writer.begin()
	checks, stale, killed := 0, 0, 0
	for last := false; !last; {
		last = done.Load() == 1
		losses := store.Stats().Losses
		killed += kill(t, server, "reader")
		eventually(t, "the connection is lost, and had again", func() bool { return store.Stats().Losses >= losses+2 })
		var least [writeKeys]uint64
		for k := range least {
			least[k] = told[k].Load()
		}
		if _, err := store.Get(t.Context(), "fleet:trip"); err != nil { // one round trip
			t.Fatal(err)
		}
		for k := range least {
			checks++
			if v := read(k); v < least[k] {
				stale++
			}
		}
	}
	background.Wait()
	stats := c.Stats()
	t.Logf("%d writes, connection killed %d times: %d of %d reads are stale; %d hits, %d loads, heard %d",
		written.Load(), killed, stale, checks, stats.Hits, stats.Loads, stats.Heard)
	if stale > 0 {
		t.Errorf("%d of %d reads are stale, want none", stale, checks)
	}
	if written.Load() != writes || killed < 3 {
		t.Errorf("there were %d writes and %d connections killed, want %d and some", written.Load(), killed, writes)
	}
	if stats.Hits == 0 || stats.Heard == 0 {
		t.Error("nothing was served from memory, or nothing was heard: this shows nothing")
	}
}
