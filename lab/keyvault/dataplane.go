package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/entra"
)

// maxBodyLen bounds a data-plane request's body, in bytes. The longest is a
// backup of a key with many versions.
const maxBodyLen = 8 << 20

// call is one data-plane request that has passed authentication.
type call struct {
	http     *http.Request
	address  address
	target   target
	caller   entra.Claims
	now      time.Time
	*keyView // of the vault and the key that the target names
}

// Handler is the vaults' data plane. The vault is the first label of the
// request's Host.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serveData) }

func (s *Service) serveData(w http.ResponseWriter, r *http.Request) {
	a := parseHost(r.Host)
	header := w.Header()
	header["Cache-Control"] = []string{"no-cache"}
	header["Pragma"] = []string{"no-cache"}
	header["Expires"] = []string{"-1"}
	header["X-Ms-Request-Id"] = []string{s.NewID()}
	header["X-Ms-Keyvault-Service-Version"] = []string{"1.9.2513.1"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	header["Strict-Transport-Security"] = []string{"max-age=31536000;includeSubDomains"}
	if id := r.Header.Get("x-ms-client-request-id"); id != "" {
		header["X-Ms-Client-Request-Id"] = []string{id}
	}
	body, err := s.answer(r, a, header)
	if err != nil {
		refusal := asDataError(err)
		if refusal.Status >= http.StatusInternalServerError {
			s.Log.Error("keyvault.failed", "method", r.Method, "path", r.URL.Path, "vault", a.vault, "error", err)
		}
		if refusal.Status == http.StatusUnauthorized {
			header.Set("WWW-Authenticate", s.challenge(r, a))
		}
		writeData(w, refusal.Status, refusal.body())
		return
	}
	if body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	writeData(w, http.StatusOK, body)
}

func writeData(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		// Bodies are plain structs; one that cannot be written is a broken
		// invariant of the lab, not the client's doing.
		panic(fmt.Errorf("marshal %T: %w", body, err))
	}
	w.Header()["Content-Type"] = []string{"application/json; charset=utf-8"}
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone; there is nobody to tell
}

// answer makes the checks that every request passes, in the service's order,
// and runs the operation.
func (s *Service) answer(r *http.Request, a address, header http.Header) (any, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	view, err := s.view(a.vault, "")
	if err != nil {
		return nil, err
	}
	if !view.vaultFound {
		// Azure takes the name out of DNS.
		return nil, &dataError{Status: http.StatusNotFound, Code: "VaultNotFound", Message: "The vault '" + a.vault + "' does not exist or is deleted."}
	}
	header["X-Ms-Keyvault-Region"] = []string{view.vault.Location}
	if strings.EqualFold(strings.Trim(r.URL.Path, "/"), "healthstatus") {
		return struct{}{}, nil
	}
	t, bad := parsePath(r.Method, r.URL.Path)
	if bad != nil && bad.Status == http.StatusNotFound {
		return nil, bad
	}
	c := &call{http: r, address: a, target: t, now: s.Clock.Now(), keyView: view}
	if c.caller, err = s.authenticate(c); err != nil {
		return nil, err
	}
	if bad != nil {
		return nil, bad
	}
	if err := checkDataVersion(r); err != nil {
		return nil, err
	}
	if t.key != "" {
		if c.keyView, err = s.view(a.vault, t.key); err != nil {
			return nil, err
		}
	}
	op := s.operations[t.op]
	if err := s.allow(c, op); err != nil {
		return nil, err
	}
	return op.run(s, c)
}

func checkDataVersion(r *http.Request) error {
	version := ""
	for name, values := range r.URL.Query() {
		if strings.EqualFold(name, "api-version") && len(values) > 0 {
			version = values[0]
		}
	}
	switch {
	case version == "":
		return badParameter("api-version must be specified")
	case !slices.Contains(dataVersions(), version):
		return badParameter("The specified version (%s) is not recognized. Consider using the latest supported version (%s).", version, latestVersion)
	}
	return nil
}

// authenticate gives the caller's claims, or the 401 with Azure's text.
func (s *Service) authenticate(c *call) (entra.Claims, error) {
	token, bearer := strings.CutPrefix(c.http.Header.Get("Authorization"), "Bearer ")
	if !bearer || token == "" {
		return entra.Claims{}, unauthorized("AKV10000: Request is missing a Bearer or PoP token.")
	}
	claims, err := s.Tokens.Verify(token, c.address.audiences())
	if err != nil {
		return entra.Claims{}, tokenRefusal(token, c.vault.Properties.TenantID, err)
	}
	if claims.TenantID != "" && !strings.EqualFold(claims.TenantID, c.vault.Properties.TenantID) {
		return entra.Claims{}, invalidIssuer(c.vault.Properties.TenantID, claims.Issuer)
	}
	return claims, nil
}

func invalidIssuer(tenant, found string) *dataError {
	return unauthorized("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/%s/, found %s.", tenant, found)
}

// tokenRefusal says a failed check as the service does.
// Source: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes#http-401-unauthenticated-request
func tokenRefusal(token, tenant string, err error) error {
	failed, ok := errors.AsType[*entra.TokenError](err)
	if !ok {
		return err
	}
	audience, issuer := saidBy(token)
	switch failed.Check {
	case entra.CheckAudience:
		return unauthorized("AKV10022: Invalid audience. Expected https://%s, found: %s.", publicSuffix, audience)
	case entra.CheckIssuer:
		return invalidIssuer(tenant, issuer)
	case entra.CheckExpiry:
		return unauthorized("[TokenExpired] Error validating token: 'S2S12086'.")
	case entra.CheckSignature:
		return unauthorized("AKV10046: Unable to resolve the key used for signature validation.")
	case entra.CheckForm, entra.CheckPrincipal:
	}
	return unauthorized("[BearerReadAccessTokenFailed] Error validating token: 'S2S12005'.")
}

// saidBy reads audience and issuer out of a token that was not accepted, for
// the text of the refusal only.
func saidBy(token string) (audience, issuer string) {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", ""
	}
	var claims struct {
		Audience string `json:"aud"`
		Issuer   string `json:"iss"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return "", ""
	}
	return claims.Audience, claims.Issuer
}

// decode reads a request's JSON body into v.
func (c *call) decode(v any) error {
	text, err := io.ReadAll(http.MaxBytesReader(nil, c.http.Body, maxBodyLen))
	if err != nil {
		return &dataError{Status: http.StatusRequestEntityTooLarge, Code: "BadParameter", Message: "The request body is too long or was cut off."}
	}
	return decodeBody(text, v)
}

func decodeBody(text []byte, v any) error {
	if len(text) == 0 {
		return badParameter("The request body is missing.")
	}
	if err := json.Unmarshal(text, v); err != nil {
		return badParameter("The request body is not valid: %s", err)
	}
	return nil
}

// getContacts answers the one question about certificates that clients ask of
// every vault.
func (s *Service) getContacts(*call) (any, error) {
	return nil, &dataError{Status: http.StatusNotFound, Code: "ContactsNotFound", Message: "Contacts not found"}
}

func (s *Service) refuseUnsupported(c *call) (any, error) {
	return nil, notSupported("The lab's vaults hold keys only: %s %s is not served.", c.http.Method, c.http.URL.Path)
}
