package georep

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

// shipAhead is how many records may wait between the log and the stream.
const shipAhead = 256

// ship sends records and takes acknowledgements until one of both ends.
func (l *Link) ship(ctx context.Context, db *engine.DB, after engine.LSN, with conversation) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	acks := make(chan struct{})
	go func() {
		defer close(acks)
		cancel(l.takeAcks(db, with.in))
	}()
	records := make(chan []byte, shipAhead)
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		cancel(pump(ctx, db, after, records))
	}()
	cancel(l.send(ctx, with.out, records))
	<-pumped
	// What ended the shipping is known; the close only frees takeAcks, so that
	// nothing is noted after this returns.
	_ = with.end.Close()
	<-acks
	return context.Cause(ctx)
}

// pump reads the log ahead of the stream.
func pump(ctx context.Context, db *engine.DB, after engine.LSN, records chan<- []byte) error {
	cursor, err := db.Read(ctx, after)
	if err != nil {
		return fmt.Errorf("read log after %d: %w", after, err)
	}
	for err == nil {
		var record engine.Record
		if record, err = cursor.Next(ctx); err != nil {
			break
		}
		var form []byte
		if form, err = record.AppendBinary(nil); err != nil {
			break
		}
		select {
		case records <- form:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return errors.Join(fmt.Errorf("read log: %w", err), cursor.Close())
}

// send writes records, and flushes whenever no further one waits.
func (l *Link) send(ctx context.Context, out *stream.Writer, records <-chan []byte) error {
	for {
		var form []byte
		select {
		case form = <-records:
		case <-ctx.Done():
			return ctx.Err()
		}
		if l.o.Delay != nil {
			if err := l.o.Delay(ctx); err != nil {
				return err
			}
		}
		if err := l.reach(ctx); err != nil {
			return err
		}
		for form != nil {
			if err := out.WriteMessage(kindRecord, form); err != nil {
				return gone(err)
			}
			select {
			case form = <-records:
			default:
				form = nil
			}
		}
		if err := out.Flush(); err != nil {
			return gone(err)
		}
	}
}

// takeAcks notes how far the secondary is, and lets the log before that go.
func (l *Link) takeAcks(db *engine.DB, in *stream.Reader) error {
	for {
		frame, err := in.ReadMessage(stream.MaxPayload)
		if err != nil {
			return gone(err)
		}
		at, err := parseAck(frame)
		if err != nil {
			return err
		}
		if err := l.letGo(db, at.lsn); err != nil {
			return err
		}
		last := db.Last()
		l.update(func() {
			// A secondary that has just connected says where it is: whether it
			// can apply what comes next is known when it has done so.
			proved := at.lsn > l.acked.lsn || at.lsn >= last
			l.acked, l.lastReplication = at, l.o.Now()
			if proved {
				l.state, l.reason, l.reseed, l.undoing, l.percent = l.caughtUp(), l.held, nil, false, 100
			}
		})
	}
}

const (
	holdRecords  = 1000
	holdInterval = time.Second
)

// letGo lets the primary's log before lsn go. Not at every acknowledgement: the
// engine writes its holds down.
func (l *Link) letGo(db *engine.DB, lsn engine.LSN) error {
	now := l.o.Now()
	if lsn < l.heldAt.lsn+holdRecords && now.Sub(l.heldAt.at) < holdInterval {
		return nil
	}
	if err := db.Hold(l.hold, lsn); err != nil {
		return fmt.Errorf("hold log: %w", err)
	}
	l.heldAt = position{lsn: lsn, at: now}
	return nil
}

// caughtUp is the state of a link whose secondary acknowledges: CATCH_UP,
// unless Suspend came meanwhile.
func (l *Link) caughtUp() State {
	if l.held != nil {
		return Suspended
	}
	return CatchUp
}

const ackSize = 8 + 8 + 8

func appendAck(b []byte, at position) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(at.lsn))
	b = binary.LittleEndian.AppendUint64(b, at.checksum)
	nanos := int64(0)
	if !at.at.IsZero() {
		nanos = at.at.UnixNano()
	}
	return binary.LittleEndian.AppendUint64(b, uint64(nanos))
}

func parseAck(frame stream.Frame) (position, error) {
	if frame.Kind != kindAck || len(frame.Payload) != ackSize {
		return position{}, fmt.Errorf("message %d of %d bytes where an acknowledgement is due: %w", frame.Kind, len(frame.Payload), errProtocol)
	}
	b := frame.Payload
	at := position{lsn: engine.LSN(binary.LittleEndian.Uint64(b)), checksum: binary.LittleEndian.Uint64(b[8:])}
	if nanos := int64(binary.LittleEndian.Uint64(b[16:])); nanos != 0 {
		at.at = time.Unix(0, nanos).UTC()
	}
	return at, nil
}

// secondaryEnd is the secondary's side of a connection.
func (l *Link) secondaryEnd(ctx context.Context, to io.ReadWriter) error {
	out, err := stream.NewWriter(to, purpose)
	if err != nil {
		return gone(err)
	}
	db, where, err := l.takePart(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(writeJSON(out, kindHello, where), gone(out.Flush())); err != nil {
		return err
	}
	in, err := stream.NewReader(to, purpose)
	if err != nil {
		return gone(err)
	}
	var peer begin
	if err := readJSON(in, kindBegin, &peer); err != nil {
		return err
	}
	if where.Epoch > peer.Epoch {
		return fmt.Errorf("epoch %d, the primary's is %d: %w", where.Epoch, peer.Epoch, ErrStalePrimary)
	}
	if peer.Seed != nil {
		if db, err = l.receiveSeed(ctx, in, *peer.Seed); err != nil {
			return err
		}
	} else if err := releaseAll(db); err != nil {
		return err
	}
	return l.follow(ctx, db, peer.At, out, in)
}

// releaseAll lets the log go that a former primary kept for its secondaries.
func releaseAll(db *engine.DB) error {
	for name := range db.Holds() {
		if strings.HasPrefix(name, holdPrefix) {
			if err := db.Release(name); err != nil {
				return fmt.Errorf("release log: %w", err)
			}
		}
	}
	return nil
}

// takePart says where the secondary is. An old primary that finds a newer one
// becomes a secondary first, for good; its writes are refused from then on.
func (l *Link) takePart(ctx context.Context) (*engine.DB, hello, error) {
	l.mu.Lock()
	reseed := l.reseed
	l.mu.Unlock()
	db := l.o.Secondary.DB()
	where := hello{Link: l.o.ID}
	if db == nil {
		return nil, where, l.checkEpoch()
	}
	boot := db.Boot()
	where.Epoch = boot.Epoch
	if boot.Role == engine.Primary {
		primary := l.o.Primary.DB()
		if primary == nil || primary.Boot().Epoch <= boot.Epoch {
			return nil, where, fmt.Errorf("%s is a primary of epoch %d: %w", l.o.Secondary.Name(), boot.Epoch, ErrStalePrimary)
		}
		if err := db.SetRole(ctx, engine.Secondary, boot.Epoch); err != nil {
			return nil, where, fmt.Errorf("make old primary %s a secondary: %w", l.o.Secondary.Name(), err)
		}
	}
	if reseed == nil {
		where.Seeded = true
		where.LSN, where.Checksum = Position(db)
	}
	return db, where, nil
}

// checkEpoch keeps a closed copy that is newer than the primary from being
// seeded over.
func (l *Link) checkEpoch() error {
	boot, err := engine.ReadBoot(l.o.Secondary.options.Dir)
	primary := l.o.Primary.DB()
	if errors.Is(err, engine.ErrNotFound) || errors.Is(err, engine.ErrCorrupt) {
		return nil
	}
	if err != nil {
		return err
	}
	if primary == nil || boot.Epoch > primary.Boot().Epoch {
		return fmt.Errorf("epoch %d: %w", boot.Epoch, ErrStalePrimary)
	}
	return nil
}

// applyTogether bounds how many records are hardened with one fsync, and
// applyBytes how much of them is held in memory for that.
const (
	applyTogether = 128
	applyBytes    = 8 << 20
)

// follow applies records, as many together as have arrived, and acknowledges
// them when they are hard.
func (l *Link) follow(ctx context.Context, db *engine.DB, committed time.Time, out *stream.Writer, in *stream.Reader) error {
	at := position{at: committed}
	at.lsn, at.checksum = Position(db)
	for {
		if err := errors.Join(out.Write(kindAck, appendAck(nil, at)), out.Flush()); err != nil {
			return gone(err)
		}
		records, failed := receive(in)
		if len(records) > 0 {
			if err := db.ApplyAll(ctx, records); err != nil {
				return fmt.Errorf("apply records %d to %d: %w", records[0].LSN, records[len(records)-1].LSN, err)
			}
			last := records[len(records)-1]
			at = position{lsn: last.LSN, checksum: last.After, at: last.Time}
		}
		if failed != nil {
			return failed
		}
	}
}

// receive waits for one record and takes those that have arrived behind it. An
// error comes with the records before it.
func receive(in *stream.Reader) (records []engine.Record, err error) {
	for size := 0; len(records) == 0 || (in.Buffered() && len(records) < applyTogether && size < applyBytes); {
		frame, err := in.ReadMessage(recordLimit)
		if err != nil {
			return records, gone(err)
		}
		if frame.Kind != kindRecord {
			return records, fmt.Errorf("message %d where a record is due: %w", frame.Kind, errProtocol)
		}
		record, err := engine.ParseRecord(frame.Payload)
		if err != nil {
			return records, fmt.Errorf("parse record: %w", err)
		}
		records, size = append(records, record), size+len(frame.Payload)
	}
	return records, nil
}
