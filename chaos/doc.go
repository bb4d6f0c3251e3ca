// Package chaos injects faults into a program's own requests, so that a team rehearses
// its outages before they come: delays, errors, resets, and bodies that are slow, cut
// off or damaged, in handlers, transports and database drivers.
//
// It acts inside one program, where it knows whole requests. Where connections between
// machines are to break, or a program that is not yours, use a proxy such as Toxiproxy,
// or the network's own tools.
//
// # The shortest path
//
//	faults := []chaos.Fault{{Name: "slow-orders", Share: 0.1, Delay: chaos.Fixed(2 * time.Second)}}
//	injector, err := chaos.New(faults, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	client := &http.Client{Transport: injector.Transport(http.DefaultTransport)}
//	...
//	err = injector.Arm(5 * time.Minute) // until then, nothing is injected
//
// # Choosing
//
//	what is to be rehearsed                 fault
//	a slow dependency                       Delay, in a transport
//	one that hangs                          Delay: Fixed(time.Hour), with a deadline before it
//	one that answers with errors            Status, or Err in a transport or a driver
//	one that is down, or restarts           Reset
//	a bad network                           Body, with Rate or Truncate
//	a shard, tenant or node that is down    Key and Share, or Match
//	a slow handler of one's own             Delay, in a middleware
//	a game day                              a [Scenario], of several in a row
//
// Chaos belongs next to what it plays: innermost of a chain of transports, below
// retries, breakers and balancers, which are what is tested. [uprung.VetTransport]
// says so if it is not.
//
// # Behavior
//
// An [Injector] is off until it is armed, for a time that has an end, and
// [Injector.Disarm] is the kill switch: requests that are being delayed go on at once.
// At most Options.MaxActive requests are in the hands of an injector at a time; those
// that come then are left alone. A request whose client leaves is let go, whatever the
// delay.
//
// Each request gets at most one fault: the first, in their order, that matches and whose
// share it falls into. With a Key the share is one of keys and not of requests: the
// same keys meet the fault each time, as when a shard is down.
//
// What is injected is told apart from what fails by itself: responses carry the field
// [MarkField], errors match [ErrInjected], and Stats counts each fault apart. Errors
// match what they play as well, such as [syscall.ECONNRESET].
//
// A client chooses faults only if Options.Trust believes it, and only those that say
// Requested, by the field [RequestField].
//
// Which requests meet a fault follows from Options.Seed and their order: with one
// caller a run can be repeated.
//
// # References
//
// Basiri et al., Chaos Engineering, IEEE Software 33(3), 2016: the practice. Fault
// filters of Envoy and Simmy (.NET) have the same faults for proxies and C#.
package chaos
