package backup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

const (
	pitrFolder = "pitr"
	ltrFolder  = "ltr"
	stamp      = "20060102T150405.000000000Z"
)

// Options are what a store is opened with.
type Options struct {
	// Dir is the store's folder; it is made when it is not there.
	Dir string
	// Now tells the lab's time.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
	// FullEvery and LogEvery are the schedule; 0 means a week and 10 minutes.
	// Source: https://learn.microsoft.com/azure/azure-sql/database/automated-backups-overview
	FullEvery, LogEvery time.Duration
	// RetentionDays is the point-in-time window, 1 to 35; 0 means 7.
	RetentionDays int
	// LongTerm is the long-term policy; the zero one keeps nothing.
	LongTerm LongTermPolicy
	// NoSync leaves out every fsync: for tests that crash no machine.
	NoSync bool
}

// Store keeps the backups of one database. It is safe for concurrent use;
// backups are taken one at a time.
type Store struct {
	o    Options
	take sync.Mutex // held by whoever takes or prunes backups

	mu       sync.Mutex
	policy   LongTermPolicy
	days     int
	chains   []Chain // oldest first
	longTerm []LongTerm
}

// Open reads what is in the folder, and clears what a crash left of a backup
// that was being taken. A file whose header cannot be read is an error that
// wraps ErrDamaged and names it.
func Open(o Options) (*Store, error) {
	o.FullEvery, o.LogEvery = cmp.Or(o.FullEvery, 7*24*time.Hour), cmp.Or(o.LogEvery, 10*time.Minute)
	o.RetentionDays = cmp.Or(o.RetentionDays, 7)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o}
	if err := errors.Join(s.SetRetention(o.RetentionDays), s.SetLongTerm(o.LongTerm)); err != nil {
		return nil, err
	}
	for _, folder := range []string{pitrFolder, ltrFolder} {
		if err := os.MkdirAll(filepath.Join(o.Dir, folder), 0o700); err != nil {
			return nil, fmt.Errorf("open backup store: %w", err)
		}
	}
	if err := errors.Join(s.readChains(), s.readLongTerm()); err != nil {
		return nil, fmt.Errorf("open backup store: %w", err)
	}
	return s, nil
}

// SetRetention sets the point-in-time window, in days.
// Source: https://learn.microsoft.com/azure/azure-sql/database/automated-backups-overview
func (s *Store) SetRetention(days int) error {
	if days < 1 || days > 35 {
		return fmt.Errorf("retention of %d days: it is between 1 and 35", days)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.days = days
	return nil
}

// SetLongTerm sets the long-term policy, for backups taken from now on.
func (s *Store) SetLongTerm(policy LongTermPolicy) error {
	if err := policy.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = policy
	return nil
}

func (s *Store) readChains() error {
	folders, err := os.ReadDir(filepath.Join(s.o.Dir, pitrFolder))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		dir := filepath.Join(s.o.Dir, pitrFolder, folder.Name())
		backups, err := readFolder(dir)
		if err != nil {
			return err
		}
		if len(backups) == 0 || backups[0].Kind != Full {
			// A crash came before the full backup was complete, or while
			// an old chain was being deleted.
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		s.chains = append(s.chains, Chain{Full: backups[0], Logs: dropEmpty(backups[1:])})
	}
	return nil
}

// dropEmpty leaves out an empty log backup that a later one has replaced, when
// a crash came before it was deleted.
func dropEmpty(logs []Backup) []Backup {
	return slices.DeleteFunc(slices.Clone(logs), func(b Backup) bool {
		return b.From == b.To && slices.ContainsFunc(logs, func(later Backup) bool { return later.From == b.From && later.Time.After(b.Time) })
	})
}

// readFolder reads the headers of a folder's backups, oldest first.
func readFolder(dir string) ([]Backup, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var backups []Backup
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if strings.HasSuffix(entry.Name(), temporary) {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		b, err := readHeader(path)
		if err != nil {
			return nil, err
		}
		backups = append(backups, b)
	}
	slices.SortStableFunc(backups, func(a, b Backup) int {
		return cmp.Or(-cmp.Compare(len(string(a.Kind)), len(string(b.Kind))), cmp.Compare(a.From, b.From), a.Time.Compare(b.Time))
	})
	return backups, nil
}

func (s *Store) readLongTerm() error {
	dir := filepath.Join(s.o.Dir, ltrFolder)
	backups, err := readFolder(dir)
	if err != nil {
		return err
	}
	for _, b := range backups {
		_, until, _ := strings.Cut(strings.TrimSuffix(filepath.Base(b.File), "."+string(Full)), "-")
		expires, err := time.Parse(stamp, until)
		if err != nil {
			return fmt.Errorf("long-term backup %s: %w", b.File, err)
		}
		s.longTerm = append(s.longTerm, LongTerm{Backup: b, Expires: expires})
	}
	return nil
}

// Chains lists the point-in-time chains, oldest first.
func (s *Store) Chains() []Chain {
	s.mu.Lock()
	defer s.mu.Unlock()
	chains := slices.Clone(s.chains)
	for i := range chains {
		chains[i].Logs = slices.Clone(chains[i].Logs)
	}
	return chains
}

// LongTerm lists the long-term backups, oldest first.
func (s *Store) LongTerm() []LongTerm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.longTerm)
}

// Keys are the distinct wrappings in all backups that are kept: the protectors
// of all of them must stay usable.
func (s *Store) Keys() []engine.WrappedDEK {
	var all []Backup
	for _, c := range s.Chains() {
		all = append(append(all, c.Full), c.Logs...)
	}
	for _, b := range s.LongTerm() {
		all = append(all, b.Backup)
	}
	return wrappings(all)
}

// windowStart is the earliest moment that the retention still covers.
func (s *Store) windowStart() time.Time { return s.o.Now().AddDate(0, 0, -s.days) }

// Range is the earliest and the latest moment that can be restored to; false
// when there is no backup.
func (s *Store) Range() (earliest, latest time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.chains) == 0 {
		return earliest, latest, false
	}
	earliest = s.chains[0].Full.Time
	if start := s.windowStart(); start.After(earliest) {
		earliest = start
	}
	return earliest, s.chains[len(s.chains)-1].Through(), true
}

// ChainAt is the chain to restore a moment from. The error is a *RangeError.
func (s *Store) ChainAt(until time.Time) (Chain, error) {
	earliest, latest, _ := s.Range()
	chains := s.Chains()
	for _, c := range slices.Backward(chains) {
		if !c.Full.Time.After(until) && !until.Before(earliest) && !c.Through().Before(until) {
			return c, nil
		}
	}
	return Chain{}, &RangeError{Wanted: until, Earliest: earliest, Latest: latest}
}

// Prune deletes the chains that the retention no longer needs, and long-term
// backups that have expired. A chain is needed until the next one's full backup
// is older than the window.
func (s *Store) Prune() error {
	s.take.Lock()
	defer s.take.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for len(s.chains) > 1 && !s.chains[1].Full.Time.After(s.windowStart()) {
		errs = append(errs, removeChain(s.chains[0]))
		s.chains = s.chains[1:]
	}
	s.longTerm = slices.DeleteFunc(s.longTerm, func(b LongTerm) bool {
		expired := !b.Expires.After(s.o.Now())
		if expired {
			errs = append(errs, os.Remove(b.File))
		}
		return expired
	})
	return errors.Join(errs...)
}

// removeChain deletes the full backup first: what is left after a crash is then
// known to be no chain.
func removeChain(c Chain) error {
	if err := os.Remove(c.Full.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(filepath.Dir(c.Full.File))
}

// Forget deletes the point-in-time history, as the service loses it when a
// database was Inaccessible for too long; long-term backups stay, their policy
// goes.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (s *Store) Forget() error {
	s.take.Lock()
	defer s.take.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, c := range s.chains {
		errs = append(errs, removeChain(c))
	}
	s.chains, s.policy = nil, LongTermPolicy{}
	return errors.Join(errs...)
}
