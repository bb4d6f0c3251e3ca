package replicate

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/uprung/uprung/internal/sqlclass"
)

// MariaDB is the dialect of MariaDB with replication by GTID, where primaries run with
// gtid_strict_mode and replicas are read_only. MariaDB tells no epoch: of two servers that
// can be written to, the one that was the primary first stays it.
func MariaDB() Dialect { return mariaDB{mySQLFamily{classifier{language: sqlclass.MySQL}}} }

// MySQL is the dialect of MySQL 8.0 and later with replication by GTID, where replicas are
// read_only. It tells no epoch: of two servers that can be written to, the one that was
// the primary first stays it. MySQL tells a connection the GTID of its write only in a
// field of the protocol that drivers do not pass on, so that a position also contains what
// others have written at the same moment.
func MySQL() Dialect { return mySQL{mySQLFamily{classifier{language: sqlclass.MySQL}}} }

type (
	mariaDB struct{ mySQLFamily }
	mySQL   struct{ mySQLFamily }

	mySQLFamily struct{ classifier }
)

func (d mariaDB) declare(functions []string) (Dialect, error) {
	err := d.declares(functions)
	return d, err
}

func (d mySQL) declare(functions []string) (Dialect, error) {
	err := d.declares(functions)
	return d, err
}

// Fault implements Dialect, by the numbers of errors that both servers have.
func (mySQLFamily) Fault(err error) Fault {
	switch serverNumber(err) {
	case "1290", "1836", "1792": // read_only; read-only mode; read-only transaction
		return ReadOnly
	case "1040", "1203": // too many connections, of all and of the user
		return Busy
	case "1053", "1927": // shutdown in progress; connection killed
		return Gone
	default:
		return Other
	}
}

const mariaDBProbe = `SELECT @@global.read_only, @@global.gtid_current_pos, @@global.gtid_binlog_pos, @@global.gtid_domain_id`

// Probe implements Dialect.
func (mariaDB) Probe(ctx context.Context, server Asker) (Report, error) {
	row, err := server.Ask(ctx, mariaDBProbe)
	if err != nil {
		return Report{}, err
	}
	if len(row) != 4 {
		return Report{}, fmt.Errorf("replicate: the server returned %d columns, want 4", len(row))
	}
	r := Report{Role: Primary}
	applied := row[1]
	if row[0] == "1" || row[0] == "ON" {
		r.Role = Replica
	} else if row[2] != "" {
		applied = row[2]
	}
	for gtid := range strings.SplitSeq(applied, ",") {
		if gtid == "" {
			continue
		}
		p, err := mariaDBAt(gtid)
		if err != nil {
			return Report{}, err
		}
		r.Applied = append(r.Applied, p)
		if r.Role == Primary && (len(r.Applied) == 1 || strconv.FormatUint(uint64(p.Timeline), 10) == row[3]) {
			r.Head = p
		}
	}
	return r, nil
}

// Position implements Dialect.
func (mariaDB) Position(ctx context.Context, primary Asker) (Position, error) {
	row, err := primary.Ask(ctx, `SELECT @@last_gtid`)
	if err != nil || len(row) != 1 || row[0] == "" {
		return Position{}, err
	}
	return mariaDBAt(row[0])
}

// mariaDBAt reads a GTID: domain, server and sequence number.
func mariaDBAt(gtid string) (Position, error) {
	parts := strings.Split(strings.TrimSpace(gtid), "-")
	if len(parts) == 3 {
		domain, err1 := strconv.ParseUint(parts[0], 10, 32)
		sequence, err2 := strconv.ParseUint(parts[2], 10, 64)
		if err1 == nil && err2 == nil {
			return Position{Timeline: uint32(domain), Offset: sequence}, nil
		}
	}
	return Position{}, fmt.Errorf("replicate: the server returned GTID %q", gtid)
}

const mySQLProbe = `SELECT @@global.read_only, @@global.gtid_executed, @@global.server_uuid`

// Probe implements Dialect.
func (mySQL) Probe(ctx context.Context, server Asker) (Report, error) {
	row, err := server.Ask(ctx, mySQLProbe)
	if err != nil {
		return Report{}, err
	}
	if len(row) != 3 {
		return Report{}, fmt.Errorf("replicate: the server returned %d columns, want 3", len(row))
	}
	r := Report{Role: Primary}
	if row[0] == "1" || row[0] == "ON" {
		r.Role = Replica
	}
	own := mySQLTimeline(row[2])
	for set := range strings.SplitSeq(row[1], ",") {
		if strings.TrimSpace(set) == "" {
			continue
		}
		p, err := mySQLAt(set, r.Role == Primary)
		if err != nil {
			return Report{}, err
		}
		r.Applied = append(r.Applied, p)
		if r.Role == Primary && (p.Timeline == own || r.Head.IsZero()) {
			r.Head = p
		}
	}
	return r, nil
}

// Position implements Dialect.
func (d mySQL) Position(ctx context.Context, primary Asker) (Position, error) {
	r, err := d.Probe(ctx, primary)
	return r.Head, err
}

// mySQLTimeline stands for the UUID of a server.
func mySQLTimeline(uuid string) uint32 {
	h := hash(strings.ToLower(strings.TrimSpace(uuid)))
	return uint32(h>>32) ^ uint32(h)
}

// mySQLAt reads the GTIDs of one server, such as uuid:1-5:7. What a server has applied
// without a gap from the first is what can be relied on; the primary has no gaps of its
// own but those of tags and purges, and there it is the last.
func mySQLAt(set string, last bool) (Position, error) {
	uuid, intervals, ok := strings.Cut(strings.TrimSpace(set), ":")
	if !ok {
		return Position{}, fmt.Errorf("replicate: the server returned GTID set %q", set)
	}
	p := Position{Timeline: mySQLTimeline(uuid)}
	for interval := range strings.SplitSeq(intervals, ":") {
		from, to, ranged := strings.Cut(interval, "-")
		if !ranged {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 64)
		end, err2 := strconv.ParseUint(to, 10, 64)
		switch {
		case err1 != nil || err2 != nil || end < first:
			return Position{}, fmt.Errorf("replicate: the server returned GTID set %q", set)
		case last || first <= p.Offset+1:
			p.Offset = max(p.Offset, end)
		}
	}
	return p, nil
}
