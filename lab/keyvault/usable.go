package keyvault

import (
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

// Authorize says whether role assignments let a caller perform a data action
// at a scope.
type Authorize func(caller entra.Claims, dataAction, scope string) (bool, error)

// Moment reads the vaults at one moment of the lab's time, by what is on
// record in one transaction. It is for one goroutine.
type Moment struct {
	s         *Service
	tx        *store.Tx
	at        time.Time
	authorize Authorize
	views     map[string]*keyView
}

// Moment begins to read the vaults. It is good while the transaction is.
func (s *Service) Moment(tx *store.Tx, at time.Time, authorize Authorize) *Moment {
	return &Moment{s: s, tx: tx, at: at, authorize: authorize, views: map[string]*keyView{}}
}

// Usable reports whether a service's identity can read the key version, wrap
// and unwrap with it: the firewall, its grants, the key's state and its dates.
func (m *Moment) Usable(caller entra.Claims, uri string) (bool, error) {
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return false, nil //nolint:nilerr // no key has such a name
	}
	view, err := m.view(key.Vault(), key.Name)
	if err != nil || !view.vaultFound || !view.keyFound || view.key.Deleted != nil {
		return false, err
	}
	version, found := view.key.find(strings.ToLower(key.Version))
	if !found {
		return false, nil
	}
	c := &call{
		http: &http.Request{RemoteAddr: "127.0.0.1:1"}, address: parseHost(key.Host), caller: caller, now: m.at, keyView: view,
		target: target{key: key.Name, version: key.Version},
	}
	if c.passFirewall() != nil {
		return false, nil //nolint:nilerr // a refusal is the answer
	}
	for _, name := range []string{opGet, opWrap, opUnwrap} {
		op := m.s.operations[name]
		if name != opGet && version.allow(op.permission, c) != nil {
			return false, nil //nolint:nilerr // a refusal is the answer
		}
		if allowed, err := m.allowed(c, op); err != nil || !allowed {
			return false, err
		}
	}
	return true, nil
}

func (m *Moment) allowed(c *call, op operation) (bool, error) {
	state := c.vault.accessAt(m.at)
	if state.RBAC {
		return m.authorize(c.caller, op.dataAction, c.vault.id()+"/keys/"+c.target.key)
	}
	return state.permits(c.caller, op.permission), nil
}

func (m *Moment) view(vaultName, keyName string) (*keyView, error) {
	id := keyID(vaultName, keyName)
	if view := m.views[id]; view != nil {
		return view, nil
	}
	view := &keyView{}
	var err error
	if view.vault, view.vaultFound, err = m.s.vaults.Get(m.tx, strings.ToLower(vaultName)); err != nil {
		return nil, err
	}
	view.vaultFound = view.vaultFound && view.vault.Deleted == nil
	view.key, view.keyFound, err = m.s.keys.Get(m.tx, id)
	m.views[id] = view
	return view, err
}

// Turns are the moments after one and up to another at which time alone may
// change whether a key can be used: a permission comes into force, a key's
// dates begin or end.
func (s *Service) Turns(tx *store.Tx, after, until time.Time) (turns []time.Time, err error) {
	add := func(at time.Time) {
		if at.After(after) && !at.After(until) {
			turns = append(turns, at)
		}
	}
	vaults, err := s.vaults.Scan(tx, "")
	if err != nil {
		return nil, err
	}
	for _, entry := range vaults {
		for _, state := range entry.Record.Access {
			add(state.From)
		}
	}
	keys, err := s.keys.Scan(tx, "")
	for _, entry := range keys {
		for _, version := range entry.Record.Versions {
			for _, date := range []*int64{version.NotBefore, version.Expires} {
				if date != nil {
					add(time.Unix(*date, 0))
				}
			}
		}
	}
	return turns, err
}
