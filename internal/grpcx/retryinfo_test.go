package grpcx

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

// with returns an error with a detail.
func with(typeURL string, value []byte) error {
	p := status.New(codes.Unavailable, "").Proto()
	detail := newOf(p.Details)
	detail.TypeUrl, detail.Value = typeURL, value
	p.Details = append(p.Details, detail)
	return status.FromProto(p).Err()
}

func TestRetryAfterOfATrailer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		said  []string
		want  time.Duration
		asked bool
	}{
		{nil, 0, false},
		{[]string{"0"}, 0, true},
		{[]string{"1500"}, 1500 * time.Millisecond, true},
		{[]string{"2147483647"}, math.MaxInt32 * time.Millisecond, true},
		{[]string{"2147483648"}, uprung.Never, true},
		{[]string{"-1"}, uprung.Never, true},
		{[]string{""}, uprung.Never, true},
		{[]string{"soon"}, uprung.Never, true},
		{[]string{"1", "2"}, uprung.Never, true},
	} {
		got, asked := RetryAfter(nil, metadata.MD{pushback: tt.said})
		if got != tt.want || asked != tt.asked {
			t.Errorf("%q: %v, %v, want %v, %v", tt.said, got, asked, tt.want, tt.asked)
		}
	}
	// It comes before the detail.
	later := Refuse(codes.Unavailable, &uprung.Rejection{RetryAfter: time.Minute})
	if got, _ := RetryAfter(later, metadata.Pairs(pushback, "20")); got != 20*time.Millisecond {
		t.Errorf("got %v, want what the trailer says", got)
	}
}

// The messages were encoded by hand, after the specification.
func TestRetryAfterOfADetail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		value []byte
		want  time.Duration
		asked bool
	}{
		{"1.5s", []byte{0x0a, 8, 0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01}, 1500 * time.Millisecond, true},
		{"300s", []byte{0x0a, 3, 0x08, 0xac, 0x02}, 300 * time.Second, true},
		{"nanoseconds first", []byte{0x0a, 4, 0x10, 5, 0x08, 1}, time.Second + 5, true},
		{"0s", []byte{0x0a, 0}, 0, true},
		{"-1s", []byte{0x0a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 0, true},
		{"too many nanoseconds", []byte{0x0a, 6, 0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03}, 0, true},
		{"longest", []byte{0x0a, 10, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, math.MaxInt64, true},
		{"the last one counts", []byte{0x0a, 2, 0x08, 1, 0x0a, 2, 0x08, 2}, 2 * time.Second, true},
		{"among unknown fields", []byte{0x10, 5, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 2, 0x08, 1, 0x25, 1, 2, 3, 4, 0x2a, 1, 0}, time.Second, true},
		{"empty", nil, 0, false},
		{"cut", []byte{0x0a, 7, 0x08, 1}, 0, false},
		{"a length that overflows", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 0, false},
		{"a tag without end", []byte{0x80}, 0, false},
		{"a number without end", []byte{0x08, 0x80}, 0, false},
		{"a group", []byte{0x0b, 0x0c}, 0, false},
		{"half of an I64", []byte{0x19, 1, 2}, 0, false},
		{"half of an I32", []byte{0x25, 1, 2}, 0, false},
	} {
		if got, asked := RetryAfter(with(retryInfo, tt.value), nil); got != tt.want || asked != tt.asked {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, got, asked, tt.want, tt.asked)
		}
	}
	other := with("type.googleapis.com/google.rpc.ErrorInfo", []byte{0x0a, 2, 0x08, 1})
	for _, err := range []error{nil, errors.New("text"), status.Error(codes.Unavailable, ""), other} {
		if got, asked := RetryAfter(err, nil); asked {
			t.Errorf("%v asks to wait %v", err, got)
		}
	}
}

func FuzzRetryInfo(f *testing.F) {
	f.Add([]byte{0x0a, 8, 0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01}, int64(1500*time.Millisecond))
	f.Add([]byte{0x19, 1, 2}, int64(1))
	f.Fuzz(func(t *testing.T, message []byte, after int64) {
		// Whatever comes, nothing breaks, and no time is below zero.
		if got, asked := RetryAfter(with(retryInfo, bytes.Clone(message)), nil); got < 0 || got > 0 && !asked {
			t.Errorf("%x: %v, %v", message, got, asked)
		}
		if after <= 0 {
			return
		}
		want := time.Duration(after)
		got, asked := RetryAfter(WithRetryInfo(status.New(codes.Unavailable, ""), want).Err(), nil)
		if whole := time.Duration(math.MaxInt64 / int64(time.Second) * int64(time.Second)); want >= whole {
			want = math.MaxInt64 // within the last second, which is rounded up
		}
		if got != want || !asked {
			t.Errorf("%v became %v, %v", want, got, asked)
		}
	})
}

func TestPushback(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after, want time.Duration
		said        bool
	}{
		{0, 0, false},
		{uprung.Never, uprung.Never, true},
		{1, time.Millisecond, true},
		{time.Millisecond, time.Millisecond, true},
		{time.Second + 1, time.Second + time.Millisecond, true},
		{math.MaxInt64, math.MaxInt32 * time.Millisecond, true},
	} {
		if got, said := RetryAfter(nil, Pushback(tt.after)); got != tt.want || said != tt.said {
			t.Errorf("%v is said as %v, %t, want %v, %t", tt.after, got, said, tt.want, tt.said)
		}
	}
}
