package lb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung/shard"
)

func TestTrap23SubsetsAreEven(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ clients, endpoints, size int }{
		{100, 100, 10}, {300, 300, 20}, {37, 50, 10}, {7, 53, 10}, {1000, 17, 5}, {40, 3, 2}, {5, 4, 9}, {1, 1, 1}, {64, 41, 40},
	} {
		hashes := make([]uint64, tt.endpoints)
		for i := range hashes {
			hashes[i] = shard.Hash(fmt.Sprintf("10.0.%d.%d:80", i/256, i%256))
		}
		counts := make([]int, tt.endpoints)
		for client := range tt.clients {
			some := subset(hashes, client, tt.size)
			if want := min(tt.size, tt.endpoints); len(some) != want {
				t.Fatalf("%+v: client %d has %d endpoints, want %d", tt, client, len(some), want)
			}
			seen := map[int]bool{}
			for _, i := range some {
				if seen[i] {
					t.Fatalf("%+v: client %d has endpoint %d twice", tt, client, i)
				}
				seen[i] = true
				counts[i]++
			}
		}
		if most, least := slices.Max(counts), slices.Min(counts); most-least > 1 {
			t.Errorf("%+v: endpoints have %d to %d clients, want as many or one more", tt, least, most)
		}
	}
}

// walked is subset by walking through all clients from the first one on.
func walked(hashes []uint64, client, size int) []int {
	left, round := shuffled(hashes, 0), uint64(0)
	for ; ; client-- {
		some := left[:min(size, len(left))]
		left = left[len(some):]
		if missing := size - len(some); missing > 0 {
			round++
			left = shuffled(hashes, round)
			front(left, missing, some)
			some, left = slices.Concat(some, left[:missing]), left[missing:]
		}
		if client == 0 {
			return some
		}
	}
}

func TestSubsetAgainstModel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ endpoints, size int }{{12, 4}, {12, 5}, {13, 5}, {10, 9}, {9, 6}, {7, 1}} {
		hashes := make([]uint64, tt.endpoints)
		for i := range hashes {
			hashes[i] = shard.Hash(fmt.Sprint(i))
		}
		for client := range 50 {
			if got, want := subset(hashes, client, tt.size), walked(hashes, client, tt.size); !slices.Equal(got, want) {
				t.Errorf("%+v: client %d has %v, want %v", tt, client, got, want)
			}
		}
	}
}

// The last of a million clients need not walk past all others.
func TestSubsetIsQuick(t *testing.T) {
	t.Parallel()
	hashes := make([]uint64, 1000)
	for i := range hashes {
		hashes[i] = shard.Hash(fmt.Sprint(i))
	}
	began := time.Now()
	subset(hashes, maxClient, 400)
	if took := time.Since(began); took > time.Second {
		t.Errorf("a subset took %v, want far less than 1s", took)
	}
}

func TestSubset(t *testing.T) {
	t.Parallel()
	all := slices.Concat(zoned(0, "n", 20), zoned(1, "s", 3))
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	ids := func(endpoints []Endpoint, client int) []string {
		r, err := NewSubset(Static(endpoints), client, 5)
		if err != nil {
			t.Fatal(err)
		}
		some, err := r.Resolve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range some {
			ids = append(ids, e.Addr)
		}
		slices.Sort(ids)
		return ids
	}
	for client := range 10 {
		got := ids(all, client)
		if again := ids(reversed, client); !slices.Equal(got, again) {
			t.Errorf("client %d has %v, and %v in another order", client, got, again)
		}
		if n := len(slices.DeleteFunc(slices.Clone(got), func(id string) bool { return strings.HasPrefix(id, "n") })); len(got) != 8 || n != 3 {
			t.Errorf("client %d has %v, want 5 of the first level and 3 of the second", client, got)
		}
	}
	if slices.Equal(ids(all, 0), ids(all, 1)) {
		t.Error("two clients have the same endpoints")
	}
}

func TestSubsetErrors(t *testing.T) {
	t.Parallel()
	_, err := NewSubset(nil, -1, 0)
	for _, want := range []string{"resolver is nil", "client is -1, want 0 to", "size is 0, want >= 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}
