package monitor

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Cause is what opened an interval: a call, or, where Method is empty, an
// event.
type Cause struct {
	Time      time.Time `json:"time"`
	Method    string    `json:"method,omitempty"`
	Path      string    `json:"path,omitempty"`
	Principal string    `json:"principal,omitempty"` // object id of who called
	// Operation is the long-running operation or the task by which the call
	// took effect.
	Operation string `json:"operation,omitempty"`
	Event     string `json:"event,omitempty"`
}

// Interval is a time in which a rule did not hold.
type Interval struct {
	Breach
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"` // zero: it does not hold still
	By   Cause     `json:"by"`
}

// Still reports whether the rule does not hold now.
func (i Interval) Still() bool { return i.To.IsZero() }

// Turn is a moment at which time alone may change the truth.
type Turn struct {
	At   time.Time
	What string // what happens then; empty where a call's effect comes then
}

// Clock is the lab's.
type Clock interface {
	Now() time.Time
	WaitUntil(ctx context.Context, t time.Time) error
}

// Options are what a Monitor needs.
type Options struct {
	Clock Clock
	// Snapshot reads the truth: what is on record now, judged at a moment.
	Snapshot func(at time.Time) (Snapshot, error)
	// Turns are the turns after one moment and up to another.
	Turns func(after, until time.Time) ([]Turn, error)
	// Kept are the intervals of an earlier lab; Keep keeps them.
	Kept []Interval
	Keep func([]Interval) error
	Log  *slog.Logger
}

// Monitor watches. It is safe for concurrent use.
type Monitor struct {
	o    Options
	wake chan struct{}
	work sync.WaitGroup

	mu        sync.Mutex
	noted     uint64 // changes that were noted
	judged    uint64 // and that have been judged
	news      chan struct{}
	causes    []Cause       // of changes that have not been judged
	running   map[int]Cause // calls that have not ended
	next      int
	recent    []Cause // calls that have ended, oldest first
	changing  map[string]Changing
	overlaps  [][2]Changing // protector changes that overlapped and may be over
	intervals []Interval
	last      time.Time // of the last judgement
	alive     bool
	failed    error

	names map[string]string // URIs of keys that were seen, by thumbprint; the worker's alone
}

// maxRecent bounds the calls that are remembered for effects that come later;
// maxIntervals the intervals that are kept.
const (
	maxRecent    = 500
	maxIntervals = 10_000
)

// New makes a monitor that does nothing before Run.
func New(o Options) *Monitor {
	return &Monitor{
		o: o, wake: make(chan struct{}, 1), news: make(chan struct{}), running: map[int]Cause{}, changing: map[string]Changing{}, names: map[string]string{},
		intervals: slices.Clone(o.Kept), last: o.Clock.Now(),
	}
}

// Note says that something may have changed, in the name of a cause; nil where
// none is known.
func (m *Monitor) Note(by *Cause) {
	m.mu.Lock()
	m.note(by)
	m.mu.Unlock()
	m.nudge()
}

// note is Note for a caller that holds mu, and nudges afterwards.
func (m *Monitor) note(by *Cause) {
	m.noted++
	if by == nil {
		return
	}
	if len(m.causes) >= maxRecent {
		m.causes = m.causes[1:]
	}
	m.causes = append(m.causes, *by)
	m.remember(*by)
}

func (m *Monitor) remember(by Cause) {
	if n := len(m.recent); n > 0 && m.recent[n-1] == by {
		return
	}
	if len(m.recent) >= maxRecent {
		m.recent = m.recent[1:]
	}
	m.recent = append(m.recent, by)
}

// Begin says that a call that may change something is under way; the function
// that it gives notes its end.
func (m *Monitor) Begin(by Cause) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.next
	m.next++
	m.running[id] = by
	return func() {
		m.mu.Lock()
		delete(m.running, id)
		m.note(&by) // at once: a judgement in between would know of no call
		m.mu.Unlock()
		m.nudge()
	}
}

// Change says that a server's protector change has begun, by the operation's
// id.
func (m *Monitor) Change(id, server string, by *Cause) {
	m.mu.Lock()
	now := Changing{Server: server, Began: m.o.Clock.Now()}
	for _, other := range m.changing {
		m.overlaps = append(m.overlaps, [2]Changing{other, now})
	}
	m.changing[id] = now
	m.mu.Unlock()
	m.Note(by)
}

// Changed says that it has ended.
func (m *Monitor) Changed(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.changing, id)
}

func (m *Monitor) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Settle waits until what was noted so far has been judged, but not longer than
// limit, in the machine's time. It returns at once when the monitor does not
// run.
func (m *Monitor) Settle(limit time.Duration) {
	late := time.NewTimer(limit)
	defer late.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for until := m.noted; m.alive && m.judged < until; {
		news := m.news
		m.mu.Unlock()
		select {
		case <-news:
			m.mu.Lock()
		case <-late.C:
			m.mu.Lock()
			return
		}
	}
}

// Intervals are all that were found, oldest first, and the error by which the
// monitor last failed to see, nil when it sees.
func (m *Monitor) Intervals() ([]Interval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Interval{}, m.intervals...), m.failed
}

// Next is closed when the intervals change, or something has been judged.
func (m *Monitor) Next() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.news
}

// tick is the longest time between two judgements, in the lab's time: logs are
// truncated and backups expire without anybody's call.
const tick = time.Minute

// Run judges in the background until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	m.mu.Lock()
	m.alive = true
	m.mu.Unlock()
	m.work.Go(func() {
		defer m.die()
		for ctx.Err() == nil {
			m.round()
			m.rest(ctx)
		}
	})
}

// Wait returns when Run's work has ended.
func (m *Monitor) Wait() { m.work.Wait() }

func (m *Monitor) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive = false
	m.tell()
}

// tell wakes who waits. The caller holds mu.
func (m *Monitor) tell() {
	close(m.news)
	m.news = make(chan struct{})
}

// rest waits until something is noted, or time brings something.
func (m *Monitor) rest(ctx context.Context) {
	now := m.o.Clock.Now()
	until := now.Add(tick)
	if turns, err := m.o.Turns(now, until); err == nil && len(turns) > 0 {
		until = slices.MinFunc(turns, func(a, b Turn) int { return a.At.Compare(b.At) }).At
	}
	waiting, cancel := context.WithCancel(ctx)
	due := make(chan struct{})
	go func() {
		defer close(due)
		_ = m.o.Clock.WaitUntil(waiting, until) // it ended: that is all that matters
	}()
	select {
	case <-due:
	case <-m.wake:
	}
	cancel()
	<-due
}

// round judges the turns that have passed since the last round, and then the
// moment that is.
func (m *Monitor) round() {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	now := m.o.Clock.Now()
	turns, err := m.o.Turns(last, now)
	if err != nil {
		m.blind(err)
		return
	}
	for _, turn := range merged(turns) {
		m.judge(turn.At, &turn)
	}
	m.judge(now, nil)
}

// merged makes one turn of all that are at one moment, in order of time.
func merged(turns []Turn) (list []Turn) {
	slices.SortStableFunc(turns, func(a, b Turn) int { return a.At.Compare(b.At) })
	for _, turn := range turns {
		n := len(list) - 1
		switch {
		case n < 0 || !list[n].At.Equal(turn.At):
			list = append(list, turn)
		case list[n].What == "":
			list[n].What = turn.What
		case turn.What != "":
			list[n].What += "; " + turn.What
		}
	}
	return list
}

// tries bounds how often a snapshot is taken anew while changes go on.
const tries = 3

// judge judges one moment. At a turn, what calls have changed since is left to
// the judgement of the present.
func (m *Monitor) judge(at time.Time, turn *Turn) {
	var snapshot Snapshot
	var until uint64
	still := false
	for range tries {
		m.mu.Lock()
		until = m.noted
		m.mu.Unlock()
		var err error
		if snapshot, err = m.o.Snapshot(at); err != nil {
			m.blind(err)
			return
		}
		m.mu.Lock()
		still = m.noted == until
		m.mu.Unlock()
		if still {
			break
		}
	}
	m.mu.Lock()
	snapshot.Changing = m.changingNow()
	causes := m.candidates()
	overlaps := m.overlaps
	if turn == nil {
		m.overlaps = nil
	}
	if turn == nil && still && m.noted == until {
		m.causes = nil // all that they did is in the snapshot
	}
	m.mu.Unlock()
	found := Judge(snapshot)
	for _, pair := range overlaps {
		brief := snapshot
		brief.Changing = pair[:]
		found = append(found, judgeOne(brief, byName(snapshot))...)
	}
	m.record(at, m.named(snapshot, found), causes, turn, until)
}

// named gives the keys that breaches know by their thumbprints their URIs,
// also when no server has them registered any more.
func (m *Monitor) named(s Snapshot, found []Breach) []Breach {
	for _, server := range s.Servers {
		for _, key := range server.Keys {
			if m.names[key.Thumbprint] == "" {
				m.names[key.Thumbprint] = key.URI
			}
		}
	}
	for i, breach := range found {
		if uri := m.names[breach.Key]; uri != "" {
			found[i].Key = uri
		}
	}
	return found
}

func byName(s Snapshot) map[string]Server {
	servers := map[string]Server{}
	for _, server := range s.Servers {
		servers[server.Name] = server
	}
	return servers
}

func (m *Monitor) changingNow() []Changing {
	list := make([]Changing, 0, len(m.changing))
	for _, each := range m.changing {
		list = append(list, each)
	}
	slices.SortFunc(list, func(a, b Changing) int { return cmp.Or(a.Began.Compare(b.Began), strings.Compare(a.Server, b.Server)) })
	return list
}

// candidates are the causes of what is judged next: those noted, and the calls
// that run.
func (m *Monitor) candidates() []Cause {
	list := slices.Clone(m.causes)
	for _, by := range m.running {
		list = append(list, by)
	}
	return list
}

// blind notes that the truth could not be read.
func (m *Monitor) blind(err error) {
	m.o.Log.Error("monitor.blind", "error", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed, m.judged = err, m.noted
	m.tell()
}
