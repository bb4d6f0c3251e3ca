package shard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

// stores are the databases of the example, by the IDs of their nodes.
type stores map[string]map[string]string

// copyRange makes a range at one node equal to that at another, deletes included.
func (s stores) copyRange(_ context.Context, p shard.Pass) (changed int, err error) {
	from, to := s[p.From], s[p.To]
	for key := range to {
		if _, found := from[key]; !found && p.Contains(shard.Hash(key)) {
			delete(to, key)
			changed++
		}
	}
	for key, value := range from {
		if old, found := to[key]; p.Contains(shard.Hash(key)) && (!found || old != value) {
			to[key] = value
			changed++
		}
	}
	return changed, nil
}

// deleteRange deletes what has moved.
func (s stores) deleteRange(_ context.Context, step shard.Step) error {
	for key := range s[step.From] {
		if step.Contains(shard.Hash(key)) {
			delete(s[step.From], key)
		}
	}
	return nil
}

// inMemory is a checkpoint that does not survive; a real one is a row or a file.
type inMemory struct{ state []byte }

func (c *inMemory) Load(context.Context) ([]byte, error) { return c.state, nil }

func (c *inMemory) Save(_ context.Context, state []byte) error {
	c.state = append(c.state[:0], state...)
	return nil
}

func ExampleMover() {
	nodes := []shard.Node{{ID: "db-1"}, {ID: "db-2"}}
	before, err := shard.NewSlots(nodes, &shard.SlotsOptions{Slots: 12})
	if err != nil {
		log.Fatal(err)
	}
	after, _, err := before.Rebalance(append(nodes, shard.Node{ID: "db-3"}))
	if err != nil {
		log.Fatal(err)
	}
	plan, err := shard.NewPlan(before, after)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.1f%% of all keys move\n", 100*plan.Moved())

	data := stores{"db-1": {}, "db-2": {}, "db-3": {}}
	ctx := context.Background()
	mover, err := shard.NewMover(ctx, plan, data.copyRange, &inMemory{}, &shard.MoverOptions{Cleanup: data.deleteRange})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 300 { // a program whose stores are safe for it goes on during Run
		key := fmt.Sprintf("user-%d", i)
		home, release, err := mover.Write(ctx, shard.Hash(key))
		if err != nil {
			log.Fatal(err)
		}
		data[home][key] = "here"
		release()
	}
	if err := mover.Run(ctx); err != nil {
		log.Fatal(err)
	}
	found := 0
	for i := range 300 {
		key := fmt.Sprintf("user-%d", i)
		home, release := mover.Read(shard.Hash(key))
		if data[home][key] == "here" && home == after.Nodes()[after.Lookup(shard.Hash(key))].ID {
			found++
		}
		release()
	}
	fmt.Println(found, "keys are where the new table says")
	fmt.Println(len(data["db-1"])+len(data["db-2"])+len(data["db-3"]), "keys are stored")
	// Output:
	// 33.3% of all keys move
	// 300 keys are where the new table says
	// 300 keys are stored
}

func ExampleNewPlan() {
	before, err := shard.NewRing([]shard.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	after, err := before.Add(shard.Node{ID: "d"})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := shard.NewPlan(before, after)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// 24.905% of all keys move, in 121 ranges
	//   a -> d: 9.696%, in 45 ranges
	//   c -> d: 7.987%, in 42 ranges
	//   b -> d: 7.222%, in 34 ranges
}
