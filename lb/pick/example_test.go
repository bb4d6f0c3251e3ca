package pick_test

import (
	"fmt"
	"log"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// One of four endpoints has stalled: it gets one request, and no other while that
// one is out.
func Example() {
	endpoints := []pick.Endpoint{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "stalled"}}
	picker, err := pick.AgeEWMA{}.Picker(endpoints, nil)
	if err != nil {
		log.Fatal(err)
	}

	counts := map[string]int{}
	var now time.Duration
	for i := range 1000 {
		token, ok := picker.Pick(pick.Request{Now: now, Random: uint64(i) * 0x9e3779b97f4a7c15})
		if !ok {
			log.Fatal("no endpoint")
		}
		id := endpoints[token.Endpoint].ID
		counts[id]++
		now += 10 * time.Millisecond
		if id != "stalled" {
			picker.Done(token, now, uprung.Success)
		}
	}
	fmt.Println("stalled:", counts["stalled"])
	// Output: stalled: 1
}

func ExampleRoundRobin() {
	picker, err := pick.RoundRobin{}.Picker([]pick.Endpoint{
		{ID: "a", Weight: 5}, {ID: "b", Weight: 1}, {ID: "c", Weight: 1},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for range 14 {
		token, _ := picker.Pick(pick.Request{Random: 6})
		fmt.Print(string(rune('a'+token.Endpoint)), " ")
		picker.Done(token, 0, uprung.Success)
	}
	// Output: a a b a c a a a a b a c a a
}
