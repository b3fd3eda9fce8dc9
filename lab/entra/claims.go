// Package entra is the lab's Microsoft Entra ID: discovery documents, signing
// keys, client-credentials and managed-identity tokens, and their checking;
// with it the documents that describe a cloud to its clients and the little of
// Microsoft Graph by which they find service principals.
//
// Its tokens are those that Azure's own services get: version 1.0, RS256, and
// issued by https://sts.windows.net/{tenant}/ whichever endpoint was asked.
// Source: https://learn.microsoft.com/entra/identity-platform/access-tokens
package entra

import "time"

// Claims are what a checked access token says of its bearer.
type Claims struct {
	Issuer    string
	Audience  string
	ObjectID  string // oid: the principal that role assignments and access policies name
	AppID     string // appid, or azp in a v2 token
	TenantID  string // tid
	NotBefore time.Time
	Expires   time.Time
	// ManagedIdentity is the ARM id of the resource whose managed identity the
	// bearer is (xms_mirid); empty for an application.
	ManagedIdentity string
}

// Principal is a service principal of the lab's tenant: an application with
// a secret, or a managed identity.
type Principal struct {
	ObjectID string
	AppID    string // the client id
	TenantID string
	Name     string
	// ManagedIdentity is the ARM id of the server or user-assigned identity
	// that the principal stands for; empty for an application.
	ManagedIdentity string
}

// Check names what was wrong with a token.
type Check string

// The checks, in the order in which they are made.
const (
	CheckForm      Check = "form"
	CheckSignature Check = "signature"
	CheckIssuer    Check = "issuer"
	// CheckPrincipal is for a token whose bearer is no longer in the tenant.
	CheckPrincipal Check = "principal"
	CheckAudience  Check = "audience"
	CheckExpiry    Check = "expiry"
)

// TokenError says why a token was not accepted.
type TokenError struct {
	Check   Check
	Message string // safe to show; holds no part of the token
}

// Error is the message.
func (e *TokenError) Error() string { return e.Message }
