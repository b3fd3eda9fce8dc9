package keyvault

import (
	"net/http"
	"strings"
)

// target is what a data-plane request is about.
type target struct {
	op      string // names an operation of dataOperations
	key     string // name in the caller's case; empty for the vault as a whole
	version string // empty for the latest
}

// maxNameLen is the longest name of a key.
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#vault-name-and-object-name
const maxNameLen = 127

// parsePath reads method and path. Doubled and trailing slashes mean nothing:
// clients glue a vaultUri with its final slash to a path that begins with
// one, and leave an empty version between two.
func parsePath(method, path string) (target, *dataError) {
	segments := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(segments) == 0 {
		return target{}, noSuchPath(path)
	}
	switch strings.ToLower(segments[0]) {
	case "keys":
		return parseKeyPath(method, path, segments[1:])
	case "deletedkeys":
		return parseDeletedPath(method, path, segments[1:])
	case "certificates":
		if len(segments) == 2 && strings.EqualFold(segments[1], "contacts") && method == http.MethodGet {
			return target{op: opContacts}, nil
		}
		return target{op: opUnsupported}, nil
	case "deletedcertificates", "secrets", "deletedsecrets", "storage", "deletedstorage", "rng":
		return target{op: opUnsupported}, nil
	}
	return target{}, noSuchPath(path)
}

func noSuchPath(path string) *dataError {
	return &dataError{Status: http.StatusNotFound, Code: "NotFound", Message: "The path " + path + " is not one of a key vault."}
}

func parseKeyPath(method, path string, segments []string) (target, *dataError) {
	if len(segments) == 0 {
		return withMethod(method, path, target{}, map[string]string{http.MethodGet: opList})
	}
	if len(segments) == 1 && strings.EqualFold(segments[0], "restore") && method == http.MethodPost {
		return target{op: opRestore}, nil
	}
	t := target{key: segments[0]}
	if !validKeyName(t.key) {
		return target{}, badParameter("The request URI contains an invalid name: %s", t.key)
	}
	segments = segments[1:]
	if len(segments) > 0 {
		if ops := actionsOf(segments[0]); ops != nil && len(segments) == 1 {
			return withMethod(method, path, t, ops)
		}
		t.version = strings.ToLower(segments[0])
		if !validVersion(t.version) {
			return target{}, badParameter("The request URI contains an invalid version: %s", segments[0])
		}
		segments = segments[1:]
	}
	switch len(segments) {
	case 0:
		ops := map[string]string{http.MethodGet: opGet, http.MethodPatch: opUpdate}
		if t.version == "" {
			ops[http.MethodPut], ops[http.MethodDelete] = opImport, opDelete
		}
		return withMethod(method, path, t, ops)
	case 1:
		if ops := cryptoActionsOf(segments[0]); ops != nil {
			return withMethod(method, path, t, ops)
		}
	}
	return target{}, noSuchPath(path)
}

// actionsOf are the operations under a key's name, by method; nil when the
// word is none of them.
func actionsOf(word string) map[string]string {
	switch strings.ToLower(word) {
	case "create":
		return map[string]string{http.MethodPost: opCreate}
	case "versions":
		return map[string]string{http.MethodGet: opVersions}
	case "backup":
		return map[string]string{http.MethodPost: opBackup}
	case "rotate":
		return map[string]string{http.MethodPost: opRotate}
	case "rotationpolicy":
		return map[string]string{http.MethodGet: opGetRotationPolicy, http.MethodPut: opSetRotationPolicy}
	}
	return cryptoActionsOf(word)
}

func cryptoActionsOf(word string) map[string]string {
	switch word = strings.ToLower(word); word {
	case opEncrypt, opDecrypt, opSign, opVerify, opWrap, opUnwrap:
		return map[string]string{http.MethodPost: word}
	case "release":
		return map[string]string{http.MethodPost: opUnsupported}
	case "attestation":
		return map[string]string{http.MethodGet: opUnsupported}
	}
	return nil
}

func parseDeletedPath(method, path string, segments []string) (target, *dataError) {
	if len(segments) == 0 {
		return withMethod(method, path, target{}, map[string]string{http.MethodGet: opListDeleted})
	}
	t := target{key: segments[0]}
	if !validKeyName(t.key) {
		return target{}, badParameter("The request URI contains an invalid name: %s", t.key)
	}
	switch {
	case len(segments) == 1:
		return withMethod(method, path, t, map[string]string{http.MethodGet: opGetDeleted, http.MethodDelete: opPurge})
	case len(segments) == 2 && strings.EqualFold(segments[1], "recover"):
		return withMethod(method, path, t, map[string]string{http.MethodPost: opRecover})
	}
	return target{}, noSuchPath(path)
}

func withMethod(method, path string, t target, ops map[string]string) (target, *dataError) {
	op, ok := ops[method]
	if !ok {
		return target{}, &dataError{Status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed", Message: "Method " + method + " does not apply to " + path + "."}
	}
	t.op = op
	return t, nil
}

// validKeyName: 1 to 127 letters, digits and hyphens.
func validKeyName(name string) bool {
	return name != "" && len(name) <= maxNameLen && onlyNameRunes(name)
}

func onlyNameRunes(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '-' && !isLetter(c) && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// validVersion: versions are 32 hexadecimal digits.
func validVersion(version string) bool {
	if len(version) != 32 {
		return false
	}
	for i := range len(version) {
		if c := version[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
