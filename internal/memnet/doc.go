// Package memnet is TCP without a kernel: listeners and connections in memory,
// for tests of servers and clients inside a [testing/synctest] bubble. A
// goroutine that waits for a real socket is not durably blocked, so that time in
// the bubble stands still; one that waits for a connection of this package is,
// and minutes of network traffic pass in milliseconds.
//
// Tests without a clock of their own are better served by a real socket on the
// loopback interface. Nothing here is for production.
//
// # The shortest path
//
//	synctest.Test(t, func(t *testing.T) {
//		listener := memnet.Listen()
//		server := &http.Server{Handler: handler}
//		go server.Serve(listener)
//		defer server.Close()
//		transport := &http.Transport{DialContext: listener.DialContext}
//		defer transport.CloseIdleConnections()
//		client := &http.Client{Transport: transport}
//		resp, err := client.Get("http://example.com/")
//		...
//	})
//
// # Behavior
//
// Make listeners and connections inside the bubble that uses them.
//
// A connection behaves as a TCP connection on the loopback interface with a
// socket buffer of 64 KiB for each direction: writes return once the bytes are in
// the buffer and block while it is full, a closed peer is io.EOF to the reader
// and EPIPE to the writer, deadlines hold for calls in progress, each direction
// can be closed alone, and errors are of type [*net.OpError] and match the same
// sentinels. It is kinder in two ways, for the sake of repeatable tests: nothing
// takes time, and a connection that is closed with bytes unread is not reset, so
// that its peer still reads what was sent before.
//
// # References
//
// The package documentation of net and of testing/synctest.
package memnet
