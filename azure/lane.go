package azure

import (
	"cmp"
	"slices"
	"time"
)

// limit is a token bucket of the service: so many calls at once, and so many
// more a second. The last of them, reserve, are left to other clients of the
// same principal, and to what has to be done now.
type limit struct{ size, refill, reserve float64 }

// The limits for each principal and subscription, and for each principal in
// its tenant; a fifth is kept in reserve.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
var (
	readLimit   = limit{size: 250, refill: 25, reserve: 50}
	writeLimit  = limit{size: 200, refill: 10, reserve: 40}
	deleteLimit = limit{size: 200, refill: 10, reserve: 40}
)

// vaultLimit is the strictest of a vault's limits that can concern a TDE
// protector: 500 transactions in ten seconds, for RSA-HSM keys of 3072 bits.
// Half of it is left to the servers, which unwrap every database's key by it in
// a failover.
// Source: https://learn.microsoft.com/azure/key-vault/general/service-limits
var vaultLimit = limit{size: 500, refill: 50, reserve: 250}

const (
	// mostAtOnce bounds the calls of one kind that are under way, those in hand
	// left out: so many at most are refused before the first refusal is known.
	mostAtOnce = 16
	// longestSpell bounds for how long a refusal is remembered.
	longestSpell = 5 * time.Minute
	// slowest is the slowest pace, as a part of the documented one.
	slowest = 1.0 / 64
)

// lane is the budget of one kind of call as this process knows it, with the
// calls that wait for their turn. It is guarded by its budget.
type lane struct {
	of    string // such as: reads of subscription 0000…
	limit limit

	tokens float64 // at the moment at, which lies ahead while the lane is shut
	at     time.Time
	rate   float64 // tokens a second

	shut  time.Time // the service wants no call before
	wary  time.Time // a refusal is remembered until then
	spell time.Duration

	sent    uint64 // calls so far
	heard   uint64 // the call whose answer the tokens rest on
	refused uint64 // the last call that was sent when a refusal was noticed
	pending int    // sent, and not answered
	others  int    // of them, those that are not in hand

	hand, rest []*ticket // that wait, the oldest call first
}

func newLane(of string, l limit, now time.Time) *lane {
	return &lane{of: of, limit: l, tokens: l.size, at: now, rate: l.refill}
}

// fill adds what has flowed in since.
func (l *lane) fill(now time.Time) {
	if now.After(l.at) {
		l.tokens = min(l.limit.size, l.tokens+now.Sub(l.at).Seconds()*l.rate)
		l.at = now
	}
	if !now.Before(l.wary) {
		l.rate = l.limit.refill
	}
}

// floor is what must be left in the bucket: nothing by calls in hand, the
// reserve by others. At a slower pace it is smaller, so that it fills up again in
// the same time.
func (l *lane) floor(hand bool) float64 {
	if hand {
		return 0
	}
	return l.limit.reserve * l.rate / l.limit.refill
}

// until is how long the bucket takes to let the call through that stands at a
// place of its queue, counted from 0.
func (l *lane) until(now time.Time, hand bool, place int) time.Duration {
	wait := max(l.shut.Sub(now), 0)
	if missing := l.floor(hand) + float64(place) + 1 - l.tokens; missing > 0 {
		filled := max(l.at.Sub(now), 0) + time.Duration(missing/l.rate*float64(time.Second)) + 1
		wait = max(wait, filled)
	}
	return wait
}

// queue is where calls wait, in hand or not.
func (l *lane) queue(hand bool) *[]*ticket {
	if hand {
		return &l.hand
	}
	return &l.rest
}

// join has a call wait, behind those that are older.
func (l *lane) join(t *ticket) {
	queue := l.queue(t.hand)
	place, _ := slices.BinarySearchFunc(*queue, t.number, func(other *ticket, number uint64) int { return cmp.Compare(other.number, number) })
	*queue = slices.Insert(*queue, place, t)
	t.ready = make(chan struct{})
}

// leave takes a call out of its queue.
func (l *lane) leave(t *ticket) {
	queue := l.queue(t.hand)
	*queue = slices.DeleteFunc(*queue, func(other *ticket) bool { return other == t })
}

// letGo lets those through whose turn it is.
func (l *lane) letGo(now time.Time, hand bool) {
	queue := l.queue(hand)
	for len(*queue) > 0 && (hand || l.others < mostAtOnce) && l.until(now, hand, 0) == 0 {
		t := (*queue)[0]
		*queue = (*queue)[1:]
		l.tokens--
		l.pending++
		if !hand {
			l.others++
		}
		l.sent++
		t.turn = l.sent
		close(t.ready)
	}
}

// answered takes a call's answer: how many calls the service says are left,
// negative where it does not say. Calls that are under way may not be in that
// number. Of two answers the one to the later call counts, and after a refusal a
// high number is not believed for a while: another limit has been met.
func (l *lane) answered(now time.Time, t *ticket, left float64) {
	l.fill(now)
	if left < 0 {
		return
	}
	tokens := left - float64(l.pending)
	if t.turn < l.heard || now.Before(l.wary) {
		l.tokens = min(l.tokens, tokens)
		return
	}
	l.heard, l.tokens, l.limit.size = t.turn, tokens, max(l.limit.size, left)
}

// refuse takes a refusal: nobody calls until the service wants to be called
// again, and then at the documented pace; at half of it where the service does
// not say that its bucket is empty, since that is a limit that it tells nothing
// of; and at half of what it was where that pace was too fast.
func (l *lane) refuse(now time.Time, t *ticket, pause time.Duration, left float64) {
	l.fill(now)
	if until := now.Add(pause); until.After(l.shut) {
		l.shut = until
	}
	if t.turn > l.refused { // else it was under way when another was refused
		l.refused = l.sent
		if now.Before(l.wary.Add(l.spell)) {
			l.spell = min(2*l.spell, longestSpell)
			l.rate = max(l.rate/2, l.limit.refill*slowest)
		} else {
			l.spell = time.Duration(l.limit.size / l.limit.refill * float64(time.Second))
			if left < 0 || left >= l.limit.reserve {
				l.rate = l.limit.refill / 2
			}
		}
	}
	l.wary = l.shut.Add(l.spell)
	l.tokens, l.at = 1, l.shut
}
