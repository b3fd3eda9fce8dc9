package entra

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// The versions of App Service's token endpoint.
// Source: https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
const (
	appService2017 = "2017-09-01"
	appService2019 = "2019-08-01"
)

// IdentitySecret is what callers of /msi/token prove themselves with: the
// value of IDENTITY_HEADER or MSI_SECRET. It is made on first use and kept
// sealed.
func (s *Service) IdentitySecret() (string, error) {
	secret, err := s.keptIdentitySecret()
	if err != nil || secret != "" {
		return secret, err
	}
	err = s.Store.Update(func(tx *store.Tx) error {
		kept, found, err := s.settings.Get(tx, settingIdentitySecret)
		if err != nil || found { // another caller was first
			return err
		}
		kept.Sealed = s.Sealer.Seal([]byte(rand.Text()), settingIdentitySecret)
		return s.settings.Put(tx, settingIdentitySecret, kept)
	})
	if err != nil {
		return "", fmt.Errorf("make the identity secret: %w", err)
	}
	return s.keptIdentitySecret()
}

func (s *Service) keptIdentitySecret() (string, error) {
	var kept setting
	var found bool
	err := s.Store.View(func(tx *store.Tx) (err error) {
		kept, found, err = s.settings.Get(tx, settingIdentitySecret)
		return err
	})
	if err != nil || !found {
		return "", err
	}
	secret, err := s.Sealer.Open(kept.Sealed, settingIdentitySecret)
	return string(secret), err
}

// identityError is a refusal of a managed-identity endpoint.
// Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling
type identityError struct {
	Status int    `json:"-"`
	Code   string `json:"error"`
	Text   string `json:"error_description"`
}

// Error is the text.
func (e *identityError) Error() string { return e.Text }

func badIdentityRequest(text string) *identityError {
	return &identityError{http.StatusBadRequest, "invalid_request", text}
}

// IdentityHandler answers the endpoints from which programs on Azure get the
// tokens of their managed identity: App Service's at /msi/token (GET with the
// secret, or the older POST with "Metadata: true") and that of virtual
// machines at /metadata/identity/oauth2/token. An identity is named by
// client_id, object_id or mi_res_id; else it is Options.DefaultIdentity.
func (s *Service) IdentityHandler() http.Handler { return http.HandlerFunc(s.serveIdentity) }

func (s *Service) serveIdentity(w http.ResponseWriter, r *http.Request) {
	answer, err := s.answerIdentity(w, r)
	w.Header().Set("Cache-Control", "no-store")
	if err == nil {
		writeJSON(w, http.StatusOK, answer)
		return
	}
	refusal, ok := errors.AsType[*identityError](err)
	if !ok {
		s.Log.Error("identity.failed", "path", r.URL.Path, "error", err)
		refusal = &identityError{http.StatusInternalServerError, "unknown", "Failed to retrieve token from the Active directory."}
	}
	writeJSON(w, refusal.Status, refusal)
}

// identityAnswer is a managed identity's token; numbers are strings.
type identityAnswer struct {
	Token        string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in,omitempty"`
	ExpiresOn    string `json:"expires_on"`
	ExtExpiresIn string `json:"ext_expires_in,omitempty"`
	NotBefore    string `json:"not_before,omitempty"`
	Resource     string `json:"resource"`
	Type         string `json:"token_type"`
}

func (s *Service) answerIdentity(w http.ResponseWriter, r *http.Request) (identityAnswer, error) {
	path := strings.ToLower(strings.Join(split(r.URL.Path), "/"))
	query := r.URL.Query()
	switch {
	case path == "metadata/identity/oauth2/token" && r.Method == http.MethodGet:
		if err := checkMachine(r, query); err != nil {
			return identityAnswer{}, err
		}
	case path == "msi/token" && r.Method == http.MethodGet:
		if err := s.checkAppService(r, query); err != nil {
			return identityAnswer{}, err
		}
	case path == "msi/token" && r.Method == http.MethodPost:
		if err := s.checkPost(r); err != nil {
			return identityAnswer{}, err
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFormLen))
		if err != nil {
			return identityAnswer{}, badIdentityRequest("The request body cannot be read.")
		}
		if query, err = url.ParseQuery(string(body)); err != nil {
			return identityAnswer{}, badIdentityRequest("The request body is not a form.")
		}
	default:
		return identityAnswer{}, &identityError{http.StatusNotFound, "not_found", "No managed-identity endpoint answers " + r.Method + " " + r.URL.Path + "."}
	}
	return s.identityToken(query)
}

// checkMachine checks what a virtual machine's endpoint demands. There is no
// secret: who reaches it is on the machine.
func checkMachine(r *http.Request, query url.Values) error {
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		return badIdentityRequest("Required metadata header not specified")
	}
	if query.Get("api-version") == "" {
		return badIdentityRequest("Required query variable 'api-version' is missing")
	}
	return nil
}

// checkAppService checks the secret header, whose name came with the version.
func (s *Service) checkAppService(r *http.Request, query url.Values) error {
	name := ""
	switch version := query.Get("api-version"); version {
	case appService2017:
		name = "secret"
	case appService2019:
		name = "X-IDENTITY-HEADER"
	default:
		return badIdentityRequest("The api-version '" + version + "' is not supported: use " + appService2017 + " or " + appService2019 + ".")
	}
	return s.checkIdentitySecret(r.Header.Get(name))
}

// checkPost lets the oldest form in, whose clients know no secret; one that is
// sent has to be right all the same.
func (s *Service) checkPost(r *http.Request) error {
	for _, name := range []string{"secret", "X-IDENTITY-HEADER"} {
		if sent := r.Header.Get(name); sent != "" {
			return s.checkIdentitySecret(sent)
		}
	}
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		return badIdentityRequest("Required metadata header not specified")
	}
	return nil
}

func (s *Service) checkIdentitySecret(sent string) error {
	want, err := s.IdentitySecret()
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(sent), []byte(want)) != 1 {
		return &identityError{http.StatusUnauthorized, "unauthorized", "The identity header is missing or wrong."}
	}
	return nil
}

func (s *Service) identityToken(query url.Values) (identityAnswer, error) {
	resource := query.Get("resource")
	if resource == "" {
		return identityAnswer{}, badIdentityRequest("Required query variable 'resource' is missing")
	}
	audience, known := s.audienceOf(resource)
	if !known {
		return identityAnswer{}, &identityError{http.StatusBadRequest, "invalid_resource", unknownResource(resource, s.TenantDomain).Error()}
	}
	principal, err := s.namedIdentity(query)
	if err != nil {
		return identityAnswer{}, err
	}
	given, err := s.issueIdentity(principal.ObjectID, audience)
	if err != nil {
		return identityAnswer{}, err
	}
	answer := identityAnswer{
		Token: given.Token, ClientID: principal.AppID, Resource: resource, Type: "Bearer",
		ExpiresOn: strconv.FormatInt(given.Expires.Unix(), 10), NotBefore: strconv.FormatInt(given.NotBefore.Unix(), 10),
	}
	answer.ExpiresIn = strconv.Itoa(int(given.Expires.Sub(s.Clock.Now()).Seconds()))
	answer.ExtExpiresIn = answer.ExpiresIn
	if query.Get("api-version") == appService2017 {
		// That version wrote a date.
		answer.ExpiresOn = given.Expires.Format("01/02/2006 15:04:05 -07:00")
		answer.ExpiresIn, answer.ExtExpiresIn, answer.NotBefore = "", "", ""
	}
	return answer, nil
}

// namedIdentity finds the identity that a request is for. The endpoints do not
// agree in how the parameters are spelt.
func (s *Service) namedIdentity(query url.Values) (Principal, error) {
	var principal Principal
	var found bool
	err := s.Store.View(func(tx *store.Tx) (err error) {
		switch {
		case first(query, "client_id", "clientid") != "":
			principal, found, err = s.FindApplication(tx, first(query, "client_id", "clientid"))
		case first(query, "object_id", "principal_id") != "":
			principal, found, err = s.FindPrincipal(tx, first(query, "object_id", "principal_id"))
		case first(query, "mi_res_id", "msi_res_id") != "":
			principal, found, err = s.findManagedIdentity(tx, first(query, "mi_res_id", "msi_res_id"))
		default:
			principal, found, err = s.defaultIdentity(tx)
		}
		return err
	})
	if err == nil && !found {
		err = badIdentityRequest("Identity not found")
	}
	return principal, err
}

func (s *Service) defaultIdentity(tx *store.Tx) (Principal, bool, error) {
	objectID := s.DefaultIdentity
	if objectID == "" {
		kept, _, err := s.settings.Get(tx, settingDefaultIdentity)
		if err != nil {
			return Principal{}, false, err
		}
		objectID = kept.ObjectID
	}
	return s.FindPrincipal(tx, objectID)
}

func first(query url.Values, names ...string) string {
	i := slices.IndexFunc(names, func(name string) bool { return query.Get(name) != "" })
	if i < 0 {
		return ""
	}
	return query.Get(names[i])
}
