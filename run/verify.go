package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// verify observes until every DEK is wrapped as the protectors demand, on
// every side. Azure says that a new protector takes minutes to reach all.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-remove-tde-protector
func (r *running) verify(ctx context.Context, s plan.Step, result *StepResult) error {
	pace := r.executor.readPace()
	stuck := pace // since when nothing that fails has been worth waiting for
	watch := watcher{running: r, step: s.Number, last: map[string]string{}}
	entry := &journal.ReadBackEntry{}
	for {
		entry.Reads++
		worthWaiting, failing := r.lookAtEncryption(ctx, entry, watch)
		switch {
		case ctx.Err() != nil:
			return interrupted(ctx, s.Number)
		case failing == nil:
			result.Outcome = journal.Done
			return r.write(journal.Record{Kind: journal.ReadBack, Step: s.Number, ReadBack: entry})
		case worthWaiting:
			stuck = r.executor.readPace()
		}
		more := stuck.passed() <= r.limits.Stuck
		if more {
			var err error
			if more, err = pace.wait(ctx, r.limits.Verify, 0); err != nil {
				return interrupted(ctx, s.Number)
			}
		}
		if !more {
			return r.notVerified(s, entry, failing)
		}
	}
}

// lookAtEncryption observes and judges once. failing is nil when all is as it
// must be; worthWaiting says that it may become so by itself.
func (r *running) lookAtEncryption(ctx context.Context, entry *journal.ReadBackEntry, watch watcher) (worthWaiting bool, failing error) {
	t, err := r.executor.World.Observe(ctx)
	if err != nil {
		call := asCallError(err)
		return call.Lost || call.Retryable, fmt.Errorf("the component could not be read: %w", err)
	}
	v := check.Verify(t, r.plan.Desired(), r.executor.Now())
	entry.Reached, entry.Verification, entry.Saw = v.OK, &v, summary(v)
	r.mu.Lock()
	r.seen, r.verdict = t, &v
	r.mu.Unlock()
	watch.tell(v)
	if v.OK {
		return false, nil
	}
	return waitingHelps(v), errors.New(blockers(v.Findings))
}

func (r *running) notVerified(s plan.Step, entry *journal.ReadBackEntry, failing error) error {
	if err := r.write(journal.Record{Kind: journal.ReadBack, Step: s.Number, ReadBack: entry}); err != nil {
		return err
	}
	return &StopError{
		Reason: Blocked, Step: s.Number, What: "the encryption is not as it must be", Err: failing,
		Hint: "leave every key where it is; see the findings with crosskeys verify, and " + hintApplyAgain,
	}
}

// waitingHelps reports whether any of the failures is one that a change on its
// way would cure.
func waitingHelps(v check.Verification) bool {
	return slices.ContainsFunc(v.Findings, func(f check.Finding) bool {
		switch f.Rule {
		case check.RuleWrappedByOther, check.RuleEncryptorType, check.RuleChangeInProgress, check.RuleNotEncrypted, check.RuleReplicaNotRead, check.RuleNotAnswering:
			return f.Severity == check.Blocker
		}
		return false
	})
}

func summary(v check.Verification) string {
	right := 0
	for _, d := range v.Databases {
		if d.Verdict == check.OK || d.Verdict == check.NotJudged {
			right++
		}
	}
	return fmt.Sprintf("%d of %d replicas are wrapped as they must be", right, len(v.Databases))
}

// watcher tells of each replica whose state has changed since it last told.
type watcher struct {
	running *running
	step    int
	last    map[string]string
}

func (w watcher) tell(v check.Verification) {
	for _, d := range v.Databases {
		name := strings.ToLower(d.Server + "/" + d.Database)
		text := replicaText(d)
		if w.last[name] == text {
			continue
		}
		w.last[name] = text
		w.running.tell(Event{Name: ReplicaState, Step: w.step, Server: d.Server, Database: d.Database, Text: text})
	}
}

func replicaText(d check.DatabaseRow) string {
	by := d.Key.Short()
	switch {
	case d.Thumbprint == "" && d.EncryptorType == "":
		by = "state not read"
	case d.EncryptorType == tde.EncryptorCertificate:
		by = "service-managed certificate"
	case d.Key.IsZero():
		by = "key " + d.Thumbprint.Short()
	}
	return fmt.Sprintf("%s on %s (%s): %s, %s", d.Database, d.Server, d.Role, by, d.Verdict)
}
