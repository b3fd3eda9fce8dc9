package arm

import (
	"context"
	"errors"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// Origin is a call that has effects: what began an operation.
type Origin struct {
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Principal string    `json:"principal,omitempty"` // object id
}

// Hooks let the lab see and hold back operations. Each may be nil.
type Hooks struct {
	// Longer is how much longer an operation takes that begins now.
	Longer func(Operation) time.Duration
	// Stalled says that an operation whose time has come cannot go on yet.
	Stalled func(Operation) bool
	// Begun is told of each operation that is on disk, and Ended of each whose
	// effect is. Neither may wait for a transaction.
	Begun, Ended func(Operation)
}

func (h Hooks) longer(op Operation) time.Duration {
	if h.Longer == nil {
		return 0
	}
	return h.Longer(op)
}

func (h Hooks) begun(op Operation) {
	if h.Begun != nil {
		h.Begun(op)
	}
}

func (h Hooks) ended(op Operation) {
	if h.Ended != nil {
		h.Ended(op)
	}
}

// stalledPause is how long a stalled operation waits before it is looked at
// again, in the lab's time.
const stalledPause = time.Second

var errStalled = errors.New("it is stalled")

// executeOr executes an operation, or puts it off while it is stalled.
func (o *Operations) executeOr(ctx context.Context, k kind, op Operation) (Commit, error) {
	if o.hooks.Stalled != nil && o.hooks.Stalled(op) {
		return nil, &AgainError{After: stalledPause, Err: errStalled}
	}
	return k.execute(ctx, op)
}

// originOf is the call behind an operation that begins in a transaction: its
// own, or that of the operation whose effect the transaction is.
func originOf(tx *store.Tx, op Operation) *Origin {
	if op.Origin != nil {
		return op.Origin
	}
	origin, _ := tx.Cause().(*Origin)
	return origin
}

// Origin names the request as what its effects come from. The time is that of
// the lab.
func (r *Request) Origin(now time.Time) *Origin {
	return &Origin{Time: now, Method: r.HTTP.Method, Path: r.Path, Principal: r.Caller.ObjectID}
}
