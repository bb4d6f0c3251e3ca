package shard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vectors is testdata/vectors.json, which other implementations can be checked
// against; testdata/check_vectors.py is one. With UPRUNG_UPDATE_VECTORS=1 the test
// writes it anew: a difference then means that every user's keys move.
type vectors struct {
	XXHash64 []hashVector  `json:"xxhash64"`
	Keys     []string      `json:"keys"`
	Tables   []tableVector `json:"tables"`
}

type hashVector struct {
	Key  string `json:"key"`
	Hash string `json:"hash"` // hexadecimal: JSON's numbers are too short
}

type tableVector struct {
	Kind      string            `json:"kind"`
	Points    int               `json:"points,omitempty"`
	Size      int               `json:"size,omitempty"`
	Slots     int               `json:"slots,omitempty"`
	Nodes     []nodeVector      `json:"nodes"`
	Owners    []string          `json:"owners"` // of the keys
	Walks     [][]string        `json:"walks"`  // all nodes, for the first keys
	Rebalance []rebalanceVector `json:"rebalance,omitempty"`
}

type nodeVector struct {
	ID     string `json:"id"`
	Weight int    `json:"weight"`
}

type rebalanceVector struct {
	Nodes []nodeVector `json:"nodes"`
	Moves [][3]any     `json:"moves"` // slot, from, to
}

func nodesOf(in []nodeVector) []Node {
	nodes := make([]Node, len(in))
	for i, n := range in {
		nodes[i] = Node{ID: n.ID, Weight: n.Weight}
	}
	return nodes
}

// vectorWalks is the number of keys for which a vector has the whole order.
const vectorWalks = 6

// vectorInputs returns vectors without the answers.
func vectorInputs() vectors {
	var v vectors
	for _, n := range []int{0, 1, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 65, 100, 255} {
		v.XXHash64 = append(v.XXHash64, hashVector{Key: strings.Repeat("sharding ", 30)[:n]})
	}
	v.XXHash64 = append(v.XXHash64, hashVector{Key: "a"}, hashVector{Key: "abc"}, hashVector{Key: "schlüssel 鍵 🔑"})
	v.Keys = []string{"", "a", "user:1", "user:2", "schlüssel 鍵", strings.Repeat("long", 20)}
	for i := range 42 {
		v.Keys = append(v.Keys, fmt.Sprintf("key-%d", i*i*i))
	}

	set := func(weights ...int) []nodeVector {
		var nodes []nodeVector
		for i, w := range weights {
			nodes = append(nodes, nodeVector{fmt.Sprintf("node-%d", i), w})
		}
		return nodes
	}
	one, equal, weighted := set(1), set(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), set(1, 2, 3, 40, 5, 1, 1)
	names := []nodeVector{{"a", 1}, {"a1", 1}, {"1a", 1}, {"鍵", 1}, {"http://10.0.0.1:8080", 1}}
	for _, nodes := range [][]nodeVector{one, equal, weighted, names} {
		v.Tables = append(v.Tables,
			tableVector{Kind: "ring", Points: 160, Nodes: nodes},
			tableVector{Kind: "maglev", Size: 65537, Nodes: nodes},
			tableVector{Kind: "rendezvous", Nodes: nodes},
			tableVector{Kind: "slots", Slots: 128, Nodes: nodes})
		if &nodes[0] != &weighted[0] {
			v.Tables = append(v.Tables, tableVector{Kind: "jump", Nodes: nodes})
		}
	}
	v.Tables = append(v.Tables,
		tableVector{Kind: "ring", Points: 512, Nodes: equal},
		tableVector{Kind: "ring", Points: 1, Nodes: names},
		tableVector{Kind: "maglev", Size: 101, Nodes: weighted},
		tableVector{Kind: "slots", Slots: 16384, Nodes: equal[:5]},
		tableVector{Kind: "slots", Slots: 100, Nodes: equal[:3], Rebalance: []rebalanceVector{
			{Nodes: equal[:4]}, {Nodes: equal[:4]}, {Nodes: equal[2:4]}, {Nodes: weighted}, {Nodes: names},
		}})
	return v
}

// answer fills in what the tables say.
func (v *vectors) answer(t *testing.T) {
	t.Helper()
	for i, h := range v.XXHash64 {
		v.XXHash64[i].Hash = fmt.Sprintf("%016x", Hash(h.Key))
	}
	for i := range v.Tables {
		tv := &v.Tables[i]
		var table Table
		var err error
		switch nodes := nodesOf(tv.Nodes); tv.Kind {
		case "ring":
			table, err = NewRing(nodes, &RingOptions{Points: tv.Points})
		case "maglev":
			table, err = NewMaglev(nodes, &MaglevOptions{Size: tv.Size})
		case "rendezvous":
			table, err = NewRendezvous(nodes)
		case "jump":
			table, err = NewJump(nodes)
		case "slots":
			table, err = NewSlots(nodes, &SlotsOptions{Slots: tv.Slots})
		}
		if err != nil {
			t.Fatal(err)
		}
		for k, key := range v.Keys {
			tv.Owners = append(tv.Owners, owner(table, Hash(key)))
			if k < vectorWalks {
				tv.Walks = append(tv.Walks, order(table, Hash(key)))
			}
		}
		for s := range tv.Rebalance {
			step := &tv.Rebalance[s]
			to, moves, err := table.(*Slots).Rebalance(nodesOf(step.Nodes))
			if err != nil {
				t.Fatal(err)
			}
			table, step.Moves = to, [][3]any{}
			for _, m := range moves {
				step.Moves = append(step.Moves, [3]any{m.Slot, m.From, m.To})
			}
		}
	}
}

func TestTrap01GoldenVectors(t *testing.T) {
	t.Parallel()
	v := vectorInputs()
	v.answer(t)
	// One table to a line.
	got := bytes.NewBufferString("{\n")
	section := func(name string, last bool, elements ...any) {
		fmt.Fprintf(got, "%q: [\n", name)
		for i, e := range elements {
			var line bytes.Buffer
			enc := json.NewEncoder(&line)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(e); err != nil {
				t.Fatal(err)
			}
			got.Write(bytes.TrimSuffix(line.Bytes(), []byte("\n")))
			if i < len(elements)-1 {
				got.WriteByte(',')
			}
			got.WriteByte('\n')
		}
		got.WriteString(map[bool]string{false: "],\n", true: "]\n"}[last])
	}
	section("xxhash64", false, anys(v.XXHash64)...)
	section("keys", false, anys(v.Keys)...)
	section("tables", true, anys(v.Tables)...)
	got.WriteString("}\n")

	file := filepath.Join("testdata", "vectors.json")
	if os.Getenv("UPRUNG_UPDATE_VECTORS") == "1" {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	if len(gotLines) != len(wantLines) {
		t.Errorf("%s has %d lines, want %d", file, len(wantLines), len(gotLines))
	}
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Errorf("%s:%d\n got %.300s\nwant %.300s", file, i+1, gotLines[i], wantLines[i])
		}
	}
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

func TestHashIsPublishedXXHash64(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
	} {
		if got := Hash(key); got != want {
			t.Errorf("Hash(%q) = %#x, want %#x", key, got, want)
		}
	}
}
