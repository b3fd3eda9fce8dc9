package entra

import (
	"crypto/rsa"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/store"
)

// DefaultDomain is the tenant's domain name where Options give none.
const DefaultDomain = "crosskeyslab.onmicrosoft.com"

// Options are what the service needs.
type Options struct {
	Store  *store.Store
	Sealer *store.Sealer
	Clock  *clock.Clock
	// TenantID is the one tenant's GUID.
	TenantID string
	// TenantDomain is the tenant's domain name, which sign-in takes in place of
	// its id; empty is DefaultDomain.
	TenantDomain string
	// DefaultIdentity is the object id of the principal whose tokens the
	// managed-identity endpoints give when none is named; empty is the
	// application that was put first.
	DefaultIdentity string
	// NewID makes the GUIDs of principals, tokens and answers.
	NewID func() string
	// NewRSA makes the key that tokens are signed with; nil generates one.
	NewRSA func(bits int) (*rsa.PrivateKey, error)
	// Log is told of tokens given and refused; nil drops it.
	Log *slog.Logger
}

// Service is the lab's Entra ID. It is safe for concurrent use.
type Service struct {
	Options
	principals   store.Table[principalRecord]
	applications store.Table[string] // object id by application id
	keys         store.Table[keyRecord]
	settings     store.Table[setting]

	baseURLs atomic.Pointer[[]string]

	key    atomic.Pointer[signingKey]
	making sync.Mutex // held while the signing key is read or made

	trust trustCache
}

// New makes the service on the state that the store holds. It does no work
// that takes time: the signing key is made in the background, once
// SetBaseURLs says that the lab is up, or for the first token.
func New(o Options) (*Service, error) {
	if o.Store == nil || o.Sealer == nil || o.Clock == nil || o.NewID == nil || o.TenantID == "" {
		return nil, errors.New("entra: a store, a sealer, a clock, an id source and a tenant id are needed")
	}
	if o.TenantDomain == "" {
		o.TenantDomain = DefaultDomain
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		Options:      o,
		principals:   store.NewTable[principalRecord]("entra/principals"),
		applications: store.NewTable[string]("entra/applications"),
		keys:         store.NewTable[keyRecord]("entra/keys"),
		settings:     store.NewTable[setting]("entra/settings"),
	}, nil
}

// SetBaseURLs names the lab's own addresses, such as https://localhost:8443,
// which clients of a custom cloud give as authority and as resource. They are
// known only when the lab listens. From then on the signing key is being made
// beside the first calls, so that it does not lengthen the start.
func (s *Service) SetBaseURLs(urls []string) {
	trimmed := make([]string, 0, len(urls))
	for _, each := range urls {
		trimmed = append(trimmed, strings.TrimRight(each, "/"))
	}
	s.baseURLs.Store(&trimmed)
	go func() {
		if _, err := s.signingKey(); err != nil {
			// The store may have been closed meanwhile; whoever needs a token
			// next tries again and is told.
			s.Log.Debug("signing_key.failed", "error", err)
		}
	}()
}

func (s *Service) bases() []string {
	if urls := s.baseURLs.Load(); urls != nil {
		return *urls
	}
	return nil
}

// isTenant reports whether a path or claim names the lab's tenant.
func (s *Service) isTenant(name string) bool {
	return strings.EqualFold(name, s.TenantID) || strings.EqualFold(name, s.TenantDomain)
}

// issuer is the iss of the tokens that the service gives.
func (s *Service) issuer() string { return "https://sts.windows.net/" + s.TenantID + "/" }

// isIssuer reports whether tokens of this issuer are taken: the forms of
// version 1 and 2, and those under the lab's own address, ADFS's included.
// Source: https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
func (s *Service) isIssuer(issuer string) bool {
	if issuer == s.issuer() || issuer == "https://sts.chinacloudapi.cn/"+s.TenantID+"/" {
		return true
	}
	authorities := slices.Clone(s.bases())
	for _, base := range authorities {
		if issuer == base+"/"+s.TenantID+"/" || issuer == base+"/adfs" {
			return true
		}
	}
	for _, host := range LoginHosts() {
		authorities = append(authorities, "https://"+host)
	}
	return slices.ContainsFunc(authorities, func(authority string) bool {
		return issuer == authority+"/"+s.TenantID+"/v2.0"
	})
}
