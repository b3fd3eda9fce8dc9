package entra

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// openIDConfiguration is a discovery document.
// Source: https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#fetch-the-openid-configuration-document
type openIDConfiguration struct {
	TokenEndpoint         string   `json:"token_endpoint"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	KeysURI               string   `json:"jwks_uri"`
	ResponseModes         []string `json:"response_modes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	Grants                []string `json:"grant_types_supported,omitempty"`
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint,omitempty"`
	LogoutEndpoint        string   `json:"end_session_endpoint,omitempty"`
	Claims                []string `json:"claims_supported"`
	TenantRegion          string   `json:"tenant_region_scope,omitempty"`
	CloudInstance         string   `json:"cloud_instance_name,omitempty"`
	GraphHost             string   `json:"msgraph_host,omitempty"`
}

func (s *Service) serveDiscovery(w http.ResponseWriter, r *http.Request, tenant string, version endpointVersion) {
	// The document of "common" has the tenant left open.
	id := s.TenantID
	if isAnyTenant(tenant) {
		id = "{tenantid}"
	} else if err := s.checkTenant(tenant, "invalid_tenant"); err != nil {
		s.writeLoginError(w, r, err)
		return
	}
	path := id
	if id != s.TenantID {
		path = strings.ToLower(tenant)
	}
	s.stamp(w.Header(), r)
	writeJSON(w, http.StatusOK, s.discovery(r.Host, path, id, version))
}

func (s *Service) discovery(host, path, tenantID string, version endpointVersion) openIDConfiguration {
	authority := "https://" + host
	document := openIDConfiguration{
		AuthMethods:       []string{"client_secret_post", "client_secret_basic"},
		ResponseModes:     []string{"query", "fragment", "form_post"},
		SubjectTypes:      []string{"pairwise"},
		SigningAlgorithms: []string{algorithm},
		ResponseTypes:     []string{"code", "id_token", "code id_token", "token id_token", "token"},
		Scopes:            []string{"openid", "profile", "email", "offline_access"},
		Claims:            []string{"sub", "iss", "aud", "exp", "iat", "nbf", "appid", "oid", "tid", "ver", "idp", "uti"},
	}
	switch version {
	case version1:
		tenant := authority + "/" + path
		document.Issuer = "https://sts.windows.net/" + tenantID + "/"
		if !isLoginHost(host) {
			// Clients want the issuer of an authority that they do not know to
			// be at the authority itself.
			document.Issuer = authority + "/" + tenantID + "/"
		}
		document.TokenEndpoint, document.AuthorizationEndpoint = tenant+"/oauth2/token", tenant+"/oauth2/authorize"
		document.DeviceEndpoint, document.LogoutEndpoint = tenant+"/oauth2/devicecode", tenant+"/oauth2/logout"
		document.KeysURI = tenant + "/discovery/keys"
	case version2:
		tenant := authority + "/" + path
		document.Issuer = authority + "/" + tenantID + "/v2.0"
		document.TokenEndpoint, document.AuthorizationEndpoint = tenant+"/oauth2/v2.0/token", tenant+"/oauth2/v2.0/authorize"
		document.DeviceEndpoint, document.LogoutEndpoint = tenant+"/oauth2/v2.0/devicecode", tenant+"/oauth2/v2.0/logout"
		document.KeysURI = tenant + "/discovery/v2.0/keys"
	case versionADFS:
		server := authority + "/" + adfs
		document.Issuer = server
		document.TokenEndpoint, document.AuthorizationEndpoint = server+"/oauth2/token", server+"/oauth2/authorize"
		document.LogoutEndpoint, document.KeysURI = server+"/oauth2/logout", server+"/discovery/keys"
		document.Grants = []string{grantClientCredentials}
	}
	return document
}

func (s *Service) serveKeys(w http.ResponseWriter, r *http.Request, tenant string, version endpointVersion) {
	if !strings.EqualFold(tenant, adfs) && !isAnyTenant(tenant) {
		if err := s.checkTenant(tenant, "invalid_tenant"); err != nil {
			s.writeLoginError(w, r, err)
			return
		}
	}
	key, err := s.signingKey()
	if err != nil {
		s.writeLoginError(w, r, err)
		return
	}
	issuer := ""
	if version == version2 {
		issuer = "https://" + r.Host + "/" + s.TenantID + "/v2.0"
	}
	s.stamp(w.Header(), r)
	writeJSON(w, http.StatusOK, map[string][]jwk{"keys": {key.public(issuer)}})
}

// instance is the answer of instance discovery, by which Microsoft's
// authentication libraries ask whether an authority is to be trusted.
type instance struct {
	TenantDiscovery string             `json:"tenant_discovery_endpoint"`
	APIVersion      string             `json:"api-version"`
	Metadata        []instanceMetadata `json:"metadata"`
}

type instanceMetadata struct {
	PreferredNetwork string   `json:"preferred_network"`
	PreferredCache   string   `json:"preferred_cache"`
	Aliases          []string `json:"aliases"`
}

// serveInstance vouches for the login hosts and for the lab's own addresses.
// Some clients leave the port out when they ask; then the lab's first address
// is meant.
// Source: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
func (s *Service) serveInstance(w http.ResponseWriter, r *http.Request) {
	asked, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || asked.Scheme != "https" {
		s.writeLoginError(w, r, unknownInstance())
		return
	}
	host, segments := s.knownInstance(asked.Host), split(asked.Path)
	if host == "" || len(segments) == 0 {
		s.writeLoginError(w, r, unknownInstance())
		return
	}
	discovery := "https://" + host + "/" + segments[0]
	if slices.Contains(segments, "v2.0") {
		discovery += "/v2.0"
	}
	aliases := []string{host}
	if asked.Host != host {
		aliases = append(aliases, asked.Host)
	}
	version := r.URL.Query().Get("api-version")
	if version == "" {
		version = "1.1"
	}
	s.stamp(w.Header(), r)
	writeJSON(w, http.StatusOK, instance{
		TenantDiscovery: discovery + "/.well-known/openid-configuration", APIVersion: version,
		Metadata: []instanceMetadata{{PreferredNetwork: host, PreferredCache: host, Aliases: aliases}},
	})
}

// knownInstance gives the host under which an asked-for authority is found;
// empty when it is not one of the lab's.
func (s *Service) knownInstance(host string) string {
	host = strings.ToLower(host)
	if isLoginHost(host) {
		return host
	}
	for _, base := range s.bases() {
		own := strings.TrimPrefix(base, "https://")
		if name, _, err := net.SplitHostPort(own); host == own || (err == nil && host == name) {
			return own
		}
	}
	return ""
}

func isLoginHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return slices.Contains(LoginHosts(), strings.ToLower(host))
}
