package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

// holdName is of the hold on the log that keeps what was not backed up yet.
const holdName = "backup"

// Due takes what the schedule asks for now, nothing when nothing is due, and
// prunes. However far the clock has moved, one backup is taken. A secondary has
// no backups of its own: ErrSecondary.
func (s *Store) Due(ctx context.Context, db *engine.DB) error {
	if db.Boot().Role != engine.Primary {
		return ErrSecondary
	}
	now, chains := s.o.Now(), s.Chains()
	var err error
	switch {
	case len(chains) == 0 || now.Sub(chains[len(chains)-1].Full.Time) >= s.o.FullEvery:
		_, err = s.Full(ctx, db)
	case now.Sub(chains[len(chains)-1].Through()) >= s.o.LogEvery:
		_, err = s.Log(ctx, db)
	default:
		return nil
	}
	return errors.Join(err, s.Prune())
}

// Full takes a full backup, which begins a chain, and a long-term copy of it
// when the policy wants one. Writes go on meanwhile. The chain before is taken
// up to that moment too, so that none between the two is lost.
func (s *Store) Full(ctx context.Context, db *engine.DB) (Backup, error) {
	s.take.Lock()
	defer s.take.Unlock()
	before, err := s.tail(ctx, db)
	if err != nil {
		return Backup{}, err
	}
	return s.full(ctx, db, before)
}

// tail is the newest chain, when db's log continues it, else nil.
func (s *Store) tail(ctx context.Context, db *engine.DB) (*Chain, error) {
	chains := s.Chains()
	if len(chains) == 0 {
		return nil, nil
	}
	chain := chains[len(chains)-1]
	at := chain.last()
	err := georep.OnHistory(ctx, db, at.To, at.Checksum)
	if errors.Is(err, engine.ErrDiverged) || errors.Is(err, engine.ErrLogTruncated) {
		s.o.Log.Info("backup.chain_broken", "after", at.To, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("continue backup chain: %w", err)
	}
	return &chain, nil
}

func (s *Store) full(ctx context.Context, db *engine.DB, before *Chain) (Backup, error) {
	from := db.Last()
	if before != nil {
		from = before.last().To
	}
	if err := db.Hold(holdName, from); err != nil {
		return Backup{}, fmt.Errorf("hold log for backup: %w", err)
	}
	b, gap, err := s.writeFull(ctx, db)
	if err != nil {
		return Backup{}, fmt.Errorf("full backup: %w", err)
	}
	if before != nil {
		if _, err := s.log(ctx, db, *before); err != nil {
			return Backup{}, err
		}
	}
	s.mu.Lock()
	s.chains = append(s.chains, Chain{Full: b})
	s.mu.Unlock()
	s.o.Log.Info("backup.full", "database", b.Database, "lsn", b.To, "bytes", b.Size)
	if gap {
		if _, err := s.log(ctx, db, Chain{Full: b}); err != nil {
			return b, err
		}
	}
	if err := errors.Join(db.Hold(holdName, b.To), s.keepLongTerm(b)); err != nil {
		return b, fmt.Errorf("after full backup: %w", err)
	}
	return b, nil
}

// writeFull tells with gap that something was committed between the snapshot and
// the backup's time.
func (s *Store) writeFull(ctx context.Context, db *engine.DB) (b Backup, gap bool, err error) {
	snapshot, err := db.Snapshot(ctx)
	if err != nil {
		return Backup{}, false, err
	}
	info := snapshot.Info()
	b = Backup{Kind: Full, Database: info.Boot.DatabaseID, Time: s.o.Now().UTC(), To: info.LSN, Checksum: info.Checksum, Key: info.Boot.DEK, Source: &info}
	gap = db.Last() > info.LSN
	dir := filepath.Join(s.o.Dir, pitrFolder, b.Time.Format(stamp))
	path := filepath.Join(dir, fileName(0, Full))
	err = os.MkdirAll(dir, 0o700)
	if err == nil {
		err = write(path, b, s.o.NoSync, func(add func(stream.Kind, []byte) error) error { return copyPages(ctx, snapshot, add) })
	}
	if err = errors.Join(err, snapshot.Close(), syncFolder(filepath.Dir(dir), s.o.NoSync)); err != nil {
		return Backup{}, false, err
	}
	b, err = readHeader(path)
	return b, gap, err
}

func fileName(number int, kind Kind) string { return fmt.Sprintf("%08d.%s", number, kind) }

func copyPages(ctx context.Context, from engine.PageSource, add func(stream.Kind, []byte) error) error {
	var part []byte
	for {
		page, err := from.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		part = append(binary.LittleEndian.AppendUint32(part[:0], page.Number), page.Slot...)
		if err := add(partPage, part); err != nil {
			return err
		}
	}
}

// keepLongTerm copies a full backup when the policy wants it.
func (s *Store) keepLongTerm(b Backup) error {
	s.mu.Lock()
	before := make([]time.Time, len(s.longTerm))
	for i, kept := range s.longTerm {
		before[i] = kept.Time
	}
	expires, wanted := s.policy.Expiry(b.Time, before)
	s.mu.Unlock()
	if !wanted {
		return nil
	}
	path := filepath.Join(s.o.Dir, ltrFolder, b.Time.Format(stamp)+"-"+expires.UTC().Format(stamp)+"."+string(Full))
	if err := s.copyFile(b.File, path); err != nil {
		return fmt.Errorf("long-term backup: %w", err)
	}
	b.File = path
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longTerm = append(s.longTerm, LongTerm{Backup: b, Expires: expires.UTC()})
	return nil
}

func (s *Store) copyFile(from, path string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	if err == nil && !s.o.NoSync {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close(), in.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path), s.o.NoSync)
}

// Log takes a log backup. Where there is no chain that the database's log
// continues, because it is new, was seeded anew after a failover, or lost the
// log, it takes a full backup instead.
func (s *Store) Log(ctx context.Context, db *engine.DB) (Backup, error) {
	s.take.Lock()
	defer s.take.Unlock()
	chain, err := s.tail(ctx, db)
	if err != nil {
		return Backup{}, err
	}
	if chain == nil {
		return s.full(ctx, db, nil)
	}
	b, err := s.log(ctx, db, *chain)
	if err != nil {
		return Backup{}, err
	}
	if err := db.Hold(holdName, b.To); err != nil {
		return b, fmt.Errorf("after log backup: %w", err)
	}
	if b.To > b.From {
		// The VLF that was backed up can become inactive.
		if err := db.BeginVLF(ctx); err != nil {
			return b, fmt.Errorf("after log backup: %w", err)
		}
	}
	return b, nil
}

// log adds a log backup to the newest chain.
func (s *Store) log(ctx context.Context, db *engine.DB, chain Chain) (Backup, error) {
	boot, before := db.Boot(), chain.last()
	// Less a nanosecond: what was acknowledged by then was acknowledged before
	// the position is read, whatever is on its way at this very moment.
	b := Backup{Kind: Log, Database: boot.DatabaseID, Time: s.o.Now().UTC().Add(-1), From: before.To, Key: boot.DEK}
	if b.Time.Before(before.Time) {
		b.Time = before.Time
	}
	b.To, b.Checksum = georep.Position(db)
	if b.Key == nil {
		// When TDE was just turned off, the first records are still sealed.
		b.Key = before.Key
	}
	path := filepath.Join(filepath.Dir(chain.Full.File), s.logName(before))
	err := write(path, b, s.o.NoSync, func(add func(stream.Kind, []byte) error) error { return copyRecords(ctx, db, b, add) })
	if err == nil {
		b, err = readHeader(path)
	}
	if err != nil {
		return Backup{}, fmt.Errorf("log backup: %w", err)
	}
	s.noteLog(b)
	if before.Kind == Log && before.From == before.To {
		if err := os.Remove(before.File); err != nil {
			return b, fmt.Errorf("replace empty log backup: %w", err)
		}
	}
	s.o.Log.Info("backup.log", "database", b.Database, "from", b.From, "to", b.To, "bytes", b.Size)
	return b, nil
}

// logName numbers the file after the one before.
func (s *Store) logName(before Backup) string {
	number := 0
	if _, err := fmt.Sscanf(filepath.Base(before.File), "%d", &number); err != nil {
		number = 0
	}
	return fileName(number+1, Log)
}

// noteLog adds a log backup to the newest chain. An empty one before it has
// said nothing but the time, which the new one says too.
func (s *Store) noteLog(b Backup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chain := &s.chains[len(s.chains)-1]
	logs := append([]Backup(nil), chain.Logs...)
	if n := len(logs); n > 0 && logs[n-1].From == logs[n-1].To {
		logs = logs[:n-1]
	}
	logs = append(logs, b)
	chain.Logs = logs
}

func copyRecords(ctx context.Context, db *engine.DB, b Backup, add func(stream.Kind, []byte) error) error {
	if b.From == b.To {
		return nil
	}
	cursor, err := db.Read(ctx, b.From)
	if err != nil {
		return err
	}
	for at := b.From; at < b.To && err == nil; {
		var record engine.Record
		var form []byte
		if record, err = cursor.Next(ctx); err != nil {
			break
		}
		at = record.LSN
		if form, err = record.AppendBinary(nil); err == nil {
			err = add(partRecord, form)
		}
	}
	return errors.Join(err, cursor.Close())
}

// Leave lets the database's log go: when the database is dropped, or is no
// longer a primary.
func (s *Store) Leave(db *engine.DB) error { return db.Release(holdName) }
