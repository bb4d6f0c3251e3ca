package deadline_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/deadline"
)

func ExampleNew() {
	_, err := deadline.New(0, &deadline.Options{Header: "no blanks", MinRemaining: -time.Second})
	fmt.Println(err)
	// Output:
	// deadline: limit is 0s, want > 0
	// deadline: Header is "no blanks", want the name of a header field
	// deadline: MinRemaining is -1s, want >= 0
}

// Jobs carry a deadline from whoever wants their result. Those that have waited for too
// long are dropped, not done.
func ExampleDeadline_Begin() {
	jobs, err := deadline.New(time.Minute, &deadline.Options{Name: "jobs", MinRemaining: 100 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	work := func(ctx context.Context) error {
		ctx, end, err := jobs.Begin(ctx, "")
		if err != nil {
			return err
		}
		defer end()
		return ctx.Err() // do the job
	}

	fmt.Println(work(context.Background()))
	expired, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err = work(expired)
	fmt.Println(err)
	fmt.Println(errors.Is(err, deadline.ErrExpired), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// <nil>
	// deadline: not enough time is left (policy "jobs")
	// true true
}

// A handler that knows how much time it has can do without what takes too long.
func ExampleRemaining() {
	limit, err := deadline.New(50*time.Millisecond, nil)
	if err != nil {
		log.Fatal(err)
	}
	handler := limit.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left, ok := deadline.Remaining(r.Context()); ok && left < 100*time.Millisecond {
			fmt.Fprint(w, "the page, without recommendations")
			return
		}
		fmt.Fprint(w, "the page, with recommendations")
	}))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Body)
	// Output: the page, without recommendations
}

// First watch what a limit would do, then enforce it.
func ExampleDeadline_SetMode() {
	limit, err := deadline.New(time.Millisecond, &deadline.Options{Mode: uprung.Shadow})
	if err != nil {
		log.Fatal(err)
	}
	handler := limit.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		time.Sleep(10 * time.Millisecond)
	}))
	ask := func() int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Code
	}
	fmt.Println(ask(), limit.Stats().ShadowExceeded)
	if err := limit.SetMode(uprung.Enforce); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ask(), limit.Stats().Exceeded)
	// Output:
	// 200 1
	// 504 1
}
