package lab

import "github.com/crosskeys/crosskeys/lab/monitor"

// Truth reads the lab's true state as it is now: what the monitor judges. No
// call of a client shows all of it.
func (l *Lab) Truth() (monitor.Snapshot, error) { return l.snapshot(l.clock.Now()) }
