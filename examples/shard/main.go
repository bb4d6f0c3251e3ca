// Command shard spreads keys over three stores, looks a few of them up, asks what a
// fourth store would move before adding it, and adds it.
//
//	go run ./examples/shard
//
// A store is a string here. It can as well be a client of a cache or an http.Handler:
// Map has a payload of any type for each node. Only what is looked up moves. A cache
// fills itself at the new store; how data are moved, the documentation of package shard
// tells under Resharding.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/uprung/uprung/shard"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// entries are n stores and what is reached there.
func entries(n int) []shard.Entry[string] {
	var list []shard.Entry[string]
	for i := range n {
		id := fmt.Sprintf("store%d", i+1)
		list = append(list, shard.Entry[string]{Node: shard.Node{ID: id}, Value: "redis://" + id})
	}
	return list
}

func run(out io.Writer) error {
	stores, err := shard.NewMap(entries(3), nil)
	if err != nil {
		return err
	}
	users := []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"}
	before := make(map[string]string)
	for _, user := range users {
		if before[user], err = stores.Get(user); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%-6s %s\n", user, before[user]); err != nil {
			return err
		}
	}

	// Ask first: nothing is moved by asking.
	preview, err := stores.Preview(entries(4))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "a fourth store moves %.0f %% of all keys, at best %.0f %%\n", 100*preview.Moved, 100*preview.Ideal); err != nil {
		return err
	}
	if err := stores.Set(entries(4)); err != nil {
		return err
	}
	for _, user := range users {
		after, err := stores.Get(user)
		if err != nil {
			return err
		}
		if after == before[user] {
			continue
		}
		if _, err := fmt.Fprintf(out, "%-6s %s -> %s\n", user, before[user], after); err != nil {
			return err
		}
	}
	return nil
}
