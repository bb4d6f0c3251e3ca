package proxy

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU time that Linux tells programs, on all its platforms.
const tick = 10 * time.Millisecond

// cpuTime returns the CPU time that a process and its children have used, or false
// where the system does not tell as Linux does.
func (p *process) cpuTime() (time.Duration, bool) {
	pid := p.cmd.Process.Pid
	sum, ok := cpuTimeOf(pid)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return sum, ok
	}
	for field := range bytes.FieldsSeq(children) {
		child, err := strconv.Atoi(string(field))
		if err != nil {
			return 0, false
		}
		used, _ := cpuTimeOf(child) // one that has ended does no work
		sum += used
	}
	return sum, ok
}

// cpuTimeOf returns that of one process (proc(5), /proc/pid/stat).
func cpuTimeOf(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name of the program, in parentheses, may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // numbered from 1 there, and the third is the first here
	if len(fields) <= stime {
		return 0, false
	}
	sum := time.Duration(0)
	for _, field := range fields[utime : stime+1] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, false
		}
		sum += time.Duration(ticks) * tick
	}
	return sum, true
}
