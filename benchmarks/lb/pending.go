package lb

import (
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// event is the end of a request, as its client sees it.
type event struct {
	at      time.Duration
	token   pick.Token
	outcome uprung.Outcome
	late    bool // there was no answer
}

// pending are the requests of a client that have not ended: a binary heap of where
// their ends are, by time. Of several at one instant, that in the lower place is the
// first, which makes the order one and the same in every run.
type pending struct {
	heap   []place
	events []event
	unused []int32
}

type place struct {
	at time.Duration
	i  int32 // of events
}

func (p place) before(q place) bool { return p.at < q.at || p.at == q.at && p.i < q.i }

func (p *pending) empty() bool { return len(p.heap) == 0 }

// first returns when the first request ends, or forever.
func (p *pending) first() time.Duration {
	if p.empty() {
		return forever
	}
	return p.heap[0].at
}

func (p *pending) add(e *event) {
	var i int32
	if n := len(p.unused); n > 0 {
		i, p.unused = p.unused[n-1], p.unused[:n-1]
		p.events[i] = *e
	} else {
		i, p.events = int32(len(p.events)), append(p.events, *e)
	}
	added := place{e.at, i}
	p.heap = append(p.heap, added)
	at := len(p.heap) - 1
	for at > 0 {
		parent := (at - 1) / 2
		if !added.before(p.heap[parent]) {
			break
		}
		p.heap[at] = p.heap[parent]
		at = parent
	}
	p.heap[at] = added
}

// take removes the first event. It is valid until the next is added. There is one.
func (p *pending) take() *event {
	first, last := p.heap[0].i, len(p.heap)-1
	moved := p.heap[last]
	p.heap = p.heap[:last]
	if last > 0 {
		at := 0
		for {
			child := 2*at + 1
			if child >= last {
				break
			}
			if child+1 < last && p.heap[child+1].before(p.heap[child]) {
				child++
			}
			if !p.heap[child].before(moved) {
				break
			}
			p.heap[at] = p.heap[child]
			at = child
		}
		p.heap[at] = moved
	}
	p.unused = append(p.unused, first)
	return &p.events[first]
}
