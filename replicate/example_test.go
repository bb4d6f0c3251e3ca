package replicate_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/replicate"
)

func Example() {
	servers := memsql.New(2) // a model; with pgx, nodes have stdlib.GetConnector(...)
	servers.Node(1).SetLag(time.Hour)
	servers.Node(2).SetLag(time.Hour)
	cluster, err := replicate.New([]replicate.Node{
		{Name: "primary", Connector: servers.Node(0)},
		{Name: "replica-1", Connector: servers.Node(1)},
		{Name: "replica-2", Connector: servers.Node(2)},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = cluster.Run(ctx) }()
	db := sql.OpenDB(cluster.Connector())
	defer db.Close()

	if _, err := db.ExecContext(ctx, "UPDATE kv SET value = $2 WHERE key = $1", "likes", 7); err != nil {
		log.Fatal(err)
	}
	var likes int
	if err := db.QueryRowContext(ctx, "SELECT value FROM kv WHERE key = $1", "likes").Scan(&likes); err != nil {
		log.Fatal(err)
	}
	fmt.Println("likes:", likes) // though the replicas lag
	// Output: likes: 7
}

func ExampleCluster_Middleware() {
	servers := memsql.New(1)
	servers.Node(1).SetLag(time.Hour)
	cluster, err := replicate.New([]replicate.Node{
		{Name: "primary", Connector: servers.Node(0)},
		{Name: "replica", Connector: servers.Node(1)},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(cluster.Connector())
	defer db.Close()
	handler := cluster.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, err := db.ExecContext(r.Context(), "UPDATE kv SET value = $2 WHERE key = $1", "likes", 7)
			if err != nil {
				http.Error(w, "try again", http.StatusInternalServerError)
				return
			}
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		var likes int
		_ = db.QueryRowContext(r.Context(), "SELECT value FROM kv WHERE key = $1", "likes").Scan(&likes)
		fmt.Fprintln(w, "likes:", likes)
	}))

	posted := httptest.NewRecorder()
	handler.ServeHTTP(posted, httptest.NewRequest(http.MethodPost, "/", nil))
	next := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, cookie := range posted.Result().Cookies() {
		next.AddCookie(cookie) // as a browser does
	}
	page := httptest.NewRecorder()
	handler.ServeHTTP(page, next)
	fmt.Print(posted.Code, " ", page.Body)
	// Output: 303 likes: 7
}
