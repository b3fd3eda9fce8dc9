package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"
)

// Verification is what a comparison of a ledger with its table found.
type Verification struct {
	// OK is true when every acknowledged write is there once and unchanged.
	OK           bool      `json:"ok"`
	At           time.Time `json:"at"`
	Server       string    `json:"server"` // that answered
	Intended     int64     `json:"intended"`
	Acknowledged int64     `json:"acknowledged"`
	Present      int64     `json:"present"` // rows of the ledger's writes that are there, each once
	// Unacknowledged are the rows that are there although their acknowledgement
	// never came: they may be, or not.
	Unacknowledged int64   `json:"unacknowledgedPresent"`
	Lost           int64   `json:"lost"` // acknowledged and not there
	LostWrites     []Range `json:"lostWrites"`
	Duplicates     []ID    `json:"duplicates"` // there more than once
	Corrupted      []ID    `json:"corrupted"`  // there with another payload or checksum
	// LedgerHash and TableHash are SHA-256, in hexadecimal, over the acknowledged
	// writes as the ledger has them and as the table has them. They are equal
	// when nothing was lost or changed.
	LedgerHash string `json:"ledgerHash"`
	TableHash  string `json:"tableHash"`
}

// Range is writes of one writer that follow one another.
type Range struct {
	Writer int   `json:"writer"`
	From   int64 `json:"from"`
	To     int64 `json:"to"` // inclusive
}

// Verify compares the table with what a ledger says. Of options it needs Open,
// Now, Wait and Random. It repeats what fails within GiveUp. Rows that the
// ledger does not know are later than it, and left out.
func Verify(ctx context.Context, options Options, writes Writes) (Verification, error) {
	options.Readers = max(options.Readers, 1)
	options.Writers = 0
	o, err := options.withDefaults()
	if err != nil {
		return Verification{}, err
	}
	o.GiveUp = o.GiveUpVerifying
	began := o.Now()
	w := &worker{running: &running{options: o, run: writes.Header.Run, meter: newMeter(began)}, hand: ctx}
	defer w.drop()
	c := &comparison{
		run: writes.Header.Run, ledger: sha256.New(), table: sha256.New(),
		result: Verification{LostWrites: []Range{}, Duplicates: []ID{}, Corrupted: []ID{}},
	}
	var answer Answer
	done, err := w.do(ctx, w.meter.reads, "verify", func(ctx context.Context, s Session) (Answer, error) {
		var err error
		answer, err = s.Look(ctx)
		return answer, err
	})
	for i := 0; done && err == nil && i < len(writes.Writers); i++ {
		done, err = c.writer(ctx, w, i, writes.Writers[i])
	}
	if err == nil && !done {
		err = fmt.Errorf("verify: %w", whyEnded(ctx))
	}
	if err != nil {
		return Verification{}, err
	}
	v := c.result
	v.At, v.Server = o.Now(), answer.Server
	v.LedgerHash, v.TableHash = hex.EncodeToString(c.ledger.Sum(nil)), hex.EncodeToString(c.table.Sum(nil))
	v.OK = v.Lost == 0 && len(v.Duplicates) == 0 && len(v.Corrupted) == 0
	return v, nil
}

// whyEnded is why a context has ended.
func whyEnded(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.New("it was ended")
}

// comparison goes through ledger and table side by side.
type comparison struct {
	run           string
	ledger, table hash.Hash
	result        Verification
}

// writer compares one writer's rows. They are read whole before anything is
// counted, so that a connection that breaks half-way does no harm.
func (c *comparison) writer(ctx context.Context, w *worker, index int, writes []Write) (bool, error) {
	var found []seen
	done, err := w.do(ctx, w.meter.reads, fmt.Sprintf("verify writer %d", index), func(ctx context.Context, s Session) (Answer, error) {
		found = make([]seen, len(writes))
		return Answer{}, s.Rows(ctx, c.run, index, func(row Row) error {
			if row.Sequence < 0 || row.Sequence >= int64(len(writes)) {
				return nil
			}
			at := &found[row.Sequence]
			at.times++
			at.wrong = at.wrong || row.Writer != index || row.Checksum != writes[row.Sequence].Checksum || !row.valid(c.run)
			at.checksum = row.sum(c.run)
			return nil
		})
	})
	if !done || err != nil {
		return done, err
	}
	for sequence, write := range writes {
		c.write(ID{Writer: index, Sequence: int64(sequence)}, write, found[sequence])
	}
	return true, nil
}

// seen is what of one write is in the table.
type seen struct {
	times    int
	wrong    bool
	checksum string // of what is there
}

func (c *comparison) write(id ID, write Write, found seen) {
	r := &c.result
	r.Intended++
	if found.times > 0 {
		r.Present++
	}
	if found.times > 1 {
		r.Duplicates = append(r.Duplicates, id)
	}
	if found.wrong {
		r.Corrupted = append(r.Corrupted, id)
	}
	if !write.Acknowledged {
		if found.times > 0 {
			r.Unacknowledged++
		}
		return
	}
	r.Acknowledged++
	_, _ = fmt.Fprintf(c.ledger, "%d\t%d\t%s\n", id.Writer, id.Sequence, write.Checksum) // a hash does not fail
	for range found.times {
		_, _ = fmt.Fprintf(c.table, "%d\t%d\t%s\n", id.Writer, id.Sequence, found.checksum)
	}
	if found.times > 0 {
		return
	}
	r.Lost++
	if last := len(r.LostWrites) - 1; last >= 0 && r.LostWrites[last].Writer == id.Writer && r.LostWrites[last].To == id.Sequence-1 {
		r.LostWrites[last].To = id.Sequence
		return
	}
	r.LostWrites = append(r.LostWrites, Range{Writer: id.Writer, From: id.Sequence, To: id.Sequence})
}
