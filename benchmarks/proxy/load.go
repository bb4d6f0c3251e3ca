package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// request is what every client sends: little, as from another service.
const request = "GET /items/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n"

// load is a number of connections, each of which carries one request at a time.
type load struct {
	conns []net.Conn
}

// newLoad connects to a proxy.
func newLoad(addr string, conns int) (*load, error) {
	l := &load{}
	for range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, conn)
	}
	return l, nil
}

func (l *load) close() {
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}

// hung is how long after the end of a round an answer is still waited for.
const hung = 10 * time.Second

// run sends requests until an instant. What it returns waits for the end, and returns
// how long the answers took that were complete between the two instants, sorted.
func (l *load) run(from, to time.Time) (done func() ([]time.Duration, error)) {
	took := make([][]time.Duration, len(l.conns))
	errs := make([]error, len(l.conns))
	var wg sync.WaitGroup
	for i, conn := range l.conns {
		wg.Go(func() {
			if errs[i] = conn.SetDeadline(to.Add(hung)); errs[i] != nil {
				return
			}
			c := client{conn: conn}
			for start := time.Now(); start.Before(to); {
				if errs[i] = c.exchange(); errs[i] != nil {
					return
				}
				end := time.Now()
				if !end.Before(from) && end.Before(to) {
					took[i] = append(took[i], end.Sub(start))
				}
				start = end
			}
		})
	}
	return func() ([]time.Duration, error) {
		wg.Wait()
		all := slices.Concat(took...)
		slices.Sort(all)
		return all, errors.Join(errs...)
	}
}

// client is one connection. It understands answers that say how long they are, as
// those of the backends do, whoever passes them on.
type client struct {
	conn net.Conn
	buf  [bodyLen + 4096]byte
}

// exchange sends a request and reads the answer, which has to be the right one.
func (c *client) exchange() error {
	if _, err := c.conn.Write([]byte(request)); err != nil {
		return err
	}
	read, end := 0, 0 // end is that of the header
	for end == 0 {
		n, err := c.conn.Read(c.buf[read:])
		if err != nil {
			return fmt.Errorf("answer %q: %w", c.buf[:read], err)
		}
		read += n
		if at := bytes.Index(c.buf[:read], endOfHeader); at >= 0 {
			end = at + len(endOfHeader)
		} else if read == len(c.buf) {
			return errors.New("a header does not end")
		}
	}
	if err := checkHeader(c.buf[:end]); err != nil {
		return err
	}
	for read < end+bodyLen && end+bodyLen <= len(c.buf) {
		n, err := c.conn.Read(c.buf[read:])
		if err != nil {
			return fmt.Errorf("%d bytes of a body: %w", read-end, err)
		}
		read += n
	}
	if !bytes.Equal(c.buf[end:read], body) {
		return fmt.Errorf("a body is of %d bytes, or others than the backends sent", read-end)
	}
	return nil
}

var (
	endOfHeader   = []byte("\r\n\r\n")
	okLine        = []byte("HTTP/1.1 200 ")
	contentLength = []byte("content-length:")
)

// checkHeader checks status and length.
func checkHeader(header []byte) error {
	if !bytes.HasPrefix(header, okLine) {
		line, _, _ := bytes.Cut(header, []byte("\r\n"))
		return fmt.Errorf("answer is %q, want 200", line)
	}
	for rest := header; ; {
		at := bytes.IndexByte(rest, '\n')
		if at < 0 {
			return fmt.Errorf("header %q has no length", header)
		}
		rest = rest[at+1:]
		if n := len(contentLength); len(rest) > n && bytes.EqualFold(rest[:n], contentLength) {
			value, _, _ := bytes.Cut(rest[n:], []byte("\r"))
			if length, err := strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length != bodyLen {
				return fmt.Errorf("length is %q, want %d", value, bodyLen)
			}
			return nil
		}
	}
}
