package shard

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// checkpointMagic begins every state that a Mover saves, and names the version of
// its format. There follow the fingerprint of the plan, 8 bytes; the phase of each
// step, one byte ('-', 's' or 'c'); and the xxhash64 of it all, 8 bytes, big endian.
const checkpointMagic = "uprung/shard/mover/1\n"

// encode returns the state to be saved. A range whose switch is being saved
// counts as switched.
func (m *Mover) encode() []byte {
	state := make([]byte, 0, len(checkpointMagic)+8+len(m.gates)+8)
	state = append(state, checkpointMagic...)
	state = binary.BigEndian.AppendUint64(state, m.plan.fingerprint)
	for i := range m.gates {
		switch m.gates[i].phaseNow() {
		case stay, pausing:
			state = append(state, '-')
		case committing, stuck, switched:
			state = append(state, 's')
		case cleaned:
			state = append(state, 'c')
		}
	}
	return binary.BigEndian.AppendUint64(state, xxhash.Sum64(state))
}

// decode takes over a state that encode returned. An empty one is the beginning.
func (m *Mover) decode(state []byte) error {
	if len(state) == 0 {
		return nil
	}
	body, found := bytes.CutPrefix(state, []byte(checkpointMagic))
	if !found || len(body) < 16 {
		return fmt.Errorf("shard: checkpoint of %d bytes is not one of a Mover", len(state))
	}
	end := len(state) - 8
	if binary.BigEndian.Uint64(state[end:]) != xxhash.Sum64(state[:end]) {
		return fmt.Errorf("shard: checkpoint of %d bytes is damaged", len(state))
	}
	phases := body[8 : len(body)-8]
	if binary.BigEndian.Uint64(body) != m.plan.fingerprint || len(phases) != len(m.gates) {
		return fmt.Errorf("shard: checkpoint belongs to another plan, of %s, want one for this plan alone: finish that plan first, from the tables it was made of", counted(len(phases), "range"))
	}
	for i, b := range phases {
		switch b {
		case '-':
		case 's':
			m.gates[i].phase = switched
		case 'c':
			m.gates[i].phase = cleaned
		default:
			return fmt.Errorf("shard: checkpoint has phase %q for range %d, want '-', 's' or 'c'", b, i)
		}
	}
	return nil
}
