package key

import (
	"fmt"
	"strconv"
)

// Missing says what a consumer does with a request that has no key. The zero
// value refuses it.
type Missing uint8

const (
	// MissingRefused refuses the request, as one that does not say what it must.
	MissingRefused Missing = iota
	// MissingAdmitted lets the request pass as if the consumer were not there. It
	// is a way around a limit for every client that can leave its key out, or
	// spoil it by sending it twice: only for keys over which clients have no
	// power.
	MissingAdmitted
	// MissingShared treats all requests without a key as one party, apart from
	// every party that has one.
	MissingShared
)

// Validate returns an error unless m is one of the constants.
func (m Missing) Validate() error {
	if m > MissingShared {
		return fmt.Errorf("key: policy for a missing key is %d, want MissingRefused, MissingAdmitted or MissingShared", uint8(m))
	}
	return nil
}

// String returns "refused", "admitted" or "shared".
func (m Missing) String() string {
	switch m {
	case MissingRefused:
		return "refused"
	case MissingAdmitted:
		return "admitted"
	case MissingShared:
		return "shared"
	}
	return "Missing(" + strconv.Itoa(int(m)) + ")"
}
