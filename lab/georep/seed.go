package georep

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

// sendSeed sends the primary's pages as of one LSN, which it returns, while
// writes go on.
func (l *Link) sendSeed(ctx context.Context, db *engine.DB, out *stream.Writer) (engine.LSN, error) {
	if err := db.Hold(l.hold, db.Last()); err != nil {
		return 0, fmt.Errorf("hold log: %w", err)
	}
	snapshot, err := db.Snapshot(ctx)
	if err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	err = l.sendPages(ctx, snapshot, out, db.Boot().Epoch)
	return snapshot.Info().LSN, errors.Join(err, snapshot.Close())
}

func (l *Link) sendPages(ctx context.Context, src engine.PageSource, out *stream.Writer, epoch uint64) error {
	info := src.Info()
	if err := writeJSON(out, kindBegin, begin{Seed: &info, Epoch: epoch, After: info.LSN, At: info.Time}); err != nil {
		return err
	}
	var message []byte
	for n := 0; ; n++ {
		page, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		if n%reachEvery == 0 {
			if err := l.reach(ctx); err != nil {
				return err
			}
		}
		message = append(binary.LittleEndian.AppendUint32(message[:0], page.Number), page.Slot...)
		if err := out.WriteMessage(kindPage, message); err != nil {
			return gone(err)
		}
	}
	return gone(errors.Join(out.Write(kindSeedEnd, nil), out.Flush()))
}

// reachEvery is after how many pages the seam between the regions is asked.
const reachEvery = 64

// receiveSeed makes the secondary anew out of the pages of the stream. What an
// old primary had that the new one has not is counted before it goes.
func (l *Link) receiveSeed(ctx context.Context, in *stream.Reader, info engine.SnapshotInfo) (*engine.DB, error) {
	if err := l.keepLoss(ctx); err != nil {
		return nil, err
	}
	l.update(func() {
		if l.percent = 0; l.held == nil {
			l.state, l.reason = Seeding, nil
		}
	})
	db, err := l.o.Secondary.seed(ctx, &receivedPages{in: in, info: info}, func(done, total uint32) {
		percent := 100 * int(done) / int(max(total, 1))
		l.mu.Lock()
		changed := percent != l.percent
		l.mu.Unlock()
		if changed {
			l.update(func() { l.percent = percent })
		}
	})
	if err != nil {
		// The old copy is closed: only a complete seeding ends this state.
		l.update(func() { l.reseed = err })
		return nil, err
	}
	l.update(func() { l.reseed = nil; l.seeds++ })
	return db, nil
}

// receivedPages is the page source at the far end of a stream.
type receivedPages struct {
	in   *stream.Reader
	info engine.SnapshotInfo
}

// Info tells what the pages are of.
func (r *receivedPages) Info() engine.SnapshotInfo { return r.info }

// Next gives the next page, io.EOF after the last.
func (r *receivedPages) Next(ctx context.Context) (engine.Page, error) {
	if err := ctx.Err(); err != nil {
		return engine.Page{}, err
	}
	frame, err := r.in.ReadMessage(stream.MaxPayload)
	switch {
	case err != nil:
		return engine.Page{}, gone(err)
	case frame.Kind == kindSeedEnd:
		return engine.Page{}, io.EOF
	case frame.Kind != kindPage || len(frame.Payload) < 4:
		return engine.Page{}, fmt.Errorf("message %d of %d bytes where a page is due: %w", frame.Kind, len(frame.Payload), errProtocol)
	}
	return engine.Page{Number: binary.LittleEndian.Uint32(frame.Payload), Slot: frame.Payload[4:]}, nil
}
