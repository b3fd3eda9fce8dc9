package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

// sampling is how often the true protectors are looked at: more often than any
// two changes of one can follow each other.
const sampling = 4 * time.Second

// history is how the true protectors of the servers went.
type history map[string][]string

// watch looks at the lab's true protectors until ctx ends.
func (t *tool) watch(ctx context.Context) {
	for {
		t.look()
		if wait(ctx, sampling) != nil {
			t.look()
			return
		}
	}
}

func (t *tool) look() {
	truth, err := t.world.lab.Truth()
	if err != nil {
		t.wrong("the truth could not be read: %v", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, server := range truth.Servers {
		list, is := t.protectors[server.Name], protectorText(server.Protector, server.Auto)
		if len(list) == 0 || list[len(list)-1] != is {
			t.protectors[server.Name] = append(list, is)
		}
	}
}

// protectorText is a protector with what it is set to.
func protectorText(uri string, rotates bool) string {
	if rotates && uri != "" {
		return uri + auto
	}
	return uri
}

// wrong notes a rule of the simulation that was broken.
func (t *tool) wrong(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrongs = append(t.wrongs, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// isFlip reports whether a call changes a protector, and of which server.
func isFlip(r *http.Request) (server string, is bool) {
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/encryptionProtector/current") {
		return "", false
	}
	return strings.Split(r.URL.Path, "/")[8], true
}

// sending looks at a call that is about to be sent: a flip must not be repeated
// once it has taken effect.
func (t *tool) sending(r *http.Request) {
	server, is := isFlip(r)
	if !is {
		return
	}
	text, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(text))
	if err != nil {
		return
	}
	var asked struct {
		Properties struct {
			ServerKeyName string `json:"serverKeyName"`
			Rotates       bool   `json:"autoRotationEnabled"`
		} `json:"properties"`
	}
	if json.Unmarshal(text, &asked) != nil {
		t.wrong("a protector was asked for in words that cannot be read: %s", text)
	}
	truth, err := t.world.lab.Truth()
	if err != nil {
		return
	}
	for _, is := range truth.Servers {
		now := tde.ServiceManagedKeyName
		if is.Protector != "" {
			key, err := tde.ParseKeyID(is.Protector)
			if err != nil {
				return
			}
			now = key.ServerKeyName()
		}
		if strings.EqualFold(is.Name, server) && now == asked.Properties.ServerKeyName && is.Auto == asked.Properties.Rotates && !t.isForeign(server, protectorText(is.Protector, is.Auto)) {
			t.wrong("the flip of %s to %s was called again after it had taken effect", server, now)
		}
	}
}

// isForeign reports whether somebody else has made this the server's protector,
// or tried to, which the tool cannot know before it looks.
func (t *tool) isForeign(server, protector string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.foreign[server], protector)
}

// planned remembers the flips of a plan that the tool carries out: those alone
// may happen.
func (t *tool) planned(p plan.Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range p.Steps {
		if s.Kind == plan.SetProtector {
			uri := ""
			if !s.Key.IsZero() {
				uri = s.Key.String()
			}
			t.intended[s.Server] = append(t.intended[s.Server], protectorText(uri, s.AutoRotation))
		}
	}
}

// flipsWrong: each server's true protectors went through intended flips only, in
// their order, each at most once, but for what somebody else has set, each once.
func (t *tool) flipsWrong() (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for server, went := range t.protectors {
		if !asIntended(went[1:], t.intended[server], t.foreign[server]) {
			list = append(list, fmt.Sprintf("the protectors of %s went through %q, of which the plans wanted %q, and somebody else %q", server, went, t.intended[server], t.foreign[server]))
		}
	}
	return append(list, t.wrongs...)
}

// asIntended reports whether what a protector went through can be told apart
// into intended flips in their order and foreign ones.
func asIntended(went, intended, foreign []string) bool {
	if len(went) == 0 {
		return true
	}
	for i, flip := range intended {
		if strings.EqualFold(flip, went[0]) && asIntended(went[1:], intended[i+1:], foreign) {
			return true
		}
	}
	at := slices.Index(foreign, went[0])
	return at >= 0 && asIntended(went[1:], intended, slices.Delete(slices.Clone(foreign), at, at+1))
}

// rulesBroken: in no moment since the run began did a rule of the safety model
// not hold, except for what a fault took away itself.
func (t *tool) rulesBroken(began time.Time) (list []string) {
	intervals, err := t.world.lab.Monitor()
	if err != nil {
		list = append(list, fmt.Sprintf("the lab's monitor does not see: %v", err))
	}
	for _, i := range intervals {
		if !i.To.IsZero() && i.To.Before(began) {
			continue
		}
		if !t.taken(i.Server, i.Key) && !t.crossed(i) {
			list = append(list, fmt.Sprintf("%s did not hold from %s to %s: %s cannot use %s of %s (%s), by %+v", i.Rule, i.From.Format(time.TimeOnly), i.To.Format(time.TimeOnly), i.Server, i.Key, i.Owner, i.Database, i.By))
		}
	}
	return list
}

// crossed reports whether two protectors changed at a time since somebody else
// set one of them: the tool cannot know of a change that is under way.
func (t *tool) crossed(i monitor.Interval) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i.Rule != ruleOne {
		return false
	}
	for _, at := range append(slices.Clone(t.meddled[i.Server]), t.meddled[i.Owner]...) {
		if !at.After(i.To) && i.From.Sub(at) < 20*time.Second {
			return true
		}
	}
	return false
}

// ruleOne is the monitor's name of the rule that protectors change one at a time.
const ruleOne = "One"

// taken reports whether a fault of the scenario took the key from the server.
func (t *tool) taken(server, key string) bool {
	s := t.world.scenario
	for _, f := range s.faults {
		if rest, is := strings.CutPrefix(f, "vault "); is && strings.HasPrefix(strings.ToLower(key), "https://"+strings.Split(rest, ":")[0]+".") {
			return true
		}
	}
	for _, o := range s.other {
		if o.does == "revoke" && serverName(o.to) == server && strings.HasPrefix(key, "https://"+vaultName(t.world.revocable())+".") {
			return true
		}
		if names := s.names(); (o.does == "disable" || o.does == "expire") && strings.EqualFold(key, t.world.keys[names[o.group]].String()) {
			return true
		}
	}
	return false
}

// revocable is the key whose vault a server loses its rights on when they are
// revoked.
func (w *world) revocable() string {
	names := append(w.scenario.wanted(), w.scenario.protectors()...)
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// checkWord: a run that stopped says why, and that is true.
func (t *tool) checkWord(tt *testing.T, end ending) {
	s := t.world.scenario
	if end.err == nil {
		if end.status != run.StatusDone {
			tt.Errorf("the run says neither that it is done nor why it stopped: %s\n%s", end.status, s)
		}
		return
	}
	stop, ok := errors.AsType[*run.StopError](end.err)
	if !ok || stop.What == "" || stop.Hint == "" || end.result.Why == "" || len(end.result.State) < 2 {
		tt.Errorf("the run stopped without a word that helps: %v; %q\n%s", end.err, end.result.State, s)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	failedOver := slices.ContainsFunc(t.did, func(what string) bool { return strings.Contains(what, "failover") })
	outOfSight := slices.ContainsFunc(s.faults, func(f string) bool { return strings.HasPrefix(f, "vault ") || strings.HasPrefix(f, "region ") })
	troubled := len(s.faults) > 0 || len(t.did) > 0
	text := end.err.Error()
	switch {
	case !troubled:
		tt.Errorf("the run stopped although nothing was wrong: %v\n%s", end.err, s)
	case stop.Reason == run.RoleChange && !failedOver:
		tt.Errorf("the run tells of a failover that nobody made: %v\n%s", end.err, s)
	case stop.Reason == run.Changed && len(t.did) == 0 && !outOfSight:
		tt.Errorf("the run tells of a change that nobody made: %v\n%s", end.err, s)
	case stop.Reason == run.RoleChange && !strings.Contains(text, "fog"):
		tt.Errorf("the run does not say which group was failed over: %v\n%s", end.err, s)
	case stop.Reason == run.Interrupted, stop.Reason == run.Aborted, stop.Reason == run.Elsewhere:
		tt.Errorf("the run stopped as if somebody had asked it to: %v\n%s", end.err, s)
	}
}

// readTruth reads databases in the lab's own process, for the scenarios that do
// not read them by SQL.
type readTruth struct{ lab *lab.Lab }

func (r readTruth) ReadDatabase(_ context.Context, server tde.Server, database string) (azure.DatabaseReading, error) {
	row, err := r.lab.EncryptionState(server.Name, database)
	if err != nil {
		return azure.DatabaseReading{}, err
	}
	return azure.DatabaseReading{Encryption: &tde.EncryptionState{
		State: row.EncryptionState, EncryptorType: row.EncryptorType, Thumbprint: tde.NormalizeThumbprint(row.Thumbprint),
		KeyAlgorithm: row.KeyAlgorithm, KeyLength: row.KeyLength, Percent: float64(row.PercentComplete),
	}}, nil
}
