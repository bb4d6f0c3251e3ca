package retry

import (
	"errors"
	"net"
)

// refusedStream is the code by which a server says that it has not looked at a
// request (RFC 9113, section 8.7).
const refusedStream = 7

// streamError has the form of the error of that name in golang.org/x/net/http2, to
// which that of net/http, which is not exported, converts itself for errors.As.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "" }

// goingAway is the text of the error of net/http for a request that the server did
// not look at before it said GOAWAY (RFC 9113, section 6.8). It has no type.
const goingAway = "http2: Transport received Server's graceful shutdown GOAWAY"

// unsent reports whether a request certainly was not seen by a server: to repeat it
// is harmless, whatever it was for.
func unsent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	if stream, ok := errors.AsType[streamError](err); ok && stream.Code == refusedStream {
		return true
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if err.Error() == goingAway {
			return true
		}
	}
	return false
}
