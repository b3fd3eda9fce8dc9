package engine

import "sync"

const cacheShards = 8

// pageID names one version of a page: a page's sum tells its versions apart.
type pageID struct {
	number uint32
	sum    uint64
}

// pageCache keeps decrypted pages, in memory alone. What goes when it is full is found by the clock algorithm.
type pageCache struct{ shards [cacheShards]cacheShard }

type cacheShard struct {
	mu     sync.Mutex
	limit  int
	hand   int
	frames []frame
	index  map[pageID]int
}

type frame struct {
	id   pageID
	used bool
	page []byte
}

func newPageCache(pages int) *pageCache {
	c := &pageCache{}
	for i := range c.shards {
		c.shards[i] = cacheShard{limit: max(1, pages/cacheShards), index: map[pageID]int{}}
	}
	return c
}

// get copies from the page at off to dst.
func (c *pageCache) get(id pageID, off int, dst []byte) bool {
	s := &c.shards[id.number%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[id]
	if !ok {
		return false
	}
	s.frames[i].used = true
	copy(dst, s.frames[i].page[off:])
	return true
}

// has reports whether a page is there.
func (c *pageCache) has(id pageID) bool {
	s := &c.shards[id.number%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.index[id]
	return ok
}

// put keeps a copy of the page.
func (c *pageCache) put(id pageID, page []byte) {
	s := &c.shards[id.number%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.index[id]; ok {
		return
	}
	i := s.free()
	f := &s.frames[i]
	f.id, f.used = id, false
	copy(f.page, page)
	s.index[id] = i
}

// free gives a frame to fill.
func (s *cacheShard) free() int {
	if len(s.frames) < s.limit {
		s.frames = append(s.frames, frame{page: make([]byte, PageSize)})
		return len(s.frames) - 1
	}
	for {
		f := &s.frames[s.hand]
		i := s.hand
		s.hand = (s.hand + 1) % len(s.frames)
		if !f.used {
			delete(s.index, f.id)
			return i
		}
		f.used = false
	}
}

// clear forgets the pages and overwrites them.
func (c *pageCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, f := range s.frames {
			clear(f.page)
		}
		s.frames, s.index, s.hand = nil, map[pageID]int{}, 0
		s.mu.Unlock()
	}
}
