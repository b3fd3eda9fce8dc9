package entra

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// How long tokens live. Their nbf lies five minutes back, for clocks that
// differ.
// Source: https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes
// Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/managed-identities-faq
const (
	applicationLifetime = time.Hour
	identityLifetime    = 24 * time.Hour
	notBeforeMargin     = 5 * time.Minute
)

const algorithm = "RS256"

// header is a token's JOSE header.
type header struct {
	Type      string   `json:"typ,omitempty"`
	Algorithm string   `json:"alg"`
	X5T       string   `json:"x5t,omitempty"`
	KeyID     string   `json:"kid,omitempty"`
	Critical  []string `json:"crit,omitempty"`
}

// payload is what a token says.
// Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type payload struct {
	Audience         string `json:"aud"`
	Issuer           string `json:"iss"`
	IssuedAt         int64  `json:"iat"`
	NotBefore        int64  `json:"nbf"`
	Expires          int64  `json:"exp"`
	AppID            string `json:"appid,omitempty"`
	AuthorizedParty  string `json:"azp,omitempty"` // of version 2.0
	AppIDACR         string `json:"appidacr,omitempty"`
	IdentityProvider string `json:"idp,omitempty"`
	IdentityType     string `json:"idtyp,omitempty"`
	ObjectID         string `json:"oid"`
	Subject          string `json:"sub"`
	TenantID         string `json:"tid"`
	TokenID          string `json:"uti,omitempty"`
	Version          string `json:"ver"`
	ManagedIdentity  string `json:"xms_mirid,omitempty"`
}

// issued is a token with what its endpoint says beside it.
type issued struct {
	Token              string
	Audience           string
	NotBefore, Expires time.Time
}

// Issue gives a token for a managed identity without going over the network,
// as the infrastructure of a resource does; the same one again while it has
// more than half of its life before it. ErrNoPrincipal when the principal is
// not there.
func (s *Service) Issue(objectID, audience string) (token string, expires time.Time, err error) {
	given, err := s.issueIdentity(objectID, audience)
	return given.Token, given.Expires, err
}

func (s *Service) issueIdentity(objectID, audience string) (issued, error) {
	now := s.Clock.Now()
	if kept, found := s.trust.findIssued(objectID, audience); found && now.Before(kept.Expires.Add(-identityLifetime/2)) {
		return kept, nil
	}
	generation := s.trust.generation()
	var principal Principal
	var found bool
	err := s.Store.View(func(tx *store.Tx) (err error) {
		principal, found, err = s.FindPrincipal(tx, objectID)
		return err
	})
	if err != nil {
		return issued{}, fmt.Errorf("issue a token: %w", err)
	}
	if !found {
		return issued{}, fmt.Errorf("issue a token for %s: %w", objectID, ErrNoPrincipal)
	}
	given, err := s.mint(principal, audience, identityLifetime)
	if err == nil {
		s.trust.keepIssued(generation, objectID, given)
	}
	return given, err
}

// mint makes a token that says that its bearer is the principal.
func (s *Service) mint(principal Principal, audience string, lifetime time.Duration) (issued, error) {
	now := s.Clock.Now().Truncate(time.Second)
	given := issued{Audience: audience, NotBefore: now.Add(-notBeforeMargin), Expires: now.Add(lifetime)}
	acr := "1" // signed in by a secret
	if principal.ManagedIdentity != "" {
		acr = "2" // by a certificate, which managed identities have
	}
	token, err := s.sign(payload{
		Audience: audience, Issuer: s.issuer(), IdentityProvider: s.issuer(),
		IssuedAt: given.NotBefore.Unix(), NotBefore: given.NotBefore.Unix(), Expires: given.Expires.Unix(),
		AppID: principal.AppID, AppIDACR: acr, IdentityType: "app",
		ObjectID: principal.ObjectID, Subject: principal.ObjectID, TenantID: s.TenantID,
		TokenID: s.NewID(), Version: "1.0", ManagedIdentity: principal.ManagedIdentity,
	})
	if err != nil {
		return issued{}, fmt.Errorf("make a token: %w", err)
	}
	given.Token = token
	s.Log.Debug("token.issued", "app_id", principal.AppID, "object_id", principal.ObjectID, "audience", audience, "expires", given.Expires)
	return given, nil
}

func (s *Service) sign(claims payload) (string, error) {
	key, err := s.signingKey()
	if err != nil {
		return "", err
	}
	head, err := json.Marshal(header{Type: "JWT", Algorithm: algorithm, X5T: key.id, KeyID: key.id})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString(base64.RawURLEncoding.EncodeToString(head))
	text.WriteByte('.')
	text.WriteString(base64.RawURLEncoding.EncodeToString(body))
	digest := sha256.Sum256([]byte(text.String()))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.private, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return text.String() + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
