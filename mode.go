package uprung

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Mode says what a policy that can refuse or alter a request does with its
// decision. The zero value is [Enforce]. The usual path to production is Shadow,
// then [Percent] in growing steps, then Enforce; [Off] is the switch for the bad
// night. Policies take a new Mode while running.
//
// A Mode is one of the constants or made by Percent; a number converted to a Mode
// does not mean that many percent.
type Mode int32

const (
	// Enforce decides and acts.
	Enforce Mode = 0
	// Shadow decides and counts, and never acts.
	Shadow Mode = -1
	// Off neither decides nor acts.
	Off Mode = -2
)

// basisPoints is the whole of which Percent takes a part: a Mode from 1 to
// basisPoints-1 is the enforced share in hundredths of a percent.
const basisPoints = 10_000

// noMode is what Percent returns for a share that there is not.
const noMode Mode = math.MinInt32

// Percent enforces for p percent of the keys, 0 to 100 in steps of 0.01, and
// shadows the others. Which keys are enforced depends on the key alone: the same
// ones in every process and after every restart, and those enforced at a low
// percentage remain so at every higher one. Percent(0) is [Shadow], Percent(100)
// is [Enforce], and a p that is out of range, or nearer to 0 or 100 than one step,
// gives a Mode that [Mode.Validate] refuses.
func Percent(p float64) Mode {
	if !(p >= 0 && p <= 100) {
		return noMode
	}
	switch share := Mode(math.Round(p * basisPoints / 100)); {
	case p == 0:
		return Shadow
	case p == 100:
		return Enforce
	case share == 0 || share == basisPoints: // a step too small
		return noMode
	default:
		return share
	}
}

// Validate returns an error unless m is Enforce, Shadow, Off or a Percent from 0
// to 100.
func (m Mode) Validate() error {
	if m == noMode {
		return errors.New("uprung: mode is a Percent out of range, want one from 0 to 100 in steps of 0.01")
	}
	if m < Off || m >= basisPoints {
		return fmt.Errorf("uprung: mode is %d, want Enforce, Shadow, Off or Percent from 0 to 100 in steps of 0.01", int32(m))
	}
	return nil
}

// Enforces reports whether a decision about key is acted upon. It does not
// allocate.
func (m Mode) Enforces(key string) bool {
	switch {
	case m == Enforce:
		return true
	case m < 0:
		return false
	}
	return stickyShare(key) < uint64(m)
}

// stickyShare maps a key to 0..basisPoints-1, evenly and the same everywhere.
// It is FNV-1a followed by the 64-bit finalizer of MurmurHash3, because the high
// bits of FNV-1a alone are poor for short keys.
func stickyShare(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h % basisPoints
}

// String returns "enforce", "shadow", "off" or, for example, "2.5%".
func (m Mode) String() string {
	switch {
	case m == Enforce:
		return "enforce"
	case m == Shadow:
		return "shadow"
	case m == Off:
		return "off"
	case m > 0 && m < basisPoints:
		return strconv.FormatFloat(float64(m)*100/basisPoints, 'f', -1, 64) + "%"
	}
	return "Mode(" + strconv.Itoa(int(m)) + ")"
}

// MarshalText returns String, or an error if m is not valid.
func (m Mode) MarshalText() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads what [Mode.String] writes, in any letter case, so that a
// mode can stand in a flag or a configuration file.
func (m *Mode) UnmarshalText(text []byte) error {
	s := strings.ToLower(strings.TrimSpace(string(text)))
	switch s {
	case "enforce":
		*m = Enforce
		return nil
	case "shadow":
		*m = Shadow
		return nil
	case "off":
		*m = Off
		return nil
	}
	if number, ok := strings.CutSuffix(s, "%"); ok {
		if p, err := strconv.ParseFloat(number, 64); err == nil {
			if mode := Percent(p); mode.Validate() == nil {
				*m = mode
				return nil
			}
		}
	}
	return fmt.Errorf("uprung: mode is %q, want enforce, shadow, off or a percentage from 0%% to 100%%", text)
}
