// Package run carries a plan out. For each step it reads the world, decides,
// writes its intent to the journal, makes the call, and reads the world again
// until the step's effect is seen; neither a 2xx nor an operation's Succeeded
// counts as proof. It may be interrupted or killed at any point and applied
// again: what has taken effect is recognised and not repeated. Registrations
// and grants run side by side as far as the plan's dependencies allow;
// protector changes and failovers strictly one at a time.
package run

import (
	"context"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// World is what the executor needs of Azure. All methods must be safe for
// concurrent use. Read methods have no effect; their errors are retried
// within limits.
type World interface {
	// Observe reads the whole geo-linked component, as it was read for the plan.
	Observe(ctx context.Context) (tde.Topology, error)
	// ReadProtector reads a server's active protector.
	ReadProtector(ctx context.Context, server tde.Server) (tde.Protector, error)
	// ReadKeys reads a server's registered keys, ServiceManaged left out.
	ReadKeys(ctx context.Context, server tde.Server) ([]tde.ServerKey, error)
	// ReadGroup reads a failover group from all its members, and the
	// replication links that it owns.
	ReadGroup(ctx context.Context, group tde.FailoverGroup, servers []tde.Server) (tde.FailoverGroup, []tde.ReplicationLink, error)
	// Act makes the step's call once and follows its operation to the end. It
	// calls accepted as soon as the service has taken the call. A failure is a
	// *CallError; any other error is taken as a lost reply.
	Act(ctx context.Context, step plan.Step, accepted func(Accepted) error) (Answer, error)
	// Await follows an operation that an earlier process began to its end.
	Await(ctx context.Context, step plan.Step, resumeToken string) (Answer, error)
}

// Accepted is a call that the service has taken and goes on with.
type Accepted struct {
	Operation   string
	ResumeToken string
	RequestID   string
}

// Answer is the service's word that an operation has succeeded.
type Answer struct {
	Status    int // of HTTP
	RequestID string
}

// Journal takes records. Append returns once the record is on disk; when it
// fails, nothing more is called.
type Journal interface {
	Append(record journal.Record) error
}

// Executor carries plans out. One that has been used may be used again, but not
// for two runs at once. World, Now and Wait are needed, Begin for all but dry
// runs; the rest may be left out.
type Executor struct {
	World World
	Now   func() time.Time
	// Wait returns after d, or earlier with the context's error.
	Wait func(ctx context.Context, d time.Duration) error
	// Begin is asked, once the component's servers are known and before
	// anything is written or changed, to keep other runs off them and to open
	// the journal. It gives the records that the run has already. A failure
	// that is journal.ErrHeld says that another run has a server.
	Begin func(ctx context.Context, servers []string) (Journal, []journal.Record, error)
	// Permit is asked before each call that changes something, also before one
	// that is repeated, whether the run still has the servers. A *StopError says
	// that the run is to stop for another reason.
	Permit func(ctx context.Context) error
	// Before and After are called around each step that changes something. A
	// failure of Before stops the run; one of After is a warning.
	Before, After func(ctx context.Context, step plan.Step) error
	// Agree is asked whether to go on with a new plan, which is proved, after
	// somebody else has failed over during the run; it says who agreed, and
	// nothing where nobody did. Without it the run stops.
	Agree func(ctx context.Context, why string, next plan.Plan) (by string, err error)
	// Progress is told what happens, one event at a time.
	Progress func(Event)
	// Jitter gives numbers from 0 up to 1 that spread repetitions in time.
	Jitter func() float64
	Limits Limits
}

// Options say how far to go, and when.
type Options struct {
	DryRun bool
	Until  int // the last step to carry out; 0 for all
	// HoldBefore are kinds of steps none of which is begun: the run pauses.
	HoldBefore []plan.Kind
	// Windows are when protectors may be changed and groups failed over; none
	// for always. What has to wait for one waits.
	Windows []Window
}

type permitKey struct{}

// Permitted asks, for a World that is about to send a call that changes
// something, whether the run still may; see Executor.Permit. It is safe to ask
// with any context.
func Permitted(ctx context.Context) error {
	if permit, ok := ctx.Value(permitKey{}).(func(context.Context) error); ok {
		return permit(ctx)
	}
	return nil
}

// Limits bound how long the executor waits. Zero fields take the default.
type Limits struct {
	Call   time.Duration // for one call and its operation; default 30 minutes
	Settle time.Duration // for the effect of a successful call to be seen, and for a component at rest; default 10 minutes
	Retry  time.Duration // for a service that is busy or throttles; default 15 minutes
	Grant  time.Duration // for a grant of ours to take effect; default 30 minutes
	Lost   time.Duration // for the effect of a call whose reply was lost, before it is repeated; default 10 seconds
	// UnderWay is for the effect of a change that is under way and may be ours,
	// before it is asked for again; default 2 minutes.
	UnderWay time.Duration
	Verify   time.Duration // for every DEK to be wrapped as it must; default 15 minutes
	// Stuck is how long a verification may fail for reasons that waiting does
	// not cure; default 1 minute.
	Stuck time.Duration
}

func (l Limits) withDefaults() Limits {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	set(&l.Call, 30*time.Minute)
	set(&l.Settle, 10*time.Minute)
	set(&l.Retry, 15*time.Minute)
	set(&l.Grant, 30*time.Minute)
	set(&l.Lost, 10*time.Second)
	set(&l.UnderWay, 2*time.Minute)
	set(&l.Verify, 15*time.Minute)
	set(&l.Stuck, time.Minute)
	return l
}

// Event is one thing that happened, for a person who watches.
type Event struct {
	Name     EventName
	At       time.Time
	Step     int    // number; 0 when the event belongs to none
	Server   string // where it concerns one
	Database string // where it concerns one
	Text     string // one line
}

// EventName says what kind of thing happened.
type EventName string

// The events.
const (
	Observed     EventName = "observed"
	Proved       EventName = "proved" // the rest of the plan, from what was observed
	StepStart    EventName = "step.start"
	StepAccepted EventName = "step.accepted" // the service has taken the call
	Replanned    EventName = "replanned"     // the run goes on with a new plan
	StepWait     EventName = "step.wait"     // something is waited for, or a call will be repeated
	StepDone     EventName = "step.done"
	StepStopped  EventName = "step.stopped"
	ReplicaState EventName = "replica.state" // a verification saw something new of a database on one side
	Warned       EventName = "warning"
)
