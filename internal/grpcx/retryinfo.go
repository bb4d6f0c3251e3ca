package grpcx

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

// pushback is the field of a trailer in which a server says after how many
// milliseconds to try again, or by anything else that it is no use (gRFC A6).
const pushback = "grpc-retry-pushback-ms"

// retryInfo is the type of the detail of a status that says so.
const retryInfo = "type.googleapis.com/google.rpc.RetryInfo"

// RetryAfter returns the time after which a server wants to be tried again, as said in
// the trailer or, failing that, in a RetryInfo of the error's status, and
// [uprung.Never] if it does not want to be. It returns false if it says nothing. Either
// argument may be nil.
func RetryAfter(err error, trailer metadata.MD) (time.Duration, bool) {
	if said := trailer.Get(pushback); len(said) > 0 {
		ms, err := strconv.ParseInt(said[0], 10, 32)
		if err != nil || ms < 0 || len(said) > 1 {
			return uprung.Never, true
		}
		return time.Duration(ms) * time.Millisecond, true
	}
	s, ok := status.FromError(err)
	if !ok {
		return 0, false
	}
	for _, detail := range s.Proto().GetDetails() {
		if detail.GetTypeUrl() != retryInfo {
			continue
		}
		if delay, ok := field(detail.GetValue(), 1); ok {
			return duration(delay.bytes), true
		}
	}
	return 0, false
}

// Pushback returns the trailer by which a server says after how long to try again, in
// whole milliseconds that are not less, or that it is of no use if after is negative. It
// is empty for zero, which is not known.
func Pushback(after time.Duration) metadata.MD {
	switch {
	case after == 0:
		return nil
	case after < 0:
		return metadata.Pairs(pushback, "-1")
	}
	ms := int64(after / time.Millisecond)
	if after%time.Millisecond > 0 {
		ms++
	}
	return metadata.Pairs(pushback, strconv.FormatInt(min(ms, math.MaxInt32), 10))
}

// The few lines of protocol buffers that a RetryInfo takes are written here, so that no
// program links the messages of google.rpc, and their registration, for the one that is
// ever needed.

// value is that of a field: a number or bytes, by its wire type.
type value struct {
	number uint64
	bytes  []byte
}

// field returns the last value in a message of the field of a number, as the encoding
// wants of fields that are not repeated. It returns false if there is none, or if the
// message is malformed.
func field(message []byte, number uint64) (value, bool) {
	var last value
	found := false
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return value{}, false
		}
		message = message[n:]
		var v value
		var size int
		switch tag & 7 {
		case 0: // VARINT
			if v.number, size = binary.Uvarint(message); size <= 0 {
				return value{}, false
			}
		case 1: // I64
			size = 8
		case 2: // LEN
			length, n := binary.Uvarint(message)
			if n <= 0 || length > uint64(len(message)-n) {
				return value{}, false
			}
			size = n + int(length)
			v.bytes = message[n:size]
		case 5: // I32
			size = 4
		default:
			return value{}, false
		}
		if size > len(message) {
			return value{}, false
		}
		message = message[size:]
		if tag>>3 == number {
			last, found = v, true
		}
	}
	return last, found
}

// duration decodes a google.protobuf.Duration. One below zero is zero, and one that is
// longer than a time.Duration can be is the longest.
func duration(message []byte) time.Duration {
	seconds, _ := field(message, 1)
	nanos, _ := field(message, 2)
	s, ns := int64(seconds.number), int64(nanos.number)
	switch {
	case s < 0 || ns < 0 || ns >= int64(time.Second):
		return 0
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return time.Duration(s)*time.Second + time.Duration(ns)
}

// WithRetryInfo returns s with a detail that says when to try again, in a RetryInfo.
func WithRetryInfo(s *status.Status, after time.Duration) *status.Status {
	var delay []byte
	for i, number := range []uint64{uint64(after / time.Second), uint64(after % time.Second)} {
		if number > 0 { // zero is what is not there
			delay = binary.AppendUvarint(append(delay, byte(i+1)<<3), number)
		}
	}
	message := append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(delay))), delay...)
	p := s.Proto() // a copy
	detail := newOf(p.Details)
	detail.TypeUrl, detail.Value = retryInfo, message
	p.Details = append(p.Details, detail)
	return status.FromProto(p)
}

// newOf returns a new element of a slice whose type need not be imported.
func newOf[T any]([]*T) *T { return new(T) }
