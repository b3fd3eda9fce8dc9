package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/fault"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/store"
)

// settingFaults holds the faults that are in force.
const settingFaults = "faults"

// loadFaults puts the faults of the options in force, or those that an earlier
// lab on this folder left.
func (l *Lab) loadFaults() error {
	l.faults = fault.NewSet(l.clock.Now)
	if l.options.Faults != "" {
		text, err := fault.Parse(l.options.Faults)
		if err != nil {
			return fmt.Errorf("the lab's faults: %w", err)
		}
		l.faults.Replace(text)
		return l.keepFaults()
	}
	var kept setting
	err := l.store.View(func(tx *store.Tx) (err error) {
		kept, _, err = l.settings.Get(tx, settingFaults)
		return err
	})
	if err != nil || kept.Faults == nil {
		return err
	}
	return l.faults.Restore(*kept.Faults)
}

// keepFaults writes what is in force, with its counters.
func (l *Lab) keepFaults() error {
	state := l.faults.State()
	return l.store.Update(func(tx *store.Tx) error { return l.settings.Put(tx, settingFaults, setting{Faults: &state}) })
}

// Faults tells the faults that are in force, and what they have struck.
func (l *Lab) Faults() fault.State { return l.faults.State() }

// SetFaults puts a text of faults in force in place of the one before; an
// empty one clears them. Its error is a *fault.SyntaxError where the text
// cannot be read.
func (l *Lab) SetFaults(text string) error {
	parsed, err := fault.Parse(text)
	if err != nil {
		return err
	}
	l.faults.Replace(parsed)
	return l.faultsChanged("faults set")
}

// AddFaults puts further faults in force.
func (l *Lab) AddFaults(text string) error {
	parsed, err := fault.Parse(text)
	if err != nil {
		return err
	}
	if err := l.faults.Add(parsed); err != nil {
		return err
	}
	return l.faultsChanged("faults added")
}

func (l *Lab) faultsChanged(what string) error {
	l.sql.KeysMayHaveChanged(l.clock.Now())
	l.noteFault(what)
	return l.keepFaults()
}

// hooks are how the faults and the monitor see the operations.
func (l *Lab) hooks() arm.Hooks {
	return arm.Hooks{
		Longer: func(op arm.Operation) time.Duration {
			longer := l.faults.Operation(op.Kind)
			if longer == 0 && op.Announced != "" {
				longer = l.faults.Operation(op.Announced)
			}
			if op.Kind == sqlserver.FollowTask {
				longer += l.faults.ReplicaDelay()
			}
			return longer
		},
		Begun: l.operationBegun, Ended: l.operationEnded,
		Stalled: func(op arm.Operation) bool { return op.Location != "" && l.faults.RegionDown(op.Location) },
	}
}

// outage is what the SQL servers ask.
func (l *Lab) outage() sqlserver.Outage {
	return sqlserver.Outage{Down: l.faults.RegionDown, Delay: func(ctx context.Context) error {
		delay := l.faults.ReplicaDelay()
		if delay == 0 {
			return nil
		}
		return l.clock.WaitUntil(ctx, l.clock.Now().Add(delay))
	}}
}

// ownHeader marks the lab's own calls of Resource Manager, by which it seeds:
// no fault strikes them, and they are not counted.
const ownHeader = "X-Crosskeys-Lab"

// ownCalls sends requests as the lab's own.
type ownCalls struct {
	client *http.Client
	token  string
}

// Do sends a request.
func (o ownCalls) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set(ownHeader, o.token)
	return o.client.Do(r)
}

// faulty lets the faults in force strike calls of Resource Manager.
func (l *Lab) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.control != "" && r.Header.Get(ownHeader) == l.control {
			next.ServeHTTP(w, r)
			return
		}
		struck := l.faults.Next(r.Method, r.URL.Path)
		if len(struck) > 0 {
			if err := l.keepFaults(); err != nil {
				l.log.Error("fault.not_kept", "error", err)
			}
		}
		if w = l.throttled(w, r); w == nil || l.strike(w, r, struck) {
			return
		}
		if refusal := l.regionRefusal(r); refusal != nil {
			l.refuse(w, r, refusal, 0)
			return
		}
		for _, rule := range struck {
			if rule.Effect == fault.LoseReply {
				next.ServeHTTP(&deaf{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
				panic(http.ErrAbortHandler) // cuts the connection
			}
		}
		next.ServeHTTP(w, r)
	})
}

// strike carries out what befalls a call before it takes effect, and reports
// whether that was its end.
func (l *Lab) strike(w http.ResponseWriter, r *http.Request, rules []fault.Rule) (ended bool) {
	for _, rule := range rules {
		switch rule.Effect {
		case fault.Slow:
			if err := l.clock.WaitUntil(r.Context(), l.clock.Now().Add(rule.Pause)); err != nil {
				panic(http.ErrAbortHandler) // the client has gone
			}
		case fault.Failover:
			l.failOver(r.Context(), rule)
		case fault.Answer:
			l.refuse(w, r, arm.Refuse(rule.Status, rule.Code, "%s", messageOf(rule.Status)), rule.RetryAfter)
			return true
		case fault.Cut:
			l.calls.record(arm.CallRecord{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Code: "ConnectionCut"})
			panic(http.ErrAbortHandler)
		case fault.LoseReply:
		}
	}
	return false
}

// somebodyElse is the principal of what faults do in another's name.
const somebodyElse = "somebody else"

func (l *Lab) failOver(ctx context.Context, rule fault.Rule) {
	origin := arm.Origin{Time: l.clock.Now(), Method: "FAULT", Path: rule.Text, Principal: somebodyElse}
	if err := l.sql.FailOverGroup(context.WithoutCancel(ctx), rule.Group, rule.To, rule.Forced, origin); err != nil {
		l.log.Warn("fault.failover_refused", "rule", rule.Text, "error", err)
		l.faults.Strike(rule, "refused: "+err.Error())
	}
}

// refuse answers in Resource Manager's shape.
func (l *Lab) refuse(w http.ResponseWriter, r *http.Request, refusal *arm.Error, retryAfter time.Duration) {
	if refusal.Code == "" {
		refusal.Code = codeOf(refusal.Status)
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int64((retryAfter+time.Second-1)/time.Second)))
	}
	l.front.Refuse(w, r, refusal)
}

// codeOf and messageOf are what Resource Manager says with a status.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
func codeOf(status int) string {
	switch status {
	case http.StatusTooManyRequests:
		return "TooManyRequests"
	case http.StatusInternalServerError:
		return "InternalServerError"
	case http.StatusForbidden:
		return "AuthorizationFailed"
	case http.StatusUnauthorized:
		return "InvalidAuthenticationToken"
	case http.StatusNotFound:
		return "ResourceNotFound"
	}
	return strings.ReplaceAll(http.StatusText(status), " ", "")
}

func messageOf(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "The request is being throttled."
	case status == http.StatusServiceUnavailable:
		return "The service is unavailable."
	case status >= http.StatusInternalServerError:
		return "The server encountered an error, please try again."
	}
	return "The request was refused."
}

// deaf is the answer that nobody reads.
type deaf struct{ header http.Header }

// Header is what the handler sets.
func (d *deaf) Header() http.Header { return d.header }

// Write takes the body.
func (d *deaf) Write(body []byte) (int, error) { return len(body), nil }

// WriteHeader takes the status.
func (d *deaf) WriteHeader(int) {}

// vaultAudiences are the resources for which vaults take tokens.
// Source: https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
var vaultAudiences = []string{"https://vault.azure.net", "https://vault.usgovcloudapi.net", "https://vault.azure.cn", "https://vault.microsoftazure.de"}

// principalOf is the object id of a call's caller, of Resource Manager or of a
// vault; empty when its token is not good.
func (l *Lab) principalOf(r *http.Request) string {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		return ""
	}
	claims, err := armTokens{l}.Verify(token, append(armAudiences(), vaultAudiences...))
	if err != nil {
		return ""
	}
	return claims.ObjectID
}

// IsFaultSyntax reports whether a text of faults could not be read.
func IsFaultSyntax(err error) (*fault.SyntaxError, bool) {
	return errors.AsType[*fault.SyntaxError](err)
}
