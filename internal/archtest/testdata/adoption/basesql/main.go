// Command basesql is base with a database that is not there.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	db := sql.OpenDB(none{})
	if err := use(db); err == nil {
		panic("there is no database")
	} else {
		slog.Debug("as expected", "error", err)
	}
	go func() { _ = http.Serve(ln, handler) }()
	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode, string(body))
}

// use does what every program with a database does.
func use(db *sql.DB) error {
	var n int
	if err := db.QueryRow("SELECT 1").Scan(&n); err != nil {
		return err
	}
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE a SET b = 1"); err != nil {
		return err
	}
	return tx.Commit()
}

// none is a database that is not there.
type none struct{}

func (none) Connect(context.Context) (driver.Conn, error) { return nil, errors.New("no database") }
func (none) Driver() driver.Driver                        { return nil }
