package memnet

import (
	"errors"
	"io"
	"net"
	"time"
)

// conn is one end of a connection: it reads from one stream and writes to
// another, and its peer the other way round.
type conn struct {
	in, out       *stream
	local, remote *net.TCPAddr
}

var _ net.Conn = (*conn)(nil)

// newConns returns the two ends of a new connection.
func newConns(client, server *net.TCPAddr) (clientEnd, serverEnd *conn) {
	up, down := newStream(), newStream()
	return &conn{in: down, out: up, local: client, remote: server},
		&conn{in: up, out: down, local: server, remote: client}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.opError("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.opError("write", err)
}

func (c *conn) Close() error {
	err := c.in.closeReader()
	c.out.closeWriter()
	return c.opError("close", err)
}

// CloseWrite ends the stream to the peer, which reads io.EOF after what was
// written before. Reading goes on. It is what [net.TCPConn] has.
func (c *conn) CloseWrite() error { return c.opError("close", c.out.finish()) }

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.in.setDeadline(&c.in.reader, t))
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.out.setDeadline(&c.out.writer, t))
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// opError wraps err as package net does, which leaves io.EOF bare.
func (c *conn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
