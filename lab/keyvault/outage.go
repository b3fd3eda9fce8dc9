package keyvault

import (
	"net/http"
	"strings"
)

// LocationOf is the region of a vault; empty when there is none of the name.
func (s *Service) LocationOf(vaultName string) (string, error) {
	view, err := s.view(vaultName, "")
	if err != nil || !view.vaultFound {
		return "", err
	}
	return view.vault.Location, nil
}

// VaultOf is the vault that a data-plane request is for.
func VaultOf(r *http.Request) string { return parseHost(r.Host).vault }

// ChangesKeys reports whether a data-plane request changes keys, which a vault
// that has failed over to the paired region does not do.
// Source: https://learn.microsoft.com/azure/key-vault/general/disaster-recovery-guidance
func ChangesKeys(r *http.Request) bool {
	t, bad := parsePath(r.Method, r.URL.Path)
	if bad != nil || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	switch t.op {
	case opEncrypt, opDecrypt, opSign, opVerify, opWrap, opUnwrap, opBackup:
		return false
	}
	return true
}

// WriteRefusal answers a data-plane request with a refusal in the vault's
// shape. An empty inner code is the usual one of the status.
// Source: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
func WriteRefusal(w http.ResponseWriter, status int, inner, message string) {
	refusal := dataError{Status: status, Message: message, Inner: inner}
	switch status {
	case http.StatusUnauthorized:
		refusal.Code = "Unauthorized"
	case http.StatusForbidden:
		refusal.Code = "Forbidden"
		if inner == "" {
			refusal.Inner = "ForbiddenByPolicy"
		}
	case http.StatusNotFound:
		refusal.Code = "KeyNotFound"
	case http.StatusConflict:
		refusal.Code = "Conflict"
	case http.StatusTooManyRequests:
		refusal.Code = "Throttled"
	case http.StatusServiceUnavailable:
		refusal.Code = "ServiceUnavailable"
	default:
		refusal.Code = strings.ReplaceAll(http.StatusText(status), " ", "")
	}
	writeData(w, status, refusal.body())
}
