package georep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

// purpose marks the two streams of a connection.
const purpose = "GEOR"

// recordLimit is the longest record that a stream carries, in bytes.
const recordLimit = 1 << 30

// The messages of a connection. The secondary opens with hello and the primary
// answers with begin; then the primary sends, for a seeding, all pages and an
// end, and records for ever; the secondary acknowledges.
const (
	kindHello   stream.Kind = 1 // JSON of hello
	kindBegin   stream.Kind = 2 // JSON of begin
	kindPage    stream.Kind = 3 // page number, then its slot
	kindSeedEnd stream.Kind = 4 // empty
	kindRecord  stream.Kind = 5 // engine.Record's binary form
	kindAck     stream.Kind = 6 // see appendAck
)

// hello says where the secondary is.
type hello struct {
	Link string `json:"link"`
	// Seeded is false when there is no copy, or one that is to be thrown away.
	Seeded   bool       `json:"seeded"`
	Epoch    uint64     `json:"epoch"`
	LSN      engine.LSN `json:"lsn"`
	Checksum uint64     `json:"checksum"`
}

// begin says how the primary goes on.
type begin struct {
	// Seed, when not nil, is what the pages that follow are of.
	Seed *engine.SnapshotInfo `json:"seed,omitempty"`
	// Epoch is the primary's.
	Epoch uint64 `json:"epoch"`
	// After is the LSN after which the records go on, At when it was committed.
	After engine.LSN `json:"after"`
	At    time.Time  `json:"at"`
}

// peerGoneError says that one end saw the connection end. It does not unwrap:
// what the transport said is not a reason to do anything but to connect again.
type peerGoneError struct{ err error }

func (e *peerGoneError) Error() string { return fmt.Sprintf("connection ended: %v", e.err) }

// conversation is the primary's end of a connection.
type conversation struct {
	out *stream.Writer
	in  *stream.Reader
	end io.Closer
}

// connect makes one connection and replicates over it until it ends.
func (l *Link) connect(ctx context.Context) failure {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.update(func() {
		if l.interrupt = cancel; l.held != nil {
			cancel()
		}
	})
	defer l.update(func() { l.interrupt = nil })
	if err := l.reach(ctx); err != nil {
		return failure{err: err}
	}
	near, far, err := l.o.Dial(ctx)
	if err != nil {
		return failure{err: &UnreachableError{Replica: l.o.Secondary.Name(), Err: err}}
	}
	hangUp := sync.OnceFunc(func() { _, _ = near.Close(), far.Close() }) // both ends are given up whatever Close says
	defer context.AfterFunc(ctx, hangUp)()
	// The end that fails first tells why, unless it only saw its peer go.
	ended := make(chan failure, 2)
	go func() { ended <- failure{err: l.primaryEnd(ctx, near)} }()
	go func() { ended <- failure{err: l.secondaryEnd(ctx, far), secondary: true} }()
	first := <-ended
	cancel()
	hangUp()
	second := <-ended
	if peer := (*peerGoneError)(nil); errors.As(first.err, &peer) && !errors.As(second.err, &peer) && !errors.Is(second.err, context.Canceled) {
		return second
	}
	return first
}

// primaryEnd is the primary's side of a connection.
func (l *Link) primaryEnd(ctx context.Context, to io.ReadWriteCloser) error {
	db := l.o.Primary.DB()
	if db == nil {
		return ErrNotOpen
	}
	from, err := stream.NewReader(to, purpose)
	if err != nil {
		return gone(err)
	}
	var peer hello
	if err := readJSON(from, kindHello, &peer); err != nil {
		return err
	}
	if peer.Link != l.o.ID {
		return fmt.Errorf("link %q where %q is due: %w", peer.Link, l.o.ID, errProtocol)
	}
	if db.Boot().Role != engine.Primary {
		return fmt.Errorf("%s is not a primary: %w", l.o.Primary.Name(), ErrNotOpen)
	}
	out, err := stream.NewWriter(to, purpose)
	if err != nil {
		return gone(err)
	}
	after, err := l.beginStream(ctx, db, out, peer)
	if err != nil {
		return err
	}
	return l.ship(ctx, db, after, conversation{out: out, in: from, end: to})
}

// beginStream takes the secondary up where it is, or seeds it, and gives the
// LSN after which records follow.
func (l *Link) beginStream(ctx context.Context, db *engine.DB, out *stream.Writer, peer hello) (engine.LSN, error) {
	if !peer.Seeded {
		return l.sendSeed(ctx, db, out)
	}
	if err := db.Hold(l.hold, peer.LSN); err != nil {
		return 0, fmt.Errorf("hold log: %w", err)
	}
	at, err := historyAt(ctx, db, peer.LSN, peer.Checksum)
	if err != nil {
		return 0, err
	}
	l.update(func() { l.acked, l.lastReplication = at, l.o.Now() })
	err = writeJSON(out, kindBegin, begin{Epoch: db.Boot().Epoch, After: peer.LSN, At: at.at})
	return peer.LSN, errors.Join(err, out.Flush())
}

// historyAt checks that a copy with the given checksum at lsn is on db's own
// history. It gives engine.ErrDiverged when it is not, and
// engine.ErrLogTruncated when the log no longer tells.
func historyAt(ctx context.Context, db *engine.DB, lsn engine.LSN, checksum uint64) (position, error) {
	diverged := fmt.Errorf("secondary at %d is not on the primary's history: %w", lsn, engine.ErrDiverged)
	last, sum := Position(db)
	if lsn > last || (lsn == last && checksum != sum) {
		return position{}, diverged
	}
	at := position{lsn: lsn, checksum: checksum}
	if lsn > 0 {
		// The record itself may be gone while the next one is still there.
		record, err := recordAfter(ctx, db, lsn-1)
		if err == nil && record.After != checksum {
			return position{}, diverged
		}
		if err == nil {
			at.at = record.Time
			return at, nil
		}
		if !errors.Is(err, engine.ErrLogTruncated) || lsn == last {
			return at, ignoreTruncated(err)
		}
	}
	if lsn == last {
		return at, nil
	}
	record, err := recordAfter(ctx, db, lsn)
	if err == nil && record.Before != checksum {
		err = diverged
	}
	return at, err
}

// OnHistory checks that a copy with the given checksum at lsn, of any kind, is
// on db's own history. The error wraps engine.ErrDiverged when it is not, and
// engine.ErrLogTruncated when the log no longer tells.
func OnHistory(ctx context.Context, db *engine.DB, lsn engine.LSN, checksum uint64) error {
	_, err := historyAt(ctx, db, lsn, checksum)
	return err
}

func ignoreTruncated(err error) error {
	if errors.Is(err, engine.ErrLogTruncated) {
		return nil
	}
	return err
}

// Position gives a database's last LSN and the checksum at that very LSN, while
// writes go on.
func Position(db *engine.DB) (engine.LSN, uint64) {
	for {
		last := db.Last()
		sum := db.Checksum()
		if db.Last() == last {
			return last, sum
		}
	}
}

func gone(err error) error {
	if err == nil || errors.Is(err, stream.ErrDamaged) && !errors.Is(err, stream.ErrCut) {
		return err
	}
	return &peerGoneError{err: err}
}

func writeJSON(w *stream.Writer, kind stream.Kind, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	return gone(w.WriteMessage(kind, text))
}

func readJSON(r *stream.Reader, kind stream.Kind, value any) error {
	frame, err := r.ReadMessage(stream.MaxPayload)
	if err != nil {
		return gone(err)
	}
	if frame.Kind != kind {
		return fmt.Errorf("message %d where %d is due: %w", frame.Kind, kind, errProtocol)
	}
	if err := json.Unmarshal(frame.Payload, value); err != nil {
		return fmt.Errorf("message %d: %w: %w", kind, errProtocol, err)
	}
	return nil
}
