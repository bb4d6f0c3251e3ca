package replicate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/uprung/uprung/internal/sqlclass"
)

// PostgreSQL is the dialect of PostgreSQL with streaming replication. The user of the
// connections needs the role pg_monitor, or the timeline of a replica is seen only at its
// next restart point, and after a failover it is not used until then.
func PostgreSQL() Dialect { return postgreSQL{classifier{language: sqlclass.PostgreSQL}} }

type postgreSQL struct{ classifier }

func (d postgreSQL) declare(functions []string) (Dialect, error) {
	err := d.declares(functions)
	return d, err
}

// The timeline of a standby is that of the WAL it receives: the one in the control file is
// of its last restart point. What it has replayed, and not received, is what can be read.
const postgresProbe = `SELECT pg_is_in_recovery()::int::text,
 CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,
 CASE WHEN pg_is_in_recovery()
  THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END::text,
 (SELECT system_identifier::text FROM pg_control_system()),
 current_setting('wal_block_size'), pg_size_bytes(current_setting('wal_segment_size'))::text`

// Of the insert position and not of the one that was written: with synchronous_commit off
// a commit is acknowledged before it is written.
const postgresPosition = `SELECT pg_current_wal_insert_lsn()::text,
 ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int::text,
 current_setting('wal_block_size'), pg_size_bytes(current_setting('wal_segment_size'))::text`

// Probe implements Dialect.
func (postgreSQL) Probe(ctx context.Context, server Asker) (Report, error) {
	row, err := server.Ask(ctx, postgresProbe)
	if err != nil {
		return Report{}, err
	}
	if len(row) != 6 {
		return Report{}, fmt.Errorf("replicate: the server returned %d columns, want 6", len(row))
	}
	r := Report{Role: Primary}
	if row[0] == "1" {
		r.Role = Replica
	}
	position, err := postgresAt(row[1], row[2], row[4], row[5])
	if err != nil {
		return Report{}, err
	}
	if r.System, err = strconv.ParseUint(row[3], 10, 64); err != nil {
		return Report{}, fmt.Errorf("replicate: the server returned system identifier %q", row[3])
	}
	r.Epoch, r.Applied = position.Timeline, []Position{position}
	if r.Role == Primary {
		r.Head = position
	}
	return r, nil
}

// Position implements Dialect.
func (postgreSQL) Position(ctx context.Context, primary Asker) (Position, error) {
	row, err := primary.Ask(ctx, postgresPosition)
	if err != nil {
		return Position{}, err
	}
	if len(row) != 4 {
		return Position{}, fmt.Errorf("replicate: the server returned %d columns, want 4", len(row))
	}
	return postgresAt(row[0], row[1], row[2], row[3])
}

// The lengths of the headers of pages of WAL: SizeOfXLogShortPHD and, of the first page
// of a segment, SizeOfXLogLongPHD (xlog_internal.h).
const (
	shortPageHeader = 24
	longPageHeader  = 40
)

// postgresAt reads a position. After a record that ends where a page does, the insert
// position is behind the header of the next page, which nothing has written yet, and
// replay stops before it: it is rounded down, and covers the same records.
func postgresAt(lsn, timeline, page, segment string) (Position, error) {
	high, low, ok := strings.Cut(lsn, "/")
	hi, err1 := strconv.ParseUint(high, 16, 32)
	lo, err2 := strconv.ParseUint(low, 16, 32)
	tli, err3 := strconv.ParseUint(timeline, 10, 32)
	pageSize, err4 := strconv.ParseUint(page, 10, 32)
	segmentSize, err5 := strconv.ParseUint(segment, 10, 32)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil || !ok || pageSize == 0 || segmentSize == 0 {
		return Position{}, fmt.Errorf("replicate: the server returned position %q, timeline %q, page %q and segment %q", lsn, timeline, page, segment)
	}
	at := hi<<32 | lo
	switch {
	case at%segmentSize == longPageHeader:
		at -= longPageHeader
	case at%pageSize == shortPageHeader:
		at -= shortPageHeader
	}
	return Position{Timeline: uint32(tli), Offset: at}, nil
}

// Fault implements Dialect, by SQLSTATE (PostgreSQL documentation, appendix A).
func (postgreSQL) Fault(err error) Fault {
	state := sqlState(err)
	switch {
	case state == "25006":
		return ReadOnly
	case state == "40001":
		return Conflict
	case state == "53300":
		return Busy
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "57P0"):
		return Gone
	default:
		return Other
	}
}
