package entra

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/store"
)

// adfs is the path of an authority that clients take for Active Directory
// Federation Services: they then ask nobody else whether to trust it.
const adfs = "adfs"

// Handler answers the sign-in hosts by path: discovery documents, signing keys
// and token endpoints of the tenant and of /adfs. URLs in its answers have the
// host of the request, so that a custom cloud at the lab's own address works
// as the public names do.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serveLogin) }

func (s *Service) serveLogin(w http.ResponseWriter, r *http.Request) {
	segments := split(r.URL.Path)
	if len(segments) < 2 {
		s.writeLoginError(w, r, s.notServed(r))
		return
	}
	tenant, endpoint := segments[0], strings.ToLower(strings.Join(segments[1:], "/"))
	federated := strings.EqualFold(tenant, adfs)
	switch endpoint {
	case "oauth2/v2.0/token":
		s.serveToken(w, r, tenant, version2)
	case "oauth2/token":
		if federated {
			s.serveToken(w, r, s.TenantID, versionADFS)
			return
		}
		s.serveToken(w, r, tenant, version1)
	case ".well-known/openid-configuration":
		if federated {
			s.serveDiscovery(w, r, s.TenantID, versionADFS)
			return
		}
		s.serveDiscovery(w, r, tenant, version1)
	case "v2.0/.well-known/openid-configuration":
		s.serveDiscovery(w, r, tenant, version2)
	case "discovery/keys":
		s.serveKeys(w, r, tenant, version1)
	case "discovery/v2.0/keys":
		s.serveKeys(w, r, tenant, version2)
	case "discovery/instance":
		s.serveInstance(w, r)
	default:
		s.writeLoginError(w, r, s.notServed(r))
	}
}

// endpointVersion tells the three kinds of endpoints apart.
type endpointVersion int

const (
	version1 endpointVersion = iota
	version2
	versionADFS
)

func (s *Service) notServed(r *http.Request) error {
	return &loginError{Status: http.StatusNotFound, OAuth: "invalid_request", Text: fmt.Sprintf(
		"The lab's Entra ID does not serve %s %s: docs/parity.md lists what it does.", r.Method, r.URL.Path)}
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// checkTenant refuses a name that is not the tenant's, with oauth as the
// error. The names that mean "whichever tenant" identify none.
func (s *Service) checkTenant(name, oauth string) error {
	if s.isTenant(name) {
		return nil
	}
	if isAnyTenant(name) {
		return noTenant()
	}
	if _, err := uuid.Parse(name); err != nil && !strings.Contains(name, ".") {
		return noDomain(name)
	}
	return unknownTenant(name, oauth)
}

func isAnyTenant(name string) bool {
	switch strings.ToLower(name) {
	case "common", "organizations", "consumers":
		return true
	}
	return false
}

// tokenAnswer is the answer of the version 2.0 and ADFS token endpoints.
type tokenAnswer struct {
	Type         string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"` // in seconds
	ExtExpiresIn int    `json:"ext_expires_in"`
	Token        string `json:"access_token"`
}

// tokenAnswer1 is that of version 1, which writes numbers as strings.
type tokenAnswer1 struct {
	Type         string `json:"token_type"`
	ExpiresIn    string `json:"expires_in"`
	ExtExpiresIn string `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on"` // seconds since 1970
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	Token        string `json:"access_token"`
}

func (s *Service) serveToken(w http.ResponseWriter, r *http.Request, tenant string, version endpointVersion) {
	given, err := s.token(w, r, tenant, version)
	if err != nil {
		s.writeLoginError(w, r, err)
		return
	}
	s.stamp(w.Header(), r)
	// Entra rounds the remaining life down.
	left := int(applicationLifetime.Seconds()) - 1
	if version == version1 {
		seconds := strconv.Itoa(left)
		writeJSON(w, http.StatusOK, tokenAnswer1{
			Type: "Bearer", ExpiresIn: seconds, ExtExpiresIn: seconds, Resource: given.Audience, Token: given.Token,
			ExpiresOn: strconv.FormatInt(given.Expires.Unix(), 10), NotBefore: strconv.FormatInt(given.NotBefore.Unix(), 10),
		})
		return
	}
	writeJSON(w, http.StatusOK, tokenAnswer{Type: "Bearer", ExpiresIn: left, ExtExpiresIn: left, Token: given.Token})
}

func (s *Service) token(w http.ResponseWriter, r *http.Request, tenant string, version endpointVersion) (issued, error) {
	if r.Method != http.MethodPost {
		return issued{}, onlyAccepts(http.MethodPost, r.Method)
	}
	if err := s.checkTenant(tenant, "invalid_request"); err != nil {
		return issued{}, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFormLen))
	if err != nil {
		return issued{}, missingParameter("grant_type")
	}
	request := readTokenRequest(r.Header.Get("Content-Type"), r.Header.Get("Authorization"), body)
	switch request.Grant {
	case "":
		return issued{}, missingParameter("grant_type")
	case grantClientCredentials:
	default:
		return issued{}, unsupportedGrant(request.Grant)
	}
	if request.ClientID == "" {
		return issued{}, missingParameter("client_id")
	}
	resource, err := request.resource(version)
	if err != nil {
		return issued{}, err
	}
	principal, err := s.signIn(request)
	if err != nil {
		return issued{}, err
	}
	audience, known := s.audienceOf(resource)
	if !known {
		return issued{}, unknownResource(resource, s.TenantDomain)
	}
	return s.mint(principal, audience, applicationLifetime)
}

// resource is what the token is wanted for: version 1 names it as resource,
// version 2 by a scope, ADFS takes either.
func (q tokenRequest) resource(version endpointVersion) (string, error) {
	if version == version2 && q.Resource != "" {
		return "", resourceUnsupported()
	}
	if q.Resource != "" {
		return q.Resource, nil
	}
	if version == version1 {
		return "", missingParameter("resource")
	}
	if q.Scope == "" {
		return "", missingParameter("scope")
	}
	return resourceOfScope(q.Scope)
}

// signIn checks an application's credentials.
func (s *Service) signIn(request tokenRequest) (Principal, error) {
	var record principalRecord
	var found bool
	err := s.Store.View(func(tx *store.Tx) (err error) {
		record, found, err = s.findApplication(tx, request.ClientID)
		return err
	})
	if err != nil {
		return Principal{}, fmt.Errorf("find the application: %w", err)
	}
	if !found {
		return Principal{}, unknownApplication(request.ClientID, s.TenantDomain)
	}
	if request.Secret == "" {
		if request.Assertion != "" {
			return Principal{}, unknownCertificate()
		}
		return Principal{}, noSecret()
	}
	right, err := s.hasSecret(record, request.Secret)
	if err != nil {
		return Principal{}, err
	}
	if !right {
		return Principal{}, invalidSecret(request.ClientID)
	}
	return record.Principal, nil
}
