package shard

const (
	// lineLen is the number of points of a line: 16 of 4 bytes fill a cache line.
	lineLen = 16
	// lineLoad bounds the average number of points in an interval. With 10 of them,
	// one lookup in 300 meets an interval that has more than its line holds.
	lineLoad = 10

	fractionBits = 15
	lowest       = 0x0001_0001_0001_0001 // the lowest bit of each lane
	guards       = lowest << fractionBits
)

// line is what a lookup reads of a ring: the points of one interval, as far as they
// have room, in one line of the processor's cache. Fifteen bits of each point,
// those below the bits that number the interval, tell apart nearly all; a lookup
// that needs more reads the points themselves.
type line struct {
	// fractions are sorted, in lanes of 16 bits of which the highest is clear. Those
	// after the last point are all ones.
	fractions [lineLen / 4]uint64
	// owners are those of the points, and then that of the point that follows.
	owners [lineLen]uint16
}

// noPoints are the fractions of a line without points.
var noPoints = [lineLen / 4]uint64{^uint64(guards), ^uint64(guards), ^uint64(guards), ^uint64(guards)}

// set puts a point into the line, which has none there yet.
func (l *line) set(i int, fraction uint64, owner uint16) {
	l.fractions[i/4%4] ^= (fraction ^ (1<<fractionBits - 1)) << (i % 4 * 16)
	l.owners[i] = owner
}

// below returns how many points are below fraction.
func (l *line) below(fraction uint64) uint {
	// Each lane is compared by a subtraction that borrows from its guard, and the
	// guards that are left are summed in the highest lane of a product.
	q := fraction * lowest
	sum := ((l.fractions[0]|guards)-q)>>fractionBits&lowest +
		((l.fractions[1]|guards)-q)>>fractionBits&lowest +
		((l.fractions[2]|guards)-q)>>fractionBits&lowest +
		((l.fractions[3]|guards)-q)>>fractionBits&lowest
	return lineLen - uint(sum*lowest>>48)
}

// fraction returns that of a point.
func (l *line) fraction(i uint) uint64 {
	return l.fractions[i/4%4] >> (i % 4 * 16) & (1<<fractionBits - 1)
}
