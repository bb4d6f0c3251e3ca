package testserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// PostgresConn is a connection to a PostgreSQL server, for tests that look at what
// a session leaves behind. It is not safe for concurrent use.
type PostgresConn struct {
	conn net.Conn
	r    *bufio.Reader
}

// Dial opens a connection. The caller closes it.
func (s *PostgresServer) Dial(ctx context.Context) (*PostgresConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	c := &PostgresConn{conn, bufio.NewReader(conn)}
	startup := "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00" // version 3.0
	if _, err := c.exchange(ctx, 0, startup); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// Query runs SQL by the simple protocol (PostgreSQL, Frontend/Backend Protocol,
// 55.2) and returns the rows of all its statements as text; NULL is "". An error of
// the server is a [*PostgresError]. Once ctx has ended the connection is closed.
func (c *PostgresConn) Query(ctx context.Context, sql string) ([][]string, error) {
	return c.exchange(ctx, 'Q', sql+"\x00")
}

// Close ends the connection.
func (c *PostgresConn) Close() error { return c.conn.Close() }

// exchange sends a message and reads the answer.
func (c *PostgresConn) exchange(ctx context.Context, kind byte, body string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	if err = sendPostgres(c.conn, kind, body); err == nil {
		rows, err = c.receive()
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return rows, err
}

// sendPostgres writes a message; the first of a connection has no kind.
func sendPostgres(w io.Writer, kind byte, body string) error {
	var message []byte
	if kind != 0 {
		message = append(message, kind)
	}
	message = binary.BigEndian.AppendUint32(message, uint32(len(body)+4))
	_, err := w.Write(append(message, body...))
	return err
}

// receive reads messages until the server is ready for the next query.
func (c *PostgresConn) receive() (rows [][]string, failure error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return rows, errors.Join(failure, err)
		}
		body := make([]byte, max(4, binary.BigEndian.Uint32(head[1:]))-4)
		if _, err := io.ReadFull(c.r, body); err != nil {
			return rows, errors.Join(failure, err)
		}
		switch head[0] {
		case 'Z': // ReadyForQuery
			return rows, failure
		case 'E': // ErrorResponse: fields of a letter and a text
			e := &PostgresError{}
			for field := range bytes.SplitSeq(body, []byte{0}) {
				if len(field) > 1 && field[0] == 'C' {
					e.Code = string(field[1:])
				}
				if len(field) > 1 && field[0] == 'M' {
					e.Message = string(field[1:])
				}
			}
			failure = errors.Join(failure, e)
		case 'G': // CopyInResponse: there is nothing to copy
			if err := sendPostgres(c.conn, 'f', "no data\x00"); err != nil {
				return rows, err
			}
		case 'D': // DataRow
			row, err := parseRow(body)
			if err != nil {
				return rows, err
			}
			rows = append(rows, row)
		}
	}
}

func parseRow(body []byte) ([]string, error) {
	if len(body) < 2 {
		return nil, errProtocol
	}
	row := make([]string, binary.BigEndian.Uint16(body))
	body = body[2:]
	for i := range row {
		if len(body) < 4 {
			return nil, errProtocol
		}
		size := int(int32(binary.BigEndian.Uint32(body)))
		body = body[4:]
		if size < 0 {
			continue // NULL
		}
		if size > len(body) {
			return nil, errProtocol
		}
		row[i], body = string(body[:size]), body[size:]
	}
	return row, nil
}
