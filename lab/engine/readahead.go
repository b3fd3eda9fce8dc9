package engine

import "sync/atomic"

const (
	// aheadPages is how far a scan is read ahead; aheadAfter is how many pages in a row make one.
	aheadPages = 32
	aheadAfter = 3
)

// readAhead notices that a connection reads page after page, and opens the next ones beside it.
type readAhead struct {
	last, run, until uint32
	missed           bool
	busy             atomic.Bool
}

// note is told of each page that is read, and whether it was missing in the cache.
func (a *readAhead) note(d *DB, r *root, number uint32, missed bool) {
	switch number {
	case a.last:
		return
	case a.last + 1:
		a.run++
		a.missed = a.missed || missed
	default:
		a.run, a.until, a.missed = 0, 0, missed
	}
	a.last = number
	if !a.missed || a.run < aheadAfter || number+aheadPages/2 < a.until || !a.busy.CompareAndSwap(false, true) {
		return
	}
	from := max(number+1, a.until)
	a.until = min(number+aheadPages, r.Pages) + 1
	until := a.until
	// The reader may end before this does: the state is kept for it.
	d.roots.retain(r)
	started := d.inBackground(func() {
		defer a.busy.Store(false)
		defer d.roots.release(r)
		d.fetch(r, from, until)
	})
	if !started {
		d.roots.release(r)
		a.busy.Store(false)
	}
}

// fetch brings pages into the cache. Whatever is wrong with one is told to who reads it.
func (d *DB) fetch(r *root, from, until uint32) {
	buf, _ := slotPool.Get().(*[]byte)
	defer slotPool.Put(buf)
	for number := from; number < until && !d.closed.Load(); number++ {
		id := pageID{number, d.sumAt(r, number)}
		if d.cache.has(id) {
			continue
		}
		if err := d.readSlot(r, number, *buf); err != nil {
			return
		}
		page, err := d.keys.openSlot(*buf, number)
		if err != nil {
			return
		}
		d.cache.put(id, page)
	}
}
