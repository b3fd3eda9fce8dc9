package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/run"
)

// underway is one run that this process carries out: its journal, its hold on
// the servers, and what others ask of it meanwhile.
type underway struct {
	app   *app
	store *journal.Store
	job   job
	cloud cloud
	talk  *progress
	found string // the run to go on with, as it was when this process began; empty for a new one

	ctx    context.Context //nolint:containedctx // of the one run, which is ended by its cause
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	lease *journal.Lease
	run   *journal.Run

	watchers sync.WaitGroup
}

// term is how long the hold on servers lasts unless it is renewed.
func (a *app) term() time.Duration {
	if a.lease > 0 {
		return a.lease
	}
	return leaseTerm
}

// begin takes the servers, then opens the journal, and has both watched until
// the run ends.
func (u *underway) begin(ctx context.Context, servers []string) (run.Journal, []journal.Record, error) {
	lease, err := u.acquire(ctx, servers)
	if err != nil {
		return nil, nil, err
	}
	u.mu.Lock()
	u.lease = lease
	u.mu.Unlock()
	written, earlier, err := u.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	u.mu.Lock()
	u.run = written
	u.mu.Unlock()
	u.watchers.Go(func() { u.keep(lease) })
	u.watchers.Go(func() { u.listen() })
	if u.found != "" {
		u.talk.line("going on with run %s", written.ID())
	} else {
		u.talk.line("run %s", written.ID())
	}
	var to run.Journal = written
	if u.app.around != nil {
		to = u.app.around(to)
	}
	if u.job.measures != nil {
		u.job.measures.into(ctx, to)
		to = u.job.measures
	}
	return to, earlier, nil
}

// acquire takes the servers. The hold of a process that died lasts until its
// term is over, which is waited for; that of one that lives is renewed, and so
// is not.
func (u *underway) acquire(ctx context.Context, servers []string) (*journal.Lease, error) {
	holder, err := holderName()
	if err != nil {
		return nil, err
	}
	term := u.app.term()
	began := u.app.now()
	var first *journal.HeldError
	for {
		lease, err := u.store.Acquire(ctx, u.found, holder, servers, term)
		held, ok := errors.AsType[*journal.HeldError](err)
		if !ok {
			return lease, err
		}
		renewed := first != nil && (held.Holder != first.Holder || held.Until.Sub(first.Until) > time.Millisecond)
		if renewed || u.app.now().Sub(began) > 2*term {
			return nil, err
		}
		if first == nil {
			first = held
			u.talk.line("%s; waiting whether it lives", held)
		}
		if waited := u.app.wait(ctx, term/10); waited != nil {
			return nil, waited
		}
	}
}

// open takes up the plan's unfinished run, or begins a new one.
func (u *underway) open(ctx context.Context) (*journal.Run, []journal.Record, error) {
	who := whoRuns(u.cloud)
	if u.found != "" {
		log, err := u.store.Read(ctx, u.found)
		if err != nil {
			return nil, nil, err
		}
		if err := u.job.hooked(log.Begin().Terms); err != nil {
			return nil, nil, err
		}
		written, log, err := u.store.Resume(ctx, u.found, who, u.lease)
		if err != nil {
			return nil, nil, err
		}
		// What was asked of the process before this one is done with.
		return written, log.Records, u.store.Ask(ctx, u.found, "", "")
	}
	j := u.job
	// Another process may have begun the plan, and ended in its middle, since
	// this one looked for unfinished runs.
	if begun, err := u.store.Unfinished(ctx, j.hash); err != nil || begun != "" {
		if err == nil {
			err = &run.StopError{Reason: run.Elsewhere, What: fmt.Sprintf("run %s of this plan was begun meanwhile", begun), Hint: "go on with: crosskeys resume " + begun}
		}
		return nil, nil, err
	}
	before, err := u.doneBefore(ctx)
	if err != nil {
		return nil, nil, err
	}
	written, err := u.store.Begin(ctx, journal.BeginEntry{
		Verb: j.verb, PlanHash: j.hash, Plan: j.plan, Cloud: u.cloud.name(), Target: j.target.shown(), Who: who, Terms: j.terms(),
	}, u.lease)
	return written, before, err
}

// doneBefore are the records of the run that has carried the same plan out
// already, if its newest run has: what it did, a drill too, is not done twice.
func (u *underway) doneBefore(ctx context.Context) ([]journal.Record, error) {
	finished, err := u.store.Finished(ctx, u.job.hash)
	if err != nil || finished == "" {
		return nil, err
	}
	log, err := u.store.Read(ctx, finished)
	if err != nil {
		return nil, err
	}
	u.talk.line("run %s has carried this plan out already", finished)
	return log.Records, nil
}

// keep renews the hold on the servers. When that is lost the run ends at once.
func (u *underway) keep(lease *journal.Lease) {
	err := lease.Keep(u.ctx, u.app.wait)
	if err == nil {
		return
	}
	stop := run.LostServers(0, err)
	if stop == nil {
		stop = &run.StopError{Reason: run.Elsewhere, What: "the hold on the servers could not be kept", Err: err}
	}
	u.cancel(stop)
}

// listenEvery is how often a run looks whether something is asked of it.
const listenEvery = time.Second

// listen looks whether somebody asks the run to pause or to abort. A store that
// cannot be asked just now is the hold's matter.
func (u *underway) listen() {
	for u.app.wait(u.ctx, min(listenEvery, u.app.term())) == nil {
		if stop, err := u.asked(u.ctx); err == nil && stop != nil {
			u.cancel(stop)
			return
		}
	}
}

// asked gives what the run is asked to stop for; nil for nothing.
func (u *underway) asked(ctx context.Context) (*run.StopError, error) {
	id := u.id()
	wanted, who, err := u.store.Asked(ctx, id)
	if err != nil {
		return nil, err
	}
	switch wanted {
	case journal.Pause:
		return &run.StopError{Reason: run.Interrupted, What: "paused by " + who, Hint: "go on with: crosskeys resume " + id}, nil
	case journal.Abort:
		return &run.StopError{Reason: run.Aborted, What: "aborted by " + who, Hint: "it is not gone on with; a new plan begins from what is there"}, nil
	}
	return nil, nil
}

// permit makes certain that the servers are still this run's, and that nobody
// has asked it to stop.
func (u *underway) permit(ctx context.Context) error {
	u.mu.Lock()
	lease := u.lease
	u.mu.Unlock()
	if lease == nil {
		return errors.New("the servers were never taken")
	}
	if err := lease.Ensure(ctx); err != nil {
		return err
	}
	stop, err := u.asked(ctx)
	if err != nil || stop == nil {
		return err
	}
	u.cancel(stop) // the steps beside this one hear it too
	return stop
}

// end lets go of the servers and forgets what was asked. It is called once, after the run.
func (u *underway) end(ctx context.Context) error {
	u.cancel(nil)
	u.watchers.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var err error
	if u.run != nil {
		err = u.store.Ask(ctx, u.run.ID(), "", "")
	}
	if u.lease != nil {
		err = errors.Join(err, u.lease.Release(ctx))
	}
	if err != nil {
		return fmt.Errorf("end the run: %w", err)
	}
	return nil
}

// id is the run's name; empty where none was begun.
func (u *underway) id() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.run == nil {
		return ""
	}
	return u.run.ID()
}
