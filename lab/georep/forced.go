package georep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Loss is what a forced failover lost: records that the old primary had
// committed and the new one never received.
type Loss struct {
	// Known is false when the old primary's log could not be read.
	Known bool `json:"known"`
	// FromLSN and ToLSN are the first and the last lost record; both are 0 when
	// none was.
	FromLSN engine.LSN `json:"fromLsn"`
	ToLSN   engine.LSN `json:"toLsn"`
	// Transactions counts the committed transactions among them.
	Transactions uint64 `json:"transactions"`
	// Epoch is the new primary's.
	Epoch uint64 `json:"epoch"`
}

// errUnknownLoss says that two logs do not reach back to where they part.
var errUnknownLoss = errors.New("logs do not tell where the histories part")

// stepDownSoon gives an old primary that does not step down in time up: its link
// makes it do so later, and then tells the loss.
func (r *Relationship) stepDownSoon(ctx context.Context, old *Replica, fresh *engine.DB) (Loss, error) {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	loss, err := stepDown(ctx, old, fresh)
	if untold(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, engine.ErrClosed) {
		r.o.Log.Warn("failover.loss_unknown", "error", err)
		return Loss{Epoch: fresh.Boot().Epoch}, nil
	}
	return loss, err
}

// untold tells the errors of a log that cannot say what was lost from those
// that must stop what is going on.
func untold(err error) bool {
	return errors.Is(err, errUnknownLoss) || errors.Is(err, engine.ErrLogTruncated) || errors.Is(err, engine.ErrCorrupt)
}

const lossSuffix = ".loss"

// freezeTimeout is for how long, in the machine's time, a forced failover waits
// for the old primary's writers, so that what it reports as lost is exact.
const freezeTimeout = time.Second

// ForcedFailover makes the named secondary primary at once, with what it has,
// and says what was lost. The old primary becomes its secondary, now or when it
// is next opened; what only it had is discarded. Called again, also after a
// crash, it returns the same loss.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
func (r *Relationship) ForcedFailover(ctx context.Context, partner string) (Loss, error) {
	end, err := r.begin(ctx)
	if err != nil {
		return Loss{}, err
	}
	defer end()
	// Without any primary, the failover itself makes one.
	if err := r.recover(ctx); err != nil && !errors.Is(err, ErrNotOpen) {
		return Loss{}, fmt.Errorf("before forced failover to %s: %w", partner, err)
	}
	if primary := r.Primary(); primary.Name() == partner {
		return r.lossAgain(ctx, primary)
	}
	link := r.Link(partner)
	if link == nil {
		return Loss{}, fmt.Errorf("%s: %w", partner, ErrNoLink)
	}
	loss, err := r.force(ctx, link)
	if err == nil {
		r.o.Log.Info("failover.done", "kind", "forced", "primary", partner, "lost_from", loss.FromLSN, "lost_to", loss.ToLSN, "lost_transactions", loss.Transactions)
	}
	return loss, err
}

func (r *Relationship) force(ctx context.Context, link *Link) (Loss, error) {
	old, fresh := link.Primary(), link.Secondary()
	db := fresh.DB()
	if db == nil {
		return Loss{}, fmt.Errorf("%s: %w", fresh.Name(), ErrNotOpen)
	}
	if link.Status().Undoing {
		return Loss{}, fmt.Errorf("%s: %w", fresh.Name(), ErrUndoing)
	}
	ctx = context.WithoutCancel(ctx)
	link.Close()
	defer freeze(ctx, old)()
	epoch, err := r.newestEpoch()
	if err != nil {
		return Loss{}, err
	}
	// What was lost can be told only while both logs reach back to the fork.
	err = db.Hold(forkHold(old), db.Last())
	if err == nil {
		err = db.SetRole(ctx, engine.Primary, epoch+1)
	}
	if err != nil {
		r.closeLinks()
		return Loss{}, errors.Join(fmt.Errorf("make %s primary: %w", fresh.Name(), err), r.point(ctx, old))
	}
	loss, err := r.stepDownSoon(ctx, old, db)
	r.closeLinks()
	return loss, errors.Join(err, r.point(ctx, fresh))
}

// forkHold names the hold that a forced failover puts on the new primary's log
// until the loss of the old one is written down.
func forkHold(old *Replica) string { return holdPrefix + "fork/" + old.Name() }

// freeze holds the old primary's writes back until the returned func is called.
// One that is not open, or does not answer in time, is left alone: a forced
// failover waits for nobody.
func freeze(ctx context.Context, old *Replica) (resume func()) {
	db := old.DB()
	if db == nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	resume, err := db.Quiesce(ctx)
	if err != nil {
		return func() {}
	}
	return resume
}

func (r *Relationship) newestEpoch() (epoch uint64, err error) {
	for _, replica := range r.replicas() {
		boot, err := replica.boot()
		if err != nil && !errors.Is(err, engine.ErrNotFound) && replica.DB() != nil {
			return 0, fmt.Errorf("read epoch of %s: %w", replica.Name(), err)
		}
		epoch = max(epoch, boot.Epoch)
	}
	return epoch, nil
}

// stepDown makes a primary of an older epoch a secondary, in that epoch, and
// writes down what is lost with it. It comes before the old log is let go, and
// may be repeated. The diverged records themselves go when it is seeded anew.
func stepDown(ctx context.Context, old *Replica, fresh *engine.DB) (Loss, error) {
	db, epoch := old.DB(), fresh.Boot().Epoch
	if db == nil {
		return Loss{Epoch: epoch}, nil
	}
	boot := db.Boot()
	if boot.Epoch >= epoch {
		return Loss{Epoch: epoch}, nil
	}
	if boot.Role == engine.Primary {
		if err := db.SetRole(ctx, engine.Secondary, boot.Epoch); err != nil {
			return Loss{}, fmt.Errorf("make old primary %s a secondary: %w", old.Name(), err)
		}
	}
	if kept, found, err := old.readLoss(); err != nil || found && kept.Epoch == epoch {
		return kept, err
	}
	loss, err := lossBetween(ctx, db, fresh)
	if err == nil && (loss.Transactions > 0 || boot.Role == engine.Primary) {
		err = old.writeLoss(loss)
	}
	if err != nil {
		return loss, err
	}
	if err := fresh.Release(forkHold(old)); err != nil {
		return loss, fmt.Errorf("release log at the fork: %w", err)
	}
	return loss, nil
}

// lossAgain is the loss of a forced failover that was done before.
func (r *Relationship) lossAgain(ctx context.Context, primary *Replica) (Loss, error) {
	db := primary.DB()
	if db == nil {
		return Loss{}, fmt.Errorf("%s: %w", primary.Name(), ErrNotOpen)
	}
	most := Loss{Epoch: db.Boot().Epoch}
	for _, link := range r.Links() {
		loss, err := stepDown(ctx, link.Secondary(), db)
		if err != nil && !untold(err) {
			return Loss{}, err
		}
		kept, found, err := link.Secondary().readLoss()
		if err != nil {
			return Loss{}, err
		}
		if found && kept.Epoch == most.Epoch {
			loss = kept
		}
		// A sibling that was ahead has a part of what the old primary had; its
		// log is not kept for this, so that it may not tell.
		if loss.Known && (!most.Known || loss.Transactions > most.Transactions) {
			most = loss
		}
	}
	return most, nil
}

// keepLoss writes down what seeding is about to discard, when nobody has done
// so yet. A log that no longer tells does not keep the secondary from being
// seeded.
func (l *Link) keepLoss(ctx context.Context) error {
	fresh := l.o.Primary.DB()
	if fresh == nil {
		return ErrNotOpen
	}
	_, err := stepDown(ctx, l.o.Secondary, fresh)
	if untold(err) {
		l.o.Log.Warn("replica.loss_unknown", "error", err)
		return nil
	}
	return err
}

func (r *Replica) writeLoss(loss Loss) error {
	text, err := json.Marshal(loss)
	if err != nil {
		return fmt.Errorf("encode loss: %w", err)
	}
	if err := store.WriteFile(r.options.Dir+lossSuffix, text); err != nil {
		return fmt.Errorf("write down loss of %s: %w", r.name, err)
	}
	return nil
}

func (r *Replica) readLoss() (loss Loss, found bool, err error) {
	text, err := os.ReadFile(r.options.Dir + lossSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return Loss{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &loss)
	}
	if err != nil {
		return Loss{}, false, fmt.Errorf("read loss of %s: %w", r.name, err)
	}
	return loss, true, nil
}

// lossBetween counts what old has and fresh has not.
func lossBetween(ctx context.Context, old, fresh *engine.DB) (Loss, error) {
	loss := Loss{Known: true, Epoch: fresh.Boot().Epoch}
	last := old.Last()
	fork, err := forkOf(ctx, old, fresh)
	if err != nil {
		return Loss{Epoch: loss.Epoch}, fmt.Errorf("find where the histories part: %w", err)
	}
	if fork >= last {
		return loss, nil
	}
	loss.FromLSN, loss.ToLSN = fork+1, last
	cursor, err := old.Read(ctx, fork)
	if err != nil {
		return Loss{Epoch: loss.Epoch}, fmt.Errorf("read old primary's log: %w", err)
	}
	for at := fork; at < last && err == nil; {
		var record engine.Record
		if record, err = cursor.Next(ctx); err == nil {
			if at = record.LSN; record.Kind == engine.RecordTransaction {
				loss.Transactions++
			}
		}
	}
	return loss, errors.Join(err, cursor.Close())
}

// forkOf is the last LSN that two databases have in common. Two histories that
// have parted stay apart, so that it can be searched for by halves. A record
// that one of the logs no longer has is taken for common at first; that the
// result is right is then checked.
func forkOf(ctx context.Context, a, b *engine.DB) (engine.LSN, error) {
	common, apart := engine.LSN(0), min(a.Last(), b.Last())+1
	for probe := apart - 1; apart-common > 1; probe = common + (apart-common)/2 {
		same, err := sameRecord(ctx, a, b, probe)
		if err != nil {
			return 0, err
		}
		if same {
			common = probe
		} else {
			apart = probe
		}
	}
	first, err := checksumAt(ctx, a, common)
	if err != nil {
		return 0, err
	}
	second, err := checksumAt(ctx, b, common)
	if err != nil {
		return 0, err
	}
	if first != second {
		return 0, errUnknownLoss
	}
	return common, nil
}

// checksumAt is a database's checksum as of an LSN, as its log tells it.
func checksumAt(ctx context.Context, db *engine.DB, lsn engine.LSN) (uint64, error) {
	if last, sum := Position(db); last == lsn {
		return sum, nil
	}
	record, err := recordAfter(ctx, db, lsn)
	if err == nil {
		return record.Before, nil
	}
	return 0, fmt.Errorf("%w: %w", errUnknownLoss, err)
}

func sameRecord(ctx context.Context, a, b *engine.DB, lsn engine.LSN) (bool, error) {
	first, err := recordAfter(ctx, a, lsn-1)
	if errors.Is(err, engine.ErrLogTruncated) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	second, err := recordAfter(ctx, b, lsn-1)
	if errors.Is(err, engine.ErrLogTruncated) {
		return true, nil
	}
	return err == nil && first.Epoch == second.Epoch && first.After == second.After && first.Time.Equal(second.Time), err
}
