package lb

import (
	"net/http"

	"github.com/bufbuild/httplb/conn"
	"github.com/bufbuild/httplb/picker"
)

// httplbConn is a connection that is never used, only picked.
type httplbConn struct {
	conn.Conn
	index int
}

type httplbConns []*httplbConn

func (c httplbConns) Len() int            { return len(c) }
func (c httplbConns) Get(i int) conn.Conn { return c[i] }

// newHTTPLB has the power of two choices by requests in progress.
func newHTTPLB(endpoints int) (balancer, error) {
	conns := make(httplbConns, endpoints)
	for i := range conns {
		conns[i] = &httplbConn{index: i}
	}
	request, err := http.NewRequest(http.MethodGet, "http://backend/", http.NoBody)
	if err != nil {
		return nil, err
	}
	p := picker.NewPowerOfTwo(nil, conns)
	return func() int {
		picked, done, err := p.Pick(request)
		if err != nil {
			return -1
		}
		done()
		return picked.(*httplbConn).index
	}, nil
}
