package tds

import (
	"context"
	"sync"
)

// inbox reads a client's messages while its requests are worked on, so that
// an attention is seen at once.
type inbox struct {
	reader  *packetReader
	arrived chan *request // closed when the client is gone
	closed  chan struct{} // nobody takes requests any more: read and drop

	mu     sync.Mutex
	latest *request
	lost   error // why the client is gone
}

// request is a message to be worked on, and how far it has come.
type request struct {
	message
	ctx    context.Context //nolint:containedctx // it lives as long as the request, and the reader ends it
	cancel context.CancelCauseFunc

	finished  bool // nothing of its answer is to come
	attention bool // the client has cancelled it
}

func newInbox(reader *packetReader) *inbox {
	return &inbox{reader: reader, arrived: make(chan *request, 1), closed: make(chan struct{})}
}

// read reads until the client is gone.
func (b *inbox) read(ctx context.Context) {
	defer close(b.arrived)
	for {
		m, err := b.reader.next()
		if err != nil {
			b.lose(err)
			return
		}
		if m.kind == packetAttention && b.interrupt() {
			continue
		}
		r := &request{message: m}
		r.ctx, r.cancel = context.WithCancelCause(ctx)
		if m.kind != packetAttention {
			b.mu.Lock()
			b.latest = r
			b.mu.Unlock()
		}
		select {
		case b.arrived <- r:
		case <-b.closed:
			r.cancel(errGone)
		}
	}
}

// interrupt cancels the request that is being worked on. Without one the
// attention is a request of its own: it has to be acknowledged all the same.
func (b *inbox) interrupt() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest == nil || b.latest.finished {
		return false
	}
	b.latest.attention = true
	b.latest.cancel(ErrAttention)
	return true
}

// lose ends the request that is being worked on: nobody waits for it.
func (b *inbox) lose(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = err
	if b.latest != nil {
		b.latest.cancel(errGone)
	}
}

// breakOff cancels the request that is being worked on, for a reason.
func (b *inbox) breakOff(reason error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest != nil {
		b.latest.cancel(reason)
	}
}

// finish marks a request as answered but for its end, and tells whether the
// client has cancelled it. An attention that comes later is not for it.
func (b *inbox) finish(r *request) (attention bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.finished = true
	r.cancel(nil)
	return r.attention
}

// reason is why the client is gone.
func (b *inbox) reason() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}
