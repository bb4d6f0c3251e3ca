package health_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
)

func ExampleNewMonitor() {
	works := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer works.Close()

	changes := make(chan health.Change, 2)
	monitor := uprung.Must(health.NewMonitor(
		uprung.Must(health.NewHTTP(&health.HTTPOptions{Path: "/readyz"})),
		&health.MonitorOptions{
			Name:     "backends",
			Interval: 20 * time.Millisecond,
			OnChange: func(c health.Change) { changes <- c },
		}))
	err := monitor.SetTargets([]health.Target{{ID: "a", Addr: works.Listener.Addr().String()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(monitor.View().State("a"), monitor.View().Usable("a"))

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- monitor.Run(ctx) }()
	c := <-changes
	fmt.Println(c.Target.ID, "is", c.To)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// unknown true
	// a is healthy
	// <nil>
}

func ExampleMonitor_SetTargets() {
	monitor := uprung.Must(health.NewMonitor(health.TCP{}, nil))
	fmt.Println(monitor.SetTargets([]health.Target{{ID: "a"}, {ID: ""}, {ID: "a"}}))
	// Output:
	// health: targets[1].ID is empty, want the name of the target
	// health: targets[2].ID is "a", want one that no other target has, and targets[0] has it
}

func ExampleFunc() {
	ping := func(context.Context) error { return nil } // db.PingContext
	monitor := uprung.Must(health.NewMonitor(health.Func(ping), nil))
	_ = monitor.SetTargets([]health.Target{{ID: "primary"}})
	fmt.Printf("%+v\n", monitor.Stats().Unknown)
	// Output: 1
}

func ExampleNewHTTP() {
	_, err := health.NewHTTP(&health.HTTPOptions{Path: "readyz", Scheme: "ftp", MaxStatus: 500})
	fmt.Println(err)
	// Output:
	// health: HTTPOptions.Path is "readyz", want a path that begins with a slash
	// health: HTTPOptions.Scheme is "ftp", want http or https
	// health: HTTPOptions.MaxStatus is 500, want 200 to 399
}

func ExampleNewRegistry() {
	_, err := health.NewRegistry([]health.Check{{Name: "a:b", Timeout: -1}}, nil)
	fmt.Println(err)
	// Output:
	// health: checks[0].Name is "a:b", want 1 to 64 printable ASCII characters without a colon
	// health: checks[0].Probe is nil, want a function
	// health: checks[0].Timeout is -1ns, want >= 0
}

func ExampleNewScale() {
	workers := health.SaturationFunc(func() float64 { return 0.9 }) // of the pool in use
	scale := uprung.Must(health.NewScale([]health.ScaleSource{
		{Name: "workers", Saturator: workers},
		{Name: "database-connections", Saturator: health.SaturationFunc(func() float64 { return 0.4 })},
	}, &health.ScaleOptions{Replicas: func() int { return 3 }, Max: 20}))

	w := httptest.NewRecorder()
	scale.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/scale", nil))
	fmt.Print(w.Body)
	// Output: {"current":3,"saturation":0.9,"target":0.7,"desired":4,"source":"workers"}
}
