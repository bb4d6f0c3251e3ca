package redisx

import (
	"strings"
	"sync"
)

// slots is the number of those of a cluster.
const slots = 16384

// Slot returns the slot of a key in a cluster: CRC16 (XMODEM) of what is between its first
// braces, if that is not empty, and else of all of it (Redis Cluster specification, Key
// distribution model and Hash tags).
func Slot(key string) uint16 {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc = crc<<8 ^ crcTable()[byte(crc>>8)^key[i]]
	}
	return crc % slots
}

// crcTable is that of CRC16 with the polynomial 0x1021.
var crcTable = sync.OnceValue(func() *[256]uint16 {
	var table [256]uint16
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return &table
})
