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

// queryPostgres runs SQL on a connection of its own by the simple protocol
// (PostgreSQL, Frontend/Backend Protocol, 55.2): enough to arrange a test.
func queryPostgres(ctx context.Context, addr, sql string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be said
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() {
		if ctx.Err() != nil && err != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}()
	startup := "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00" // version 3.0
	r := bufio.NewReader(conn)
	if err := sendPostgres(conn, 0, startup); err != nil {
		return nil, err
	}
	if _, err := receivePostgres(r); err != nil {
		return nil, err
	}
	if err := sendPostgres(conn, 'Q', sql+"\x00"); err != nil {
		return nil, err
	}
	return receivePostgres(r)
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

// receivePostgres reads messages until the server is ready for the next query.
func receivePostgres(r *bufio.Reader) (rows [][]string, failure error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return rows, errors.Join(failure, err)
		}
		body := make([]byte, max(4, binary.BigEndian.Uint32(head[1:]))-4)
		if _, err := io.ReadFull(r, body); err != nil {
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
