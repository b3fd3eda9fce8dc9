package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hold takes the file's lock or returns ErrHeld. The lock ends with the
// process, however that ends.
func hold(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

// Lock is a hold on servers.
type Lock struct{ files []*os.File }

// LockServers keeps every other run that uses the same folder off the servers
// until Release. A geo-linked component may have only one change at a time, so
// a run locks all servers of its component, whichever failover group it was
// asked for. When one is taken, ErrHeld is returned and none is held.
func LockServers(folder string, servers []string) (*Lock, error) {
	folder = filepath.Join(folder, "locks")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("lock servers: %w", err)
	}
	lock := &Lock{}
	for _, server := range slices.Sorted(slices.Values(servers)) {
		name := strings.ToLower(unsafeInName.ReplaceAllString(server, "-"))
		file, err := os.OpenFile(filepath.Join(folder, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock server %s: %w", server, err), lock.Release())
		}
		lock.files = append(lock.files, file)
		if err := hold(file); err != nil {
			return nil, errors.Join(fmt.Errorf("lock server %s: %w", server, err), lock.Release())
		}
	}
	return lock, nil
}

// Release lets go of the servers. The files stay: taking one away while
// another process opens it would give two processes the same lock.
func (l *Lock) Release() error {
	var err error
	for _, file := range l.files {
		err = errors.Join(err, file.Close())
	}
	l.files = nil
	return err
}

// Runs lists the journals of the folder, oldest first. A folder that is not
// there has none.
func Runs(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list journals: %w", err)
	}
	var paths []string
	for _, entry := range entries {
		if !entry.IsDir() && strings.HasSuffix(entry.Name(), Suffix) {
			paths = append(paths, filepath.Join(folder, entry.Name()))
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, Suffix), strings.TrimSuffix(b, Suffix))
	})
	return paths, nil
}

// Unfinished finds the newest journal of the plan that has not reached its
// end; empty when there is none. Journals of other plans are not judged; one
// of this plan that is broken is an error, since what it did is not known.
func Unfinished(folder, planHash string) (path string, err error) {
	paths, err := Runs(folder)
	if err != nil {
		return "", err
	}
	for _, path := range slices.Backward(paths) {
		if len(planHash) >= 8 && !strings.Contains(filepath.Base(path), planHash[:8]) {
			continue
		}
		log, err := Read(path)
		if errors.Is(err, ErrNeverBegan) {
			continue
		}
		if err != nil {
			return "", err
		}
		if log.Begin().PlanHash != planHash {
			continue
		}
		if log.Complete() {
			return "", nil
		}
		return path, nil
	}
	return "", nil
}
