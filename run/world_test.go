package run_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

var errDead = errors.New("the process has died")

// accident is what happens to one call of Act, by its place among all calls.
type accident struct {
	refuse     *run.CallError // refused after half the time, nothing happens
	lostBefore bool           // the reply is lost, nothing happens
	lostAfter  bool           // the effect happens, the reply is lost
	lostLate   time.Duration  // the reply is lost at once, the effect happens later
	silent     bool           // success is reported, nothing happens
	die        bool           // the process dies after the effect
	dieBegun   bool           // the process dies after the call was accepted; the effect comes
}

// azure is a geo-linked component in memory, with Azure's guards written down
// once more. Times are those of the bubble it runs in.
type azure struct {
	t      *testing.T
	opTime time.Duration // of every operation
	rewrap time.Duration // from a flip to the primary's DEKs, and again to the replicas
	grant  time.Duration // from a grant until it is in force

	mu         sync.Mutex
	world      *tdetest.World
	inForce    map[string]time.Time // "server vault": since when a grant holds
	accidents  map[int]accident
	calls      []string
	effects    []string
	violations []string
	flipping   int
	changes    int             // of what wraps DEKs
	busy       map[string]bool // by server: an operation is under way
	maxBusy    int             // registrations under way at once, at most
	registers  int
	dead       bool
	onEffect   func(step plan.Step, w *tdetest.World)
	readError  func() error
}

func newAzure(t *testing.T, w *tdetest.World) *azure {
	return &azure{
		t: t, world: w, opTime: 8 * time.Second, rewrap: 20 * time.Second, grant: 10 * time.Minute,
		inForce: map[string]time.Time{}, accidents: map[int]accident{}, busy: map[string]bool{},
	}
}

// life is one process's view of the component: it dies once, and everything
// that it does afterwards fails.
func (a *azure) alive() error {
	if a.dead {
		return errDead
	}
	if a.readError != nil {
		return a.readError()
	}
	return nil
}

func (a *azure) Observe(context.Context) (tde.Topology, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.world.Clone()
	c.ReadAt = time.Now()
	return c.Topology, a.alive()
}

func (a *azure) ReadProtector(_ context.Context, s tde.Server) (tde.Protector, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.world.At(s.Name).Protector, a.alive()
}

func (a *azure) ReadKeys(_ context.Context, s tde.Server) ([]tde.ServerKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.world.At(s.Name).Keys), a.alive()
}

func (a *azure) ReadGroup(_ context.Context, g tde.FailoverGroup, _ []tde.Server) (tde.FailoverGroup, []tde.ReplicationLink, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.world.Clone()
	is, _ := c.FailoverGroup(g.Name)
	var links []tde.ReplicationLink
	for _, l := range c.Links {
		if l.Group == g.Name {
			links = append(links, l)
		}
	}
	return is, links, a.alive()
}

// Act is one call: taken, carried out for a while, refused or effective.
func (a *azure) Act(ctx context.Context, s plan.Step, accepted func(run.Accepted) error) (run.Answer, error) {
	a.mu.Lock()
	if a.dead {
		a.mu.Unlock()
		return run.Answer{}, errDead
	}
	a.calls = append(a.calls, fmt.Sprintf("%s %s %s", s.Kind, s.Server, s.Key.Short()))
	happens := a.accidents[len(a.calls)]
	if a.busy[s.Server] && (s.Kind == plan.SetProtector || s.Kind == plan.PlannedFailover) {
		a.mu.Unlock()
		code := "EncryptionProtectorChangeInProgress"
		if s.Kind == plan.PlannedFailover {
			code = "FailoverGroupBusy"
		}
		return run.Answer{}, &run.CallError{Code: code, Status: 409, Retryable: true}
	}
	a.begin(s)
	a.mu.Unlock()
	switch {
	case happens.lostBefore:
		a.end(s)
		return run.Answer{}, &run.CallError{Lost: true, Err: errors.New("connection reset")}
	case happens.lostLate > 0:
		a.later(s, happens.lostLate)
		return run.Answer{}, &run.CallError{Lost: true, Err: errors.New("connection reset")}
	}
	if err := accepted(run.Accepted{Operation: string(s.Kind), ResumeToken: fmt.Sprintf("%s/%d", s.Kind, s.Number)}); err != nil {
		a.later(s, a.opTime)
		return run.Answer{}, err
	}
	if happens.dieBegun {
		a.later(s, a.opTime)
		a.mu.Lock()
		a.dead = true
		a.mu.Unlock()
		return run.Answer{}, errDead
	}
	took := a.opTime
	if happens.refuse != nil {
		took /= 2 // refused before those that were begun with it take effect, so that what is begun next has heard of it
	}
	pause(ctx, took)
	return a.finish(s, happens)
}

func (a *azure) begin(s plan.Step) {
	a.busy[s.Server] = s.Kind == plan.SetProtector || s.Kind == plan.PlannedFailover
	switch s.Kind {
	case plan.SetProtector:
		if a.flipping++; a.flipping > 1 {
			a.violations = append(a.violations, "two flips at once")
		}
	case plan.Register:
		a.registers++
		a.maxBusy = max(a.maxBusy, a.registers)
	case plan.Grant, plan.PlannedFailover, plan.VerifyEncryption:
	}
}

func (a *azure) end(s plan.Step) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended(s)
}

func (a *azure) ended(s plan.Step) {
	a.busy[s.Server] = false
	switch s.Kind {
	case plan.SetProtector:
		a.flipping--
	case plan.Register:
		a.registers--
	case plan.Grant, plan.PlannedFailover, plan.VerifyEncryption:
	}
}

func (a *azure) later(s plan.Step, d time.Duration) {
	go func() {
		pause(a.t.Context(), d)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended(s)
		_ = a.effect(s)
	}()
}

func (a *azure) finish(s plan.Step, happens accident) (run.Answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended(s)
	if happens.refuse != nil {
		return run.Answer{}, happens.refuse
	}
	if happens.silent {
		return run.Answer{Status: 200}, nil
	}
	if err := a.effect(s); err != nil {
		return run.Answer{}, err
	}
	switch {
	case happens.lostAfter:
		return run.Answer{}, &run.CallError{Lost: true, Err: errors.New("connection reset")}
	case happens.die:
		a.dead = true
		return run.Answer{}, errDead
	}
	return run.Answer{Status: 200, RequestID: "request"}, nil
}

// Await ends when the operation that another process began has ended.
func (a *azure) Await(_ context.Context, s plan.Step, token string) (run.Answer, error) {
	if token == "" {
		return run.Answer{}, errors.New("no token")
	}
	for {
		a.mu.Lock()
		busy := a.busy[s.Server] || a.registers > 0
		a.mu.Unlock()
		if !busy {
			return run.Answer{Status: 200}, nil
		}
		pause(a.t.Context(), time.Second)
	}
}

// usable is the model's usable[s]: a grant that is in force.
func (a *azure) usable(server string, key tde.KeyID) bool {
	since, late := a.inForce[strings.ToLower(server+" "+key.Vault())]
	return a.world.MayUse(server, key) && (!late || !time.Now().Before(since))
}

func poll(code string) *run.CallError {
	return &run.CallError{Code: code, Status: 200, InPoll: true, Message: "refused", Hint: "do what the message says"}
}

// effect applies the step's guards and then the step; a.mu is held.
func (a *azure) effect(s plan.Step) error {
	if err := a.refusal(s); err != nil {
		return err
	}
	w := a.world
	switch s.Kind {
	case plan.Grant:
		w.Grant(s.Server, s.VaultName)
		a.inForce[strings.ToLower(s.Server+" "+s.VaultName)] = time.Now().Add(a.grant)
	case plan.Register:
		w.Register(s.Server, s.Key)
	case plan.SetProtector:
		w.SetProtector(s.Server, s.Key, s.AutoRotation)
		a.propagate()
	case plan.PlannedFailover:
		w.Failover(s.Group, s.Server)
		a.propagate()
	case plan.VerifyEncryption:
	}
	a.effects = append(a.effects, fmt.Sprintf("%s %s %s", s.Kind, s.Server, s.Key.Short()))
	a.violations = append(a.violations, a.rules()...)
	if a.onEffect != nil {
		a.onEffect(s, w)
	}
	return nil
}

func (a *azure) refusal(s plan.Step) error {
	w := a.world
	switch s.Kind {
	case plan.Register:
		if !a.usable(s.Server, s.Key) {
			return poll("AzureKeyVaultMissingPermissions")
		}
	case plan.SetProtector:
		if s.Key.IsZero() {
			return nil
		}
		if _, listed := w.At(s.Server).Registered(s.Key); !listed {
			return &run.CallError{Code: "ServerKeyNotFound", Status: 404}
		}
		for _, partner := range w.Partners(s.Server) {
			if _, listed := w.At(partner).Registered(s.Key); !listed || !a.usable(partner, s.Key) {
				return poll("SameKeyMaterialNotFoundOnRemoteServer")
			}
		}
	case plan.PlannedFailover:
		g, _ := w.FailoverGroup(s.Group)
		if g.Primary() == s.Server {
			return &run.CallError{Code: "FailoverGroupFailoverRequestOnPrimary", Status: 400}
		}
		for _, l := range w.Links {
			if l.State != tde.StateCatchUp {
				return poll("PlannedFailoverTimedOutForDatabase")
			}
		}
	case plan.Grant, plan.VerifyEncryption:
	}
	return nil
}

// propagate lets the DEKs follow the newest change, each side after a while.
func (a *azure) propagate() {
	a.changes++
	change := a.changes
	go func() {
		pause(a.t.Context(), 2*a.rewrap)
		a.mu.Lock()
		defer a.mu.Unlock()
		if change == a.changes {
			a.world.Settle()
		}
	}()
}

// rules are Open and Next.
func (a *azure) rules() []string {
	var broken []string
	w := a.world
	opens := func(server string, thumbprint tde.Thumbprint) bool {
		return slices.ContainsFunc(w.At(server).Keys, func(k tde.ServerKey) bool { return k.Thumbprint == thumbprint && a.usable(server, k.Key) })
	}
	for _, s := range w.Servers {
		for _, server := range append(w.Partners(s.Name), s.Name) {
			if !s.Protector.ServiceManaged() && !opens(server, s.Protector.Thumbprint) {
				broken = append(broken, fmt.Sprintf("Next: %s cannot open %s of %s", server, s.Protector.Key.Short(), s.Name))
			}
			for _, d := range s.Databases {
				if e := d.Encryption; e != nil && e.EncryptorType == tde.EncryptorAsymmetricKey && !opens(server, e.Thumbprint) {
					broken = append(broken, fmt.Sprintf("Open: %s cannot open %s of %s", server, d.Name, s.Name))
				}
			}
		}
	}
	return broken
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// paper is a journal in memory that dies after a number of records.
type paper struct {
	azure   *azure
	mu      sync.Mutex
	records []journal.Record
	left    int // how many more records can be written; negative for any number
}

func (p *paper) Append(r journal.Record) error {
	p.azure.mu.Lock()
	dead := p.azure.dead
	p.azure.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if dead || p.left == 0 {
		return errDead
	}
	p.left--
	r.At = time.Now()
	p.records = append(p.records, r)
	if p.left == 0 { // on disk, and then the process dies
		p.azure.mu.Lock()
		p.azure.dead = true
		p.azure.mu.Unlock()
		return errDead
	}
	return nil
}

func (p *paper) of(kind journal.Kind) []journal.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.records), func(r journal.Record) bool { return r.Kind != kind })
}
