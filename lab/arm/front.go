package arm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/store"
)

// TokenVerifier checks an access token: signature, issuer, audience, dates.
type TokenVerifier interface {
	// Verify gives the token's claims, or an error whose text may be shown to
	// the caller; *entra.TokenError says which check failed.
	Verify(token string, audiences []string) (entra.Claims, error)
}

// Authorizer decides whether a caller holds a permission at a scope.
type Authorizer interface {
	Authorize(tx *store.Tx, caller entra.Claims, action, scope string) (bool, error)
}

// ScopeChecker refuses a path whose subscription or resource group is not
// there. group is empty for a path at subscription scope.
type ScopeChecker interface {
	CheckScope(tx *store.Tx, subscription, group string) error
}

// FrontOptions are what the front needs.
type FrontOptions struct {
	Store      *store.Store
	Tokens     TokenVerifier
	Roles      Authorizer
	Scopes     ScopeChecker
	Audiences  []string // resources for which ARM takes tokens
	LoginURL   string   // authority named in challenges, without the tenant
	TenantID   string
	Location   string // of this ARM instance, in request ids
	NewID      func() string
	Log        *slog.Logger
	OnRequest  func(CallRecord) // told of each answered call; may be nil
	Now        func() string    // the Date header's text in the lab's time; nil leaves net/http's
	MaxBodyLen int64            // in bytes; zero is 4 MiB, Azure's limit
}

// CallRecord is one answered call, for the lab's log.
type CallRecord struct {
	Method, Path, Query, Action, Caller string
	Status                              int
	Code                                string // of the refusal, if it was one
}

// Front is ARM's HTTP face. Add every provider before serving; after that it
// is safe for concurrent use.
type Front struct {
	options   FrontOptions
	table     table
	providers map[string]Provider // by namespace in lower case
}

// NewFront makes a front without routes.
func NewFront(o FrontOptions) *Front {
	if o.MaxBodyLen == 0 {
		o.MaxBodyLen = 4 << 20
	}
	return &Front{options: o, providers: map[string]Provider{}}
}

// Add puts a provider's routes into the table; a route that is there twice is
// an error.
func (f *Front) Add(p Provider) error {
	if p.Namespace != "" {
		f.providers[strings.ToLower(p.Namespace)] = p
	}
	for _, route := range p.Routes {
		if err := f.table.add(p, route); err != nil {
			return err
		}
	}
	return nil
}

// Providers lists what was added, by namespace.
func (f *Front) Providers() []Provider {
	list := make([]Provider, 0, len(f.providers))
	for _, p := range f.providers {
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Namespace < list[j].Namespace })
	return list
}

// Serves reports whether a route answers the method and path.
func (f *Front) Serves(method, path string) bool {
	m, _, _ := f.table.find(method, path)
	return m != nil
}

// ServeHTTP answers one ARM call.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.stamp(w.Header(), r)
	call := CallRecord{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery}
	response, err := f.serve(r, &call)
	if err != nil {
		refusal := AsError(err)
		if refusal.Status >= http.StatusInternalServerError {
			f.options.Log.Error("arm.failed", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		call.Status, call.Code = refusal.Status, refusal.Code
		if refusal.Status >= 400 {
			w.Header().Set("x-ms-failure-cause", "gateway")
		}
		writeError(w, refusal)
	} else {
		call.Status = response.Status
		for name, values := range response.Header {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
		writeJSON(w, response.Status, response.Body)
	}
	if f.options.OnRequest != nil {
		f.options.OnRequest(call)
	}
}

// Refuse answers a call with a refusal that does not come from its handler,
// with the headers of every answer, and has it logged.
func (f *Front) Refuse(w http.ResponseWriter, r *http.Request, refusal *Error) {
	f.stamp(w.Header(), r)
	w.Header().Set("x-ms-failure-cause", "gateway")
	writeError(w, refusal)
	if f.options.OnRequest != nil {
		f.options.OnRequest(CallRecord{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Status: refusal.Status, Code: refusal.Code})
	}
}

// stamp sets the headers that every ARM answer carries.
func (f *Front) stamp(h http.Header, r *http.Request) {
	id := f.options.NewID()
	h.Set("x-ms-request-id", id)
	correlation := r.Header.Get("x-ms-correlation-request-id")
	if correlation == "" {
		correlation = id
	}
	h.Set("x-ms-correlation-request-id", correlation)
	h.Set("x-ms-routing-request-id", strings.ToUpper(f.options.Location)+":"+id)
	if client := r.Header.Get("x-ms-client-request-id"); client != "" && strings.EqualFold(r.Header.Get("x-ms-return-client-request-id"), "true") {
		h.Set("x-ms-client-request-id", client)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.Set("x-ms-ratelimit-remaining-subscription-reads", "1099")
		h.Set("x-ms-ratelimit-remaining-subscription-global-reads", "16499")
	case http.MethodDelete:
		h.Set("x-ms-ratelimit-remaining-subscription-deletes", "799")
		h.Set("x-ms-ratelimit-remaining-subscription-global-deletes", "11999")
	default:
		h.Set("x-ms-ratelimit-remaining-subscription-writes", "799")
		h.Set("x-ms-ratelimit-remaining-subscription-global-writes", "11999")
	}
	if f.options.Now != nil {
		h.Set("Date", f.options.Now())
	}
}

func (f *Front) serve(r *http.Request, call *CallRecord) (*Response, error) {
	segments := split(r.URL.Path)
	path := "/" + strings.Join(segments, "/")
	caller, err := f.authenticate(r)
	if err != nil {
		return nil, err
	}
	call.Caller = caller.AppID
	version := queryFold(r, "api-version")
	if version == "" {
		return nil, Refuse(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	if err := f.checkScope(segments); err != nil {
		return nil, err
	}
	m, params, known := f.table.find(r.Method, path)
	if m == nil {
		return nil, f.noRoute(r.Method, path, segments, version, known)
	}
	if err := checkVersion(m, segments, version); err != nil {
		return nil, err
	}
	call.Action = m.action
	if err := f.authorize(caller, m.action, path); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, f.options.MaxBodyLen))
	if err != nil {
		return nil, Refuse(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request content size exceeds the maximum size of %d bytes.", f.options.MaxBodyLen)
	}
	request := &Request{HTTP: r, Body: body, APIVersion: version, Caller: caller, Path: path, params: params}
	return m.route.Handle(r.Context(), request)
}

// authenticate gives the caller's claims, or Azure's 401 with a challenge.
func (f *Front) authenticate(r *http.Request) (entra.Claims, error) {
	header := r.Header.Get("Authorization")
	token, bearer := strings.CutPrefix(header, "Bearer ")
	if !bearer || token == "" {
		return entra.Claims{}, f.challenge("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.",
			"The authentication failed because of missing 'Authorization' header.")
	}
	claims, err := f.options.Tokens.Verify(token, f.options.Audiences)
	if err == nil {
		return claims, nil
	}
	code := "InvalidAuthenticationToken"
	if failed, ok := errors.AsType[*entra.TokenError](err); ok {
		switch failed.Check {
		case entra.CheckAudience:
			code = "InvalidAuthenticationTokenAudience"
		case entra.CheckExpiry:
			code = "ExpiredAuthenticationToken"
		case entra.CheckForm, entra.CheckSignature, entra.CheckIssuer, entra.CheckPrincipal:
		}
	}
	return entra.Claims{}, f.challenge(code, err.Error(), err.Error())
}

func (f *Front) challenge(code, message, description string) *Error {
	refusal := Refuse(http.StatusUnauthorized, code, "%s", message)
	refusal.Header = http.Header{"Www-Authenticate": []string{fmt.Sprintf(
		`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`,
		strings.TrimSuffix(f.options.LoginURL, "/"), f.options.TenantID, strings.ReplaceAll(description, `"`, "'"))}}
	return refusal
}

func (f *Front) authorize(caller entra.Claims, action, scope string) error {
	if action == "-" {
		return nil
	}
	allowed := false
	err := f.options.Store.View(func(tx *store.Tx) (err error) {
		allowed, err = f.options.Roles.Authorize(tx, caller, action, scope)
		return err
	})
	if err != nil || allowed {
		return err
	}
	return Refuse(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		caller.AppID, caller.ObjectID, action, scope)
}

func (f *Front) checkScope(segments []string) error {
	if len(segments) < 2 || !strings.EqualFold(segments[0], "subscriptions") {
		return nil
	}
	group := ""
	// The group itself may be asked for when it is not there: its own route
	// answers that.
	if len(segments) > 4 && strings.EqualFold(segments[2], "resourceGroups") {
		group = segments[3]
	}
	return f.options.Store.View(func(tx *store.Tx) error {
		return f.options.Scopes.CheckScope(tx, segments[1], group)
	})
}

func checkVersion(m *match, segments []string, version string) error {
	if len(m.dates) == 0 || slices.Contains(m.dates, version) {
		return nil
	}
	supported := strings.Join(m.dates, ",")
	if m.spaces == "" {
		return Refuse(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported versions are '%s'.", version, supported)
	}
	return Refuse(http.StatusBadRequest, "NoRegisteredProviderFound",
		"No registered resource provider found for location '%s' and API version '%s' for type '%s'. The supported api-versions are '%s'. The supported locations are ''.",
		"", version, typeOf(segments), supported)
}

// typeOf is the resource type behind the last /providers/{namespace}.
func typeOf(segments []string) string {
	_, kind := providerOf(segments)
	return kind
}

func providerOf(segments []string) (namespace, kind string) {
	for i := len(segments) - 2; i >= 0; i-- {
		if !strings.EqualFold(segments[i], "providers") {
			continue
		}
		var names []string
		for j := i + 2; j < len(segments); j += 2 {
			names = append(names, segments[j])
		}
		return segments[i+1], strings.Join(names, "/")
	}
	return "", ""
}

// noRoute explains why nothing answers: a namespace or type that Azure does
// not have either, a method that the resource does not take, or an operation
// that the lab does not do.
func (f *Front) noRoute(method, path string, segments []string, version string, pathKnown bool) error {
	if pathKnown {
		return Refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", method)
	}
	namespace, kind := providerOf(segments)
	if namespace == "" {
		return Refuse(http.StatusNotFound, "NotFound", "No HTTP resource was found that matches the request URI '%s'.", path)
	}
	if _, known := f.providers[strings.ToLower(namespace)]; !known {
		return Refuse(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", namespace)
	}
	return Refuse(http.StatusNotFound, "InvalidResourceType",
		"The resource type '%s' could not be found in the namespace '%s' for api version '%s'. The lab does not serve %s %s: docs/parity.md lists what it does.",
		kind, namespace, version, method, path)
}

// queryFold reads a query parameter without regard to the case of its name.
func queryFold(r *http.Request, name string) string {
	for key, values := range r.URL.Query() {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
