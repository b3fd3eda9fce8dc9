package lab

import (
	"net/http"
	"time"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

// usability gives a function that says whether a principal could use a key at
// a moment, faults included.
func (l *Lab) usability(tx *store.Tx, at time.Time) func(principal, uri string) (bool, error) {
	vaults := l.keyvault.Moment(tx, at, func(caller entra.Claims, action, scope string) (bool, error) {
		return l.authorization.AuthorizeDataAt(tx, caller, action, scope, at)
	})
	callers := map[string]entra.Claims{}
	return func(principal, uri string) (bool, error) {
		if principal == "" || l.vaultOut(uri, at) {
			return false, nil
		}
		caller, known := callers[principal]
		if !known {
			found, there, err := l.entra.FindPrincipal(tx, principal)
			if err != nil {
				return false, err
			}
			if there {
				caller = entra.Claims{ObjectID: found.ObjectID, AppID: found.AppID, TenantID: found.TenantID, ManagedIdentity: found.ManagedIdentity}
			}
			callers[principal] = caller
		}
		if caller.ObjectID == "" {
			return false, nil
		}
		return vaults.Usable(caller, uri)
	}
}

// vaultOut reports whether a fault keeps a vault from being used. One that
// only throttles does not.
func (l *Lab) vaultOut(uri string, at time.Time) bool {
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return true
	}
	rule, struck := l.faults.VaultAt(key.Vault(), at)
	return struck && rule.Status != http.StatusTooManyRequests
}

// turns are the moments at which time alone changes what can be used.
func (l *Lab) turns(after, until time.Time) (turns []monitor.Turn, err error) {
	for _, turn := range l.faults.Turns(after, until) {
		what := "fault in force: " + turn.Rule.Text
		if turn.Ends {
			what = "fault over: " + turn.Rule.Text
		}
		turns = append(turns, monitor.Turn{At: turn.At, What: what})
	}
	err = l.store.View(func(tx *store.Tx) error {
		vaults, err := l.keyvault.Turns(tx, after, until)
		if err != nil {
			return err
		}
		assignments, err := l.authorization.Turns(tx, after, until)
		for _, at := range append(vaults, assignments...) {
			turns = append(turns, monitor.Turn{At: at})
		}
		return err
	})
	return turns, err
}
