package azure

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// budget is a policy that keeps to what the service lets a principal call: the
// last of it is left to other clients, a refusal holds back every call of its
// kind until the service wants to be called again, and what only looks gives
// way to a change that is in hand. It repeats nothing: that is the SDK's, whose
// repetitions pass through it like any other call. It is safe for concurrent
// use.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
type budget struct {
	now func() time.Time
	// pause waits for the duration, or less where woken is closed or the context
	// ends.
	pause func(ctx context.Context, d time.Duration, woken <-chan struct{})
	log   *slog.Logger

	mu      sync.Mutex
	tickets uint64
	scopes  map[string]*scope
}

// scope is what calls share whose limits are counted together: a subscription,
// the tenant, or a vault.
type scope struct {
	lanes []*lane
	yield time.Time // until then, what only looks waits for a change that was refused
}

// ticket is a call in its turn. A call that the SDK repeats keeps its number.
type ticket struct {
	number uint64
	began  time.Time
	change bool // it may change something
	hand   bool // it does, or it belongs to something that does
	ready  chan struct{}
	turn   uint64 // of its lane
	sent   bool   // it may have taken effect
	held   *BudgetError
}

type (
	ticketKey struct{}
	handKey   struct{}
)

// InHand gives a context whose calls belong to a change that is being made:
// they do not wait for others that only look, and may use up what is kept in
// reserve.
func InHand(ctx context.Context) context.Context { return context.WithValue(ctx, handKey{}, true) }

const (
	// longestWait bounds how long one call waits for its turn. Who made it may
	// make it again.
	longestWait = 2 * time.Minute
	// look is how often a waiting call looks whether its turn has come.
	look = time.Second
	// silent is how long a call may wait without a word in the log.
	silent = time.Second
	// unsaid is how long a refusal holds that does not say so.
	unsaid = time.Second
)

func newBudget(now func() time.Time, log *slog.Logger) *budget {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &budget{now: now, pause: pauseFor, log: log, scopes: map[string]*scope{}}
}

func pauseFor(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-woken:
	case <-timer.C:
	}
}

// Do sends the request when it is its turn.
func (b *budget) Do(request *policy.Request) (*http.Response, error) {
	raw := request.Raw()
	t, numbered := raw.Context().Value(ticketKey{}).(*ticket)
	if !numbered {
		t = b.number(raw)
	}
	s, l := b.laneOf(raw)
	if err := b.take(raw.Context(), s, l, t); err != nil {
		return nil, err
	}
	answer, err := request.Next()
	b.settle(raw.Context(), s, l, t, answer)
	return answer, err
}

// numbering gives each call its place among the others, before the SDK begins
// to repeat it.
type numbering struct{ budget *budget }

// Do sends the request. One whose time ended while it was held back says so.
func (n numbering) Do(request *policy.Request) (*http.Response, error) {
	raw := request.Raw()
	t := n.budget.number(raw)
	answer, err := request.WithContext(context.WithValue(raw.Context(), ticketKey{}, t)).Next()
	if t.held != nil && errors.Is(err, context.DeadlineExceeded) {
		held := *t.held
		held.Err = err
		return answer, &held
	}
	return answer, err
}

func (b *budget) number(r *http.Request) *ticket {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tickets++
	change := isChange(r.Method)
	return &ticket{number: b.tickets, began: b.now(), change: change, hand: change || r.Context().Value(handKey{}) != nil}
}

func isChange(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// laneOf finds the limit that a request counts for. The data plane of a vault
// has one for all requests, Resource Manager one for each kind.
func (b *budget) laneOf(r *http.Request) (*scope, *lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, kind := scopeOf(r)
	s, known := b.scopes[name]
	if !known {
		now := b.now()
		s = &scope{}
		if kind < 0 {
			s.lanes = []*lane{newLane("requests of "+name, vaultLimit, now)}
		} else {
			s.lanes = []*lane{newLane("reads of "+name, readLimit, now), newLane("writes of "+name, writeLimit, now), newLane("deletes of "+name, deleteLimit, now)}
		}
		b.scopes[name] = s
	}
	return s, s.lanes[max(kind, 0)]
}

// scopeOf names what a request's limit is counted for: a subscription or the
// tenant, with the kind of request; or a vault, with -1.
func scopeOf(r *http.Request) (name string, kind int) {
	segments := strings.SplitN(strings.ToLower(strings.Trim(r.URL.Path, "/")), "/", 3)
	switch segments[0] {
	case "subscriptions":
		name = "the tenant"
		if len(segments) > 1 {
			name = "subscription " + segments[1]
		}
	case "providers", "tenants":
		name = "the tenant"
	default:
		return "vault " + strings.ToLower(r.URL.Hostname()), -1
	}
	switch {
	case !isChange(r.Method):
		return name, 0
	case r.Method == http.MethodDelete:
		return name, 2
	}
	return name, 1
}

// take waits for the call's turn. Its error is a *BudgetError, or the
// context's.
func (b *budget) take(ctx context.Context, s *scope, l *lane, t *ticket) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	began, told := b.now(), false
	l.join(t)
	for {
		now := b.now()
		s.admit(now)
		select {
		case <-t.ready:
			return nil
		default:
		}
		wait := s.until(now, l, t)
		t.held = &BudgetError{Of: l.of, Waited: now.Sub(t.began), Wait: wait, Refused: now.Before(l.wary) || now.Before(s.yield), Change: t.change, Attempted: t.sent}
		deadline, limited := ctx.Deadline()
		if ctx.Err() != nil || limited && now.Add(wait).After(deadline) || now.Sub(began)+wait > longestWait {
			l.leave(t)
			s.admit(now) // it may have stood before others
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return t.held
		}
		if !told && now.Sub(began)+wait > silent {
			told = true
			b.log.DebugContext(ctx, "throttle.wait", "of", l.of, "for", wait.Round(time.Millisecond), "refused", t.held.Refused, "in_hand", t.hand)
		}
		if wait == 0 || wait > look {
			wait = look // what it waits for has no time, or may change
		}
		b.mu.Unlock()
		b.pause(ctx, wait, t.ready)
		b.mu.Lock()
	}
}

// settle takes what the answer says of the budget, and lets others go.
func (b *budget) settle(ctx context.Context, s *scope, l *lane, t *ticket, answer *http.Response) {
	left, refused, pause := -1.0, false, time.Duration(0)
	if answer != nil {
		left, refused, pause = remaining(answer.Header), isThrottled(answer), retryAfter(answer.Header)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	l.pending--
	if !t.hand {
		l.others--
	}
	t.held = nil
	if !refused {
		t.sent = true
		l.answered(now, t, left)
		s.admit(now)
		return
	}
	if pause == 0 {
		pause = unsaid
	}
	l.refuse(now, t, pause, left)
	if t.hand && l.shut.After(s.yield) {
		s.yield = l.shut
	}
	t.held = &BudgetError{Of: l.of, Waited: now.Sub(t.began), Wait: l.shut.Sub(now), Refused: true, Change: t.change, Attempted: t.sent}
	b.log.DebugContext(ctx, "throttle.refused", "of", l.of, "until", l.shut.Sub(now), "rate", l.rate)
	s.admit(now)
}

// admit lets the calls go whose turn it is: those in hand, and then, when none
// of them waits, the others.
func (s *scope) admit(now time.Time) {
	waiting := false
	for _, l := range s.lanes {
		l.fill(now)
		l.letGo(now, true)
		waiting = waiting || len(l.hand) > 0
	}
	if waiting || now.Before(s.yield) {
		return
	}
	for _, l := range s.lanes {
		l.letGo(now, false)
	}
}

// until is how long a waiting call waits at the least, as far as is known; 0
// where other calls have to end first.
func (s *scope) until(now time.Time, l *lane, t *ticket) time.Duration {
	place := 0
	for _, other := range *l.queue(t.hand) {
		if other == t {
			break
		}
		place++
	}
	wait := l.until(now, t.hand, place)
	if t.hand {
		return wait
	}
	for _, other := range s.lanes {
		for i := range other.hand {
			wait = max(wait, other.until(now, true, i))
		}
	}
	return max(wait, s.yield.Sub(now))
}
