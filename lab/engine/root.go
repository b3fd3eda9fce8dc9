package engine

import (
	"sync"

	"github.com/ncruces/wbt"
)

// version is where a version of a page lies in the log: one that no checkpoint has folded into the page file yet.
type version struct {
	seg *segment
	off int64
	lsn LSN
	sum uint64
}

type pageTree = wbt.Tree[uint32, version]

// root is the state of a database after one record. It is never changed: a reader keeps the one that it began with. A
// page that is not in the tree is in the page file.
type root struct {
	tree *pageTree
	// base is the checkpoint that the tree is relative to.
	base LSN
	checkpoint
	epoch uint64
	// state, encryption's key and scan belong to the encryption scan: state is never StateProtectionChange.
	state State
	scan  uint32
}

// roots are the states that are in use.
type roots struct {
	mu sync.Mutex
	// chain begins with the last durable state and ends with the last one written; those between wait for their fsync.
	chain []*root
	live  map[*root]int
	// changed is closed, and made anew, when the durable state moves; released when a state is no longer read.
	changed, released chan struct{}
}

func newRoots(r *root) *roots {
	return &roots{chain: []*root{r}, live: map[*root]int{}, changed: make(chan struct{})}
}

// durable is the last state that is on disk.
func (s *roots) durable() *root {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain[0]
}

// head is the last state that was written.
func (s *roots) head() *root {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain[len(s.chain)-1]
}

// acquire takes the last durable state, or the head for a writer, and keeps what it needs in place.
func (s *roots) acquire(head bool) *root {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.chain[0]
	if head {
		r = s.chain[len(s.chain)-1]
	}
	s.live[r]++
	return r
}

// retain keeps a state once more that the caller has acquired.
func (s *roots) retain(r *root) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[r]++
}

func (s *roots) release(r *root) {
	if r == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[r]--; s.live[r] == 0 {
		delete(s.live, r)
		if s.released != nil {
			close(s.released)
			s.released = nil
		}
	}
}

// whenReleased gives a channel that is closed when a state is no longer read.
func (s *roots) whenReleased() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released == nil {
		s.released = make(chan struct{})
	}
	return s.released
}

func (s *roots) setHead(r *root) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chain = append(s.chain, r)
}

// setDurable publishes the states up to an LSN: their records are on disk.
func (s *roots) setDurable(lsn LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n+1 < len(s.chain) && s.chain[n+1].LSN <= lsn {
		n++
	}
	if n == 0 {
		return
	}
	s.chain = append([]*root(nil), s.chain[n:]...)
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait gives the durable state, and a channel that is closed when there is a newer one.
func (s *roots) wait() (*root, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain[0], s.changed
}

// oldest takes the state up to which a checkpoint may fold: the oldest that is read, else the last durable one.
func (s *roots) oldest() *root {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.chain[0]
	for l := range s.live {
		if l.LSN < r.LSN {
			r = l
		}
	}
	s.live[r]++
	return r
}

// floor is the LSN after which readers still need the log.
func (s *roots) floor() LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	floor := s.chain[0].base
	for _, r := range s.chain {
		floor = min(floor, r.base)
	}
	for l := range s.live {
		floor = min(floor, l.base)
	}
	return floor
}

// prune drops from the newest states what a checkpoint folded, after it called folded with the lock held.
func (s *roots) prune(done *root, folded func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	folded()
	for i, r := range s.chain {
		s.chain[i] = r.without(done)
	}
}

// without gives the state relative to the checkpoint that folded done. A version that is not newer than done is the one
// that done has, and is in the page file: folded just now, or earlier.
func (r *root) without(done *root) *root {
	next := *r
	next.base, next.tree = max(r.base, done.LSN), nil
	if r.tree == done.tree {
		return &next
	}
	for number, v := range r.tree.Ascend() {
		if v.lsn > done.LSN {
			next.tree = next.tree.Put(number, v)
		}
	}
	return &next
}
