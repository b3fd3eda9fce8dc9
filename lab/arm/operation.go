package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// The states of an operation, as poll answers say them.
const (
	InProgress = "InProgress"
	Succeeded  = "Succeeded"
	Failed     = "Failed"
)

// Operation is a long-running operation: accepted in one transaction,
// executed when its time has come, whether anybody polls or not, and ended in
// one transaction together with its effect. It survives a killed lab.
type Operation struct {
	ID   string `json:"id"`   // GUID
	Kind string `json:"kind"` // names the executor, such as UpsertLogicalServerEncryptionKeys
	// Announced is the name in the 202 body where it differs from Kind.
	Announced string `json:"announced,omitempty"`
	// Segment begins the last part of the operation's URLs: "serverKey" gives
	// serverKeyAzureAsyncOperation and serverKeyOperationResults. Empty for a
	// background task of the service, which has no URL.
	Segment       string `json:"segment,omitempty"`
	Provider      string `json:"provider"` // such as Microsoft.Sql
	Subscription  string `json:"subscription"`
	ResourceGroup string `json:"resourceGroup,omitempty"` // empty: the URLs are at subscription scope
	Location      string `json:"location"`                // region name
	APIVersion    string `json:"apiVersion"`
	Resource      string `json:"resource"` // id of the resource that is worked on
	// Holds names what the operation keeps busy while it runs; see Busy.
	Holds []string `json:"holds,omitempty"`
	// Takes is how long the operation runs, in the lab's time.
	Takes      time.Duration   `json:"takes"`
	RetryAfter time.Duration   `json:"retryAfter"` // Azure's pause between two polls
	StartedAt  time.Time       `json:"startedAt"`
	DueAt      time.Time       `json:"dueAt"`
	EndedAt    time.Time       `json:"endedAt"`
	Status     string          `json:"status"`
	Failure    *storedError    `json:"failure,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Attempts   int             `json:"attempts,omitempty"`
	// Origin is the call that began the operation, or the one before it in a
	// chain of tasks; nil where no call did.
	Origin *Origin `json:"origin,omitempty"`
}

// Decode reads the operation's payload.
func (op Operation) Decode(v any) error {
	if err := json.Unmarshal(op.Payload, v); err != nil {
		return fmt.Errorf("payload of operation %s: %w", op.Kind, err)
	}
	return nil
}

// Commit is an operation's effect, applied in the transaction that also marks
// the operation Succeeded. An *Error from it fails the operation and leaves
// nothing behind.
type Commit func(tx *store.Tx) error

// Executor does the slow part of an operation (network calls, checks) when
// its time has come and returns its effect; nil for none. An *Error fails the
// operation; *AgainError puts it off. It runs again after a crash, so what it does
// outside its Commit must be safe to repeat.
type Executor func(ctx context.Context, op Operation) (Commit, error)

// AgainError is returned by an Executor to be called once more after a while.
type AgainError struct {
	After time.Duration
	Err   error
}

// Error says why the operation was put off.
func (a *AgainError) Error() string { return fmt.Sprintf("again after %s: %v", a.After, a.Err) }

// Unwrap gives the reason.
func (a *AgainError) Unwrap() error { return a.Err }

// Result reads what an ended operation's Location answers: the resource, or
// nil for 204.
type Result func(tx *store.Tx, op Operation) (any, error)

type kind struct {
	execute Executor
	result  Result
}

// Operations runs the lab's long-running operations. It is safe for
// concurrent use.
type Operations struct {
	store   *store.Store
	clock   *clock.Clock
	profile latency.Profile
	newID   func() string
	log     *slog.Logger
	hooks   Hooks
	running store.Table[Operation]
	ended   store.Table[Operation]

	mu      sync.Mutex
	kinds   map[string]kind
	waiters map[string]chan struct{} // closed when the operation has ended
	ctx     context.Context          //nolint:containedctx // the lifetime of the background workers, set by Run; not a request's
	work    sync.WaitGroup
}

// OperationsOptions are what Operations needs.
type OperationsOptions struct {
	Store   *store.Store
	Clock   *clock.Clock
	Latency latency.Profile
	NewID   func() string // gives GUIDs
	Log     *slog.Logger
	Hooks   Hooks
}

// NewOperations makes the runner; Handle every kind, then Run.
func NewOperations(o OperationsOptions) *Operations {
	return &Operations{
		store: o.Store, clock: o.Clock, profile: o.Latency, newID: o.NewID, log: o.Log, hooks: o.Hooks,
		running: store.NewTable[Operation]("operations/running"),
		ended:   store.NewTable[Operation]("operations/ended"),
		kinds:   map[string]kind{}, waiters: map[string]chan struct{}{},
	}
}

// Handle names the executor and the result of a kind of operation. result may
// be nil: the Location then answers 204.
func (o *Operations) Handle(name string, execute Executor, result Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kinds[name] = kind{execute: execute, result: result}
}

// Run takes up the operations that an earlier lab left unfinished. They and
// all later ones run until ctx ends.
func (o *Operations) Run(ctx context.Context) error {
	var left []store.Entry[Operation]
	err := o.store.View(func(tx *store.Tx) (err error) {
		left, err = o.running.Scan(tx, "")
		return err
	})
	if err != nil {
		return fmt.Errorf("take up operations: %w", err)
	}
	o.mu.Lock()
	o.ctx = ctx
	o.mu.Unlock()
	for _, entry := range left {
		o.launch(entry.Record)
	}
	return nil
}

// Wait returns when every worker has stopped; call it after Run's ctx ended.
func (o *Operations) Wait() { o.work.Wait() }

// Begin accepts an operation inside the caller's transaction, so that what
// the caller writes and the acceptance are one. It starts when the
// transaction is on disk. ID, times and status are filled in.
func (o *Operations) Begin(tx *store.Tx, op Operation, payload any) (Operation, error) {
	text, err := json.Marshal(payload)
	if err != nil {
		return op, fmt.Errorf("begin operation %s: %w", op.Kind, err)
	}
	op.ID, op.Payload, op.Status = o.newID(), text, InProgress
	op.StartedAt, op.Takes = o.clock.Now(), op.Takes+o.hooks.longer(op)
	op.Origin = originOf(tx, op)
	op.DueAt = op.StartedAt.Add(op.Takes)
	for i, hold := range op.Holds {
		op.Holds[i] = strings.ToLower(hold)
	}
	if err := o.running.Put(tx, op.ID, op); err != nil {
		return op, err
	}
	tx.OnCommit(func() {
		o.hooks.begun(op)
		o.launch(op)
	})
	return op, nil
}

// Busy finds a running operation that holds what is named, without regard to
// case.
func (o *Operations) Busy(tx *store.Tx, hold string) (Operation, bool, error) {
	entries, err := o.running.Scan(tx, "")
	if err != nil {
		return Operation{}, false, err
	}
	hold = strings.ToLower(hold)
	for _, entry := range entries {
		for _, held := range entry.Record.Holds {
			if held == hold {
				return entry.Record, true, nil
			}
		}
	}
	return Operation{}, false, nil
}

// Running lists the operations that have not ended, background tasks among
// them, oldest first.
func (o *Operations) Running(tx *store.Tx) ([]Operation, error) {
	entries, err := o.running.Scan(tx, "")
	if err != nil {
		return nil, err
	}
	ops := make([]Operation, 0, len(entries))
	for _, entry := range entries {
		ops = append(ops, entry.Record)
	}
	return ops, nil
}

// Since lists the operations that run and those that ended after a moment, in
// no order.
func (o *Operations) Since(tx *store.Tx, moment time.Time) ([]Operation, error) {
	ops, err := o.Running(tx)
	if err != nil {
		return nil, err
	}
	ended, err := o.ended.Scan(tx, "")
	for _, entry := range ended {
		if entry.Record.EndedAt.After(moment) {
			ops = append(ops, entry.Record)
		}
	}
	return ops, err
}

// Refusal is why the operation failed; nil when it did not.
func (op Operation) Refusal() *Error {
	if op.Failure == nil {
		return nil
	}
	return op.Failure.refusal()
}

// Find reads an operation by id, running or ended.
func (o *Operations) Find(tx *store.Tx, id string) (Operation, bool, error) {
	op, found, err := o.running.Get(tx, id)
	if err != nil || found {
		return op, found, err
	}
	return o.ended.Get(tx, id)
}

//nolint:contextcheck // an operation outlives the request that began it
func (o *Operations) launch(op Operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx == nil || o.ctx.Err() != nil {
		return // Run takes it up, in this process or the next
	}
	if o.waiters[op.ID] == nil {
		o.waiters[op.ID] = make(chan struct{})
	}
	ctx := o.ctx
	o.work.Go(func() { o.carry(ctx, op) })
}

// carry sees one operation to its end, or to the end of ctx.
func (o *Operations) carry(ctx context.Context, op Operation) {
	for {
		if err := o.clock.WaitUntil(ctx, op.DueAt); err != nil {
			return
		}
		o.mu.Lock()
		k, known := o.kinds[op.Kind]
		o.mu.Unlock()
		if !known {
			o.log.Error("operation.unknown", "kind", op.Kind, "id", op.ID)
			return
		}
		commit, err := o.executeOr(ctx, k, op)
		if ctx.Err() != nil {
			return // stopped, not failed: the next lab executes it again
		}
		again, putOff := errors.AsType[*AgainError](err)
		if !putOff {
			o.end(op, commit, err)
			return
		}
		op.Attempts++
		op.DueAt = o.clock.Now().Add(again.After)
		o.log.Debug("operation.again", "kind", op.Kind, "id", op.ID, "after", again.After, "reason", again.Err)
		if err := o.store.Update(func(tx *store.Tx) error { return o.running.Put(tx, op.ID, op) }); err != nil {
			o.log.Error("operation.lost", "kind", op.Kind, "id", op.ID, "error", err)
			return
		}
	}
}

func (o *Operations) end(op Operation, commit Commit, failure error) {
	finish := func(tx *store.Tx) error {
		tx.SetCause(op.Origin)
		op.EndedAt = o.clock.Now()
		if err := o.running.Delete(tx, op.ID); err != nil {
			return err
		}
		return o.ended.Put(tx, op.ID, op)
	}
	if failure == nil {
		op.Status = Succeeded
		failure = o.store.Update(func(tx *store.Tx) error {
			tx.SetCause(op.Origin)
			if commit != nil {
				if err := commit(tx); err != nil {
					return err
				}
			}
			return finish(tx)
		})
	}
	if failure != nil {
		refusal := AsError(failure)
		op.Status, op.Failure = Failed, refusal.stored()
		o.log.Info("operation.failed", "kind", op.Kind, "id", op.ID, "code", refusal.Code, "error", failure)
		if err := o.store.Update(finish); err != nil {
			o.log.Error("operation.lost", "kind", op.Kind, "id", op.ID, "error", err)
		}
	}
	o.hooks.ended(op)
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.waiters[op.ID])
	delete(o.waiters, op.ID)
}

// Settle waits until the operation has ended, but not past ctx or limit, in
// the machine's time.
func (o *Operations) Settle(ctx context.Context, id string, limit time.Duration) {
	o.mu.Lock()
	ended := o.waiters[id]
	o.mu.Unlock()
	if ended == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settleLimit bounds how long an answer is held back for an operation that
// takes no time.
const settleLimit = 5 * time.Second

// Accepted answers 202 for an operation that Begin has taken, in Azure's
// shape. An operation that takes no time has ended before the answer leaves,
// so that the client's first poll finds it done.
func (o *Operations) Accepted(ctx context.Context, r *Request, op Operation) *Response {
	if op.Takes == 0 {
		o.Settle(ctx, op.ID, settleLimit)
	}
	header := http.Header{}
	header.Set("Azure-AsyncOperation", o.url(r.HTTP, op, "AzureAsyncOperation"))
	header.Set("Location", o.url(r.HTTP, op, "OperationResults"))
	o.retryAfter(header, op)
	return &Response{Status: http.StatusAccepted, Header: header, Body: struct {
		Operation string `json:"operation"`
		StartTime string `json:"startTime"`
	}{announced(op), Timestamp(op.StartedAt)}}
}

func announced(op Operation) string {
	if op.Announced != "" {
		return op.Announced
	}
	return op.Kind
}

// Timestamp prints a time as Azure SQL does: milliseconds, trailing zeros left out.
func Timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z") }

// retryAfter asks for Azure's pause. A lab that runs ahead of Azure also sends
// retry-after-ms, which Microsoft's SDKs prefer, since Retry-After cannot be
// less than a second.
func (o *Operations) retryAfter(header http.Header, op Operation) {
	if op.RetryAfter == 0 {
		return
	}
	pause := o.profile.RetryAfter(op.RetryAfter)
	seconds := max(int64((pause+time.Second-1)/time.Second), 1)
	header.Set("Retry-After", fmt.Sprint(seconds))
	if o.profile.Faster() {
		header.Set("retry-after-ms", fmt.Sprint(pause.Milliseconds()))
	}
}

func (o *Operations) url(r *http.Request, op Operation, suffix string) string {
	group := ""
	if op.ResourceGroup != "" {
		group = "/resourceGroups/" + op.ResourceGroup
	}
	return fmt.Sprintf("https://%s/subscriptions/%s%s/providers/%s/locations/%s/%s%s/%s?api-version=%s",
		r.Host, op.Subscription, group, op.Provider, op.Location, op.Segment, suffix, op.ID, op.APIVersion)
}
