package run

import (
	"context"
	"time"
)

// pace says how long to wait before something is looked at again. It asks at
// once, and then at intervals of a twentieth of the time that has passed, so
// that a wait of any length is overrun by some five per cent only.
type pace struct {
	executor *Executor
	began    time.Time
	least    time.Duration
	most     time.Duration
}

func (e *Executor) pace(least, most time.Duration) pace {
	return pace{executor: e, began: e.Now(), least: least, most: most}
}

// readPace is for looking whether something has become true.
func (e *Executor) readPace() pace { return e.pace(50*time.Millisecond, 2*time.Second) }

// callPace is for repeating a call; what the service asks for comes first.
func (e *Executor) callPace() pace { return e.pace(100*time.Millisecond, 15*time.Second) }

func (p pace) passed() time.Duration { return p.executor.Now().Sub(p.began) }

func (p pace) interval() time.Duration { return min(max(p.passed()/20, p.least), p.most) }

// wait pauses; false says that the limit has passed already or would pass
// before anything could be seen. The error is the context's.
func (p pace) wait(ctx context.Context, limit, asked time.Duration) (bool, error) {
	d := max(p.interval(), asked)
	if p.executor.Jitter != nil {
		// Up to a quarter more, so that those who were turned away together do
		// not come back together.
		d += time.Duration(float64(d) / 4 * p.executor.Jitter())
	}
	left := limit - p.passed()
	if left <= 0 || asked > left {
		return false, nil
	}
	return true, p.executor.Wait(ctx, min(d, left))
}
