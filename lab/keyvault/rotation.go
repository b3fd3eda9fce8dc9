package keyvault

import (
	"crypto"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// rotationPolicy says when a key gets a new version by itself.
// Source: https://learn.microsoft.com/azure/key-vault/keys/how-to-configure-key-rotation
type rotationPolicy struct {
	Actions    []lifetimeAction `json:"lifetimeActions"`
	Attributes policyAttributes `json:"attributes"`
}

type lifetimeAction struct {
	Trigger trigger `json:"trigger"`
	Action  action  `json:"action"`
}

type trigger struct {
	AfterCreate  string `json:"timeAfterCreate,omitempty"`
	BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
}

type action struct {
	Type string `json:"type"`
}

type policyAttributes struct {
	ExpiryTime string `json:"expiryTime,omitempty"`
	Created    int64  `json:"created,omitempty"`
	Updated    int64  `json:"updated,omitempty"`
}

type policyBody struct {
	ID string `json:"id"`
	rotationPolicy
}

// The lifetime actions. Notify is taken and kept; the lab has no event grid
// that it could tell.
const (
	actionRotate = "Rotate"
	actionNotify = "Notify"
)

// defaultPolicy is what the service shows of a key that was given none.
func defaultPolicy() rotationPolicy {
	return rotationPolicy{Actions: []lifetimeAction{{Trigger: trigger{BeforeExpiry: "P30D"}, Action: action{Type: actionNotify}}}}
}

func (c *call) policyBody(policy rotationPolicy) policyBody {
	return policyBody{ID: c.kid(c.key.Name, "") + "/rotationpolicy", rotationPolicy: policy}
}

func (s *Service) getRotationPolicy(c *call) (any, error) {
	if _, err := c.live(); err != nil {
		return nil, err
	}
	if c.key.Policy == nil {
		return c.policyBody(defaultPolicy()), nil
	}
	return c.policyBody(*c.key.Policy), nil
}

func (s *Service) setRotationPolicy(c *call) (any, error) {
	var policy rotationPolicy
	if err := c.decode(&policy); err != nil {
		return nil, err
	}
	if _, err := c.live(); err != nil {
		return nil, err
	}
	if err := policy.check(c.now); err != nil {
		return nil, err
	}
	err := s.changeKey(c, func(tx *store.Tx, found bool, key *keyRecord) error {
		if !found {
			return keyNotFound(c.target.key)
		}
		policy.Attributes.Created, policy.Attributes.Updated = c.now.Unix(), c.now.Unix()
		if key.Policy != nil {
			policy.Attributes.Created = key.Policy.Attributes.Created
		}
		key.Policy = &policy
		return s.planRotation(tx, c.vault.Name, *key)
	})
	if err != nil {
		return nil, err
	}
	return c.policyBody(policy), nil
}

const (
	minExpiryDays  = 28
	minTriggerDays = 7
)

// check holds a policy to the service's rules and writes its action types in
// the service's spelling.
func (p *rotationPolicy) check(now time.Time) error {
	if p.Actions == nil {
		p.Actions = []lifetimeAction{}
	}
	expires := now
	if p.Attributes.ExpiryTime != "" {
		expiry, err := parseDuration(p.Attributes.ExpiryTime)
		if err != nil {
			return badParameter("The expiryTime '%s' is not an ISO 8601 duration.", p.Attributes.ExpiryTime)
		}
		if expires = expiry.after(now); expires.Before(now.AddDate(0, 0, minExpiryDays)) {
			return badParameter("The expiryTime must be at least %d days.", minExpiryDays)
		}
	}
	seen := map[string]bool{}
	for i := range p.Actions {
		kind := &p.Actions[i].Action.Type
		if !spell(kind, actionRotate, actionNotify) || *kind == "" || seen[*kind] {
			return badParameter("The lifetime action '%s' is invalid: there may be one Rotate and one Notify.", *kind)
		}
		seen[*kind] = true
		if err := p.Actions[i].Trigger.check(now, expires, *kind); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a trigger that is not exactly one duration, or that would go
// off too early. expires equals now when new versions do not expire.
func (t trigger) check(now, expires time.Time, kind string) error {
	if (t.AfterCreate == "") == (t.BeforeExpiry == "") {
		return badParameter("A lifetime action needs either timeAfterCreate or timeBeforeExpiry.")
	}
	text := t.AfterCreate + t.BeforeExpiry
	d, err := parseDuration(text)
	if err != nil {
		return badParameter("The trigger '%s' is not an ISO 8601 duration.", text)
	}
	earliest := now.AddDate(0, 0, minTriggerDays)
	if t.BeforeExpiry != "" {
		if kind == actionRotate && !expires.After(now) {
			return badParameter("The trigger timeBeforeExpiry needs an expiryTime.")
		}
		if d.after(now).Before(earliest) {
			return badParameter("The trigger timeBeforeExpiry must be at least %d days.", minTriggerDays)
		}
		if expires.After(now) && d.before(expires).Before(earliest) {
			return badParameter("The trigger timeBeforeExpiry must leave at least %d days after creation.", minTriggerDays)
		}
		return nil
	}
	at := d.after(now)
	if at.Before(earliest) {
		return badParameter("The trigger timeAfterCreate must be at least %d days.", minTriggerDays)
	}
	if expires.After(now) && at.After(expires.AddDate(0, 0, -minTriggerDays)) {
		return badParameter("The trigger timeAfterCreate must be at least %d days before the key expires.", minTriggerDays)
	}
	return nil
}

// rotationAfter is when a version that was created and expires as given is to
// be rotated; false when it is not.
func (p *rotationPolicy) rotationAfter(created, expires int64) (time.Time, bool) {
	if p == nil {
		return time.Time{}, false
	}
	at := slices.IndexFunc(p.Actions, func(a lifetimeAction) bool { return a.Action.Type == actionRotate })
	if at < 0 {
		return time.Time{}, false
	}
	t := p.Actions[at].Trigger
	d, err := parseDuration(t.AfterCreate + t.BeforeExpiry)
	switch {
	case err != nil, t.BeforeExpiry != "" && expires == 0:
		return time.Time{}, false
	case t.AfterCreate != "":
		return d.after(time.Unix(created, 0).UTC()), true
	}
	return d.before(time.Unix(expires, 0).UTC()), true
}

// expiryOf is when a version created then expires by the policy; zero for
// never.
func (p *rotationPolicy) expiryOf(created time.Time) int64 {
	if p == nil || p.Attributes.ExpiryTime == "" {
		return 0
	}
	d, err := parseDuration(p.Attributes.ExpiryTime)
	if err != nil {
		return 0
	}
	return d.after(created).Unix()
}

// rotateKey makes a new version of the latest one's kind.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/rotate-key/rotate-key
func (s *Service) rotateKey(c *call) (any, error) {
	latest, err := c.live()
	if err != nil {
		return nil, err
	}
	private, err := s.generateLike(latest)
	if err != nil {
		return nil, err
	}
	version := s.successor(latest, c.key.Policy, c.now)
	return s.addVersion(c, version, private)
}

// generateLike makes a private key of the same type and size.
func (s *Service) generateLike(version keyVersion) (crypto.Signer, error) {
	request := createRequest{Kty: version.family(), Crv: version.Public.Crv}
	if request.Kty == ktyRSA {
		request.KeySize = new(max(version.Public.bits(), defaultRSASize))
	}
	return s.generate(request)
}

// successor is the next version after one, without its material.
func (s *Service) successor(latest keyVersion, policy *rotationPolicy, now time.Time) keyVersion {
	next := keyVersion{
		ID: s.newVersionID(), Kty: latest.Kty, Ops: latest.Ops, Enabled: true,
		Created: now.Unix(), Updated: now.Unix(), Tags: latest.Tags,
	}
	if expires := policy.expiryOf(now); expires != 0 {
		next.Expires = &expires
	}
	return next
}

// bits is the size of an RSA key.
func (j publicJWK) bits() int {
	return len(strings.TrimRight(j.N, "=")) * 6 / 8 * 8
}
