package entra

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// maxTokenLen bounds what is looked at as a token, in bytes. Real ones have
// one or two thousand.
const maxTokenLen = 16 << 10

// azureTime is how Resource Manager writes dates in its refusals.
const azureTime = "1/2/2006 3:04:05 PM"

// Verify checks a token for a service that takes the audiences: its form, the
// signature (RS256 by the tenant's key, nothing else), issuer and tenant, that
// its principal is still there, audience, and dates on the lab's clock. The
// error is a *TokenError, unless the store failed.
//
// A token that passed is remembered, so that checking it again costs
// microseconds; audience, dates and the principal's deletion count each time.
func (s *Service) Verify(token string, audiences []string) (Claims, error) {
	claims, err := s.trusted(token)
	if err != nil {
		return Claims{}, err
	}
	if !takes(audiences, claims.Audience) {
		return Claims{}, refuse(CheckAudience, "The access token has been obtained for wrong audience or resource. It should exactly match (including forward slash) with one of the allowed audiences '%s'.",
			strings.Join(audiences, "','"))
	}
	now := s.Clock.Now()
	if !now.Before(claims.Expires) {
		return Claims{}, refuse(CheckExpiry, "The access token expiry UTC time '%s' is earlier than current UTC time '%s'.",
			claims.Expires.Format(azureTime), now.Format(azureTime))
	}
	if now.Before(claims.NotBefore) {
		return Claims{}, refuse(CheckExpiry, "The access token is not yet valid: its 'nbf' UTC time '%s' is later than current UTC time '%s'.",
			claims.NotBefore.Format(azureTime), now.Format(azureTime))
	}
	return claims, nil
}

// trusted gives the claims of a token that the tenant signed for a principal
// that is there; audience and dates are yet to be judged.
func (s *Service) trusted(token string) (Claims, error) {
	if len(token) > maxTokenLen {
		return Claims{}, refuse(CheckForm, "The access token is invalid: it is longer than %d bytes.", maxTokenLen)
	}
	digest := sha256.Sum256([]byte(token))
	if claims, found := s.trust.findVerified(digest); found {
		return claims, nil
	}
	generation := s.trust.generation()
	claims, err := s.read(token)
	if err != nil {
		return Claims{}, err
	}
	var found bool
	err = s.Store.View(func(tx *store.Tx) (err error) {
		_, found, err = s.FindPrincipal(tx, claims.ObjectID)
		return err
	})
	if err != nil {
		return Claims{}, fmt.Errorf("find the principal of a token: %w", err)
	}
	if !found {
		return Claims{}, refuse(CheckPrincipal, "The access token is invalid: its principal is not in the tenant '%s'.", s.TenantID)
	}
	s.trust.keepVerified(generation, digest, claims)
	return claims, nil
}

// read parses a token and checks its signature and issuer.
func (s *Service) read(token string) (Claims, error) {
	parts, err := splitToken(token)
	if err != nil {
		return Claims{}, err
	}
	key, err := s.signingKey()
	if err != nil {
		return Claims{}, err
	}
	if parts.header.KeyID != key.id {
		return Claims{}, refuse(CheckSignature, "The access token is invalid: the key that it names is not one of the tenant '%s'.", s.TenantID)
	}
	digest := sha256.Sum256([]byte(parts.signed))
	if err := rsa.VerifyPKCS1v15(&key.private.PublicKey, crypto.SHA256, digest[:], parts.signature); err != nil {
		return Claims{}, refuse(CheckSignature, "The access token is invalid: its signature is not by the key of the tenant '%s'.", s.TenantID)
	}
	if !s.isIssuer(parts.payload.Issuer) || !strings.EqualFold(parts.payload.TenantID, s.TenantID) {
		return Claims{}, refuse(CheckIssuer, "The access token is from the wrong issuer. It must match the tenant '%s' associated with this subscription.", s.issuer())
	}
	return parts.payload.claims(), nil
}

// tokenParts is a token taken apart, with nothing yet believed.
type tokenParts struct {
	header    header
	payload   payload
	signed    string // what the signature is over
	signature []byte
}

// splitToken takes a token apart: JWS compact form, RS256, no extensions, with
// the claims that every access token has.
func splitToken(token string) (tokenParts, error) {
	var parts tokenParts
	pieces := strings.Split(token, ".")
	if len(pieces) != 3 {
		return parts, refuse(CheckForm, "The access token is invalid: it has not the three parts of a signed token.")
	}
	if !decodePart(pieces[0], &parts.header) {
		return parts, refuse(CheckForm, "The access token is invalid: its header cannot be read.")
	}
	// Before anything else is looked at: neither "none" nor an HMAC keyed with
	// the public key is a signature.
	if parts.header.Algorithm != algorithm {
		return parts, refuse(CheckSignature, "The access token is invalid: it must be signed with %s.", algorithm)
	}
	if len(parts.header.Critical) > 0 {
		return parts, refuse(CheckForm, "The access token is invalid: it uses extensions that are not known.")
	}
	if !decodePart(pieces[1], &parts.payload) {
		return parts, refuse(CheckForm, "The access token is invalid: its claims cannot be read.")
	}
	p := parts.payload
	if p.ObjectID == "" || p.Audience == "" || p.Expires == 0 || p.NotBefore == 0 {
		return parts, refuse(CheckForm, "The access token is invalid: the claims 'oid', 'aud', 'nbf' and 'exp' should be present.")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(pieces[2])
	if err != nil {
		return parts, refuse(CheckForm, "The access token is invalid: its signature cannot be read.")
	}
	parts.signed, parts.signature = token[:len(pieces[0])+1+len(pieces[1])], signature
	return parts, nil
}

func decodePart(piece string, into any) bool {
	text, err := base64.RawURLEncoding.Strict().DecodeString(piece)
	return err == nil && json.Unmarshal(text, into) == nil
}

func (p payload) claims() Claims {
	app := p.AppID
	if app == "" {
		app = p.AuthorizedParty
	}
	return Claims{
		Issuer: p.Issuer, Audience: p.Audience, ObjectID: p.ObjectID, AppID: app, TenantID: p.TenantID,
		NotBefore: time.Unix(p.NotBefore, 0).UTC(), Expires: time.Unix(p.Expires, 0).UTC(), ManagedIdentity: p.ManagedIdentity,
	}
}

func refuse(check Check, format string, arguments ...any) *TokenError {
	return &TokenError{Check: check, Message: fmt.Sprintf(format, arguments...)}
}
