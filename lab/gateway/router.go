package gateway

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// Router hands a request to the service that its Host names, and at the lab's
// own address to the one that its path names. Paths reach the services as they
// came, double slashes included: some clients send them, and a redirect to a
// cleaned path would lose a request's body. It is safe for concurrent use when
// the handlers are; a nil one is not served.
type Router struct {
	ARM      http.Handler // Resource Manager
	Login    http.Handler // Entra ID
	Identity http.Handler // the tokens of managed identities
	Metadata http.Handler // /metadata/endpoints
	Graph    http.Handler // Microsoft Graph
	Vault    http.Handler // every vault's data plane, by the first label of Host
	Control  http.Handler // the lab's own, under /_lab/
}

// ServeHTTP routes one request; a host that the lab does not serve gets 421.
func (t *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	next := t.route(hostOf(r.Host), r.URL.Path)
	if next == nil {
		http.Error(w, fmt.Sprintf("The lab does not serve https://%s%s. It answers for the sign-in hosts, Azure Resource Manager, Microsoft Graph and vaults; nothing was sent anywhere else.",
			r.Host, r.URL.EscapedPath()), http.StatusMisdirectedRequest)
		return
	}
	next.ServeHTTP(w, r)
}

func (t *Router) route(host, path string) http.Handler {
	segments := strings.FieldsFunc(strings.ToLower(path), func(c rune) bool { return c == '/' })
	switch destinationOf(host) {
	case toLocal:
		return t.routeLocal(segments)
	case toLogin:
		return t.Login
	case toARM:
		if startsWith(segments, "metadata", "endpoints") {
			return t.Metadata
		}
		return t.ARM
	case toGraph:
		return t.Graph
	case toVault:
		return t.Vault
	case toSQL, nowhere:
	}
	return nil
}

// routeLocal tells the services apart that share the lab's own address; what
// is nobody else's is Resource Manager's.
func (t *Router) routeLocal(segments []string) http.Handler {
	switch {
	case startsWith(segments, "_lab"):
		return t.Control
	case startsWith(segments, "metadata", "endpoints"):
		return t.Metadata
	case startsWith(segments, "metadata", "identity"), startsWith(segments, "msi", "token"):
		return t.Identity
	case startsWith(segments, "v1.0"):
		return t.Graph
	case isLogin(segments):
		return t.Login
	}
	return t.ARM
}

// isLogin reports whether a path is Entra ID's: /adfs/… and /common/…, or a
// tenant, by GUID or domain name, with one of its endpoints. Resource Manager
// has no path that looks so.
func isLogin(segments []string) bool {
	if len(segments) < 2 {
		return false
	}
	switch segments[0] {
	case "adfs", "common", "organizations", "consumers":
		return true
	}
	if _, err := uuid.Parse(segments[0]); err != nil && !strings.Contains(segments[0], ".") {
		return false
	}
	switch segments[1] {
	case "oauth2", "discovery", ".well-known", "v2.0":
		return true
	}
	return false
}

func startsWith(segments []string, beginning ...string) bool {
	if len(segments) < len(beginning) {
		return false
	}
	for i, each := range beginning {
		if segments[i] != each {
			return false
		}
	}
	return true
}
