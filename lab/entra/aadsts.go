package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"
)

// loginError is a refusal of a sign-in endpoint: OAuth's error with Entra's
// AADSTS code.
// Source: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
type loginError struct {
	Status int
	OAuth  string // such as invalid_client
	Code   int    // such as 7000215; zero for what Entra itself would not answer
	Text   string
}

// Error is the text with its code.
func (e *loginError) Error() string {
	if e.Code == 0 {
		return e.Text
	}
	return fmt.Sprintf("AADSTS%d: %s", e.Code, e.Text)
}

const (
	notInTenant  = "This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."
	otherTenant  = " You may have sent your authentication request to the wrong tenant."
	otherTenant2 = " You might have sent your authentication request to the wrong tenant."
)

func invalidSecret(app string) *loginError {
	return &loginError{http.StatusUnauthorized, "invalid_client", 7000215, fmt.Sprintf(
		"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app)}
}

func noSecret() *loginError {
	return &loginError{http.StatusUnauthorized, "invalid_client", 7000216,
		"'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."}
}

// unknownCertificate answers client assertions: the lab's applications have
// secrets only, so no certificate is ever registered.
func unknownCertificate() *loginError {
	return &loginError{http.StatusUnauthorized, "invalid_client", 700027,
		"The certificate with identifier used to sign the client assertion is not registered on application."}
}

func unknownApplication(app, tenant string) *loginError {
	return &loginError{http.StatusBadRequest, "unauthorized_client", 700016, fmt.Sprintf(
		"Application with identifier '%s' was not found in the directory '%s'. ", app, tenant) + notInTenant + otherTenant}
}

func unknownTenant(tenant, oauth string) *loginError {
	return &loginError{http.StatusBadRequest, oauth, 90002, fmt.Sprintf(
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", tenant)}
}

func noDomain(tenant string) *loginError {
	return &loginError{http.StatusBadRequest, "invalid_request", 900023, fmt.Sprintf(
		"Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant)}
}

func noTenant() *loginError {
	return &loginError{http.StatusBadRequest, "invalid_request", 50059,
		"No tenant-identifying information found in either the request or implied by any provided credentials."}
}

func missingParameter(name string) *loginError {
	return &loginError{http.StatusBadRequest, "invalid_request", 900144, fmt.Sprintf(
		"The request body must contain the following parameter: '%s'.", name)}
}

func unsupportedGrant(grant string) *loginError {
	return &loginError{http.StatusBadRequest, "unsupported_grant_type", 70003, fmt.Sprintf(
		"The app requested an unsupported grant type '%s'.", grant)}
}

func unknownResource(resource, tenant string) *loginError {
	return &loginError{http.StatusBadRequest, "invalid_resource", 500011, fmt.Sprintf(
		"The resource principal named %s was not found in the tenant named %s. ", resource, tenant) + notInTenant + otherTenant2}
}

func invalidScope(scope string) *loginError {
	return &loginError{http.StatusBadRequest, "invalid_scope", 70011, fmt.Sprintf(
		"The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", scope)}
}

func notDefaultScope(scope string) *loginError {
	return &loginError{http.StatusBadRequest, "invalid_scope", 1002012, fmt.Sprintf(
		"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)}
}

func resourceUnsupported() *loginError {
	return &loginError{http.StatusBadRequest, "invalid_request", 901002, "The 'resource' request parameter is not supported."}
}

func onlyAccepts(verb, received string) *loginError {
	return &loginError{http.StatusMethodNotAllowed, "invalid_request", 900561, fmt.Sprintf(
		"The endpoint only accepts %s requests. Received a %s request.", verb, received)}
}

func unknownInstance() *loginError {
	return &loginError{http.StatusBadRequest, "invalid_instance", 50049, "Unknown or invalid instance."}
}

// loginAnswer is the body of a refusal.
type loginAnswer struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
}

// writeLoginError answers a refusal; any other error is the lab's own failure.
func (s *Service) writeLoginError(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*loginError](err)
	if !ok {
		s.Log.Error("login.failed", "path", r.URL.Path, "error", err)
		refusal = &loginError{http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Please try again."}
	}
	s.Log.Debug("token.refused", "path", r.URL.Path, "code", refusal.Code)
	trace, correlation := s.NewID(), correlationOf(r)
	if correlation == "" {
		correlation = s.NewID()
	}
	timestamp := s.Clock.Now().Format("2006-01-02 15:04:05Z")
	answer := loginAnswer{
		Error: refusal.OAuth, Codes: []int{}, Timestamp: timestamp, TraceID: trace, CorrelationID: correlation,
		Description: fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", refusal.Error(), trace, correlation, timestamp),
	}
	if refusal.Code != 0 {
		answer.Codes = []int{refusal.Code}
		answer.URI = fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", refusal.Code)
	}
	s.stamp(w.Header(), r)
	w.Header().Set("x-ms-request-id", trace)
	writeJSON(w, refusal.Status, answer)
}

// stamp sets the headers that every sign-in answer carries.
func (s *Service) stamp(h http.Header, r *http.Request) {
	h.Set("x-ms-request-id", s.NewID())
	if id := correlationOf(r); id != "" {
		h.Set("client-request-id", id)
	}
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
}

// correlationOf is the id by which a client follows its call; only a GUID is
// taken.
func correlationOf(r *http.Request) string {
	id, err := uuid.Parse(r.Header.Get("client-request-id"))
	if err != nil {
		return ""
	}
	return id.String()
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "the answer cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone
}
