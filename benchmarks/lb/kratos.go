package lb

import (
	"context"
	"fmt"

	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/p2c"
)

// numbered is a node that knows its index.
type numbered struct {
	selector.Node
	index int
}

// newKratos has the power of two choices by its own estimate of load, as
// selector.SetGlobalSelector(p2c.NewBuilder()) has it.
func newKratos(endpoints int) (balancer, error) {
	balancing := p2c.New()
	nodes := make([]selector.Node, endpoints)
	for i := range nodes {
		nodes[i] = &numbered{selector.NewNode("http", fmt.Sprintf("10.0.0.%d:80", i), nil), i}
	}
	balancing.Apply(nodes)
	ctx := context.Background()
	return func() int {
		node, done, err := balancing.Select(ctx)
		if err != nil {
			return -1
		}
		done(ctx, selector.DoneInfo{})
		return node.(*numbered).index
	}, nil
}
