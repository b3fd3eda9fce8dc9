package keyvault

import (
	"errors"
	"fmt"
	"net/http"
)

// dataError is a refusal of the data plane, in its own envelope:
// {"error":{"code","message","innererror":{"code"}}}.
// Source: https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
type dataError struct {
	Status  int
	Code    string
	Message string
	Inner   string // code of the inner error; empty for none
}

// Error gives code and message.
func (e *dataError) Error() string { return "(" + e.Code + ") " + e.Message }

type dataErrorBody struct {
	Error dataErrorText `json:"error"`
}

type dataErrorText struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Inner   *innerCode `json:"innererror,omitempty"`
}

type innerCode struct {
	Code string `json:"code"`
}

func (e *dataError) body() dataErrorBody {
	body := dataErrorBody{Error: dataErrorText{Code: e.Code, Message: e.Message}}
	if e.Inner != "" {
		body.Error.Inner = &innerCode{Code: e.Inner}
	}
	return body
}

// asDataError gives err's *dataError, or an InternalServerError for anything
// else, whose text stays in the lab's log.
func asDataError(err error) *dataError {
	if refusal, ok := errors.AsType[*dataError](err); ok {
		return refusal
	}
	return &dataError{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "An unexpected error occurred while processing the request."}
}

func unauthorized(format string, args ...any) *dataError {
	return &dataError{Status: http.StatusUnauthorized, Code: "Unauthorized", Message: fmt.Sprintf(format, args...)}
}

func forbidden(inner, format string, args ...any) *dataError {
	return &dataError{Status: http.StatusForbidden, Code: "Forbidden", Message: fmt.Sprintf(format, args...), Inner: inner}
}

func badParameter(format string, args ...any) *dataError {
	return &dataError{Status: http.StatusBadRequest, Code: "BadParameter", Message: fmt.Sprintf(format, args...)}
}

// notSupported is for what Azure's vaults do and the lab's do not.
func notSupported(format string, args ...any) *dataError {
	return &dataError{Status: http.StatusBadRequest, Code: "NotSupported", Message: fmt.Sprintf(format, args...)}
}

func keyNotFound(nameAndVersion string) *dataError {
	return &dataError{Status: http.StatusNotFound, Code: "KeyNotFound", Message: "A key with (name/id) " + nameAndVersion +
		" was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command." +
		" For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"}
}

func deletedKeyNotFound(name string) *dataError {
	return &dataError{Status: http.StatusNotFound, Code: "KeyNotFound", Message: "Deleted Key not found: " + name}
}

func keyIsDeleted(name string) *dataError {
	return &dataError{Status: http.StatusConflict, Code: "Conflict", Inner: "ObjectIsDeletedButRecoverable", Message: "Key " + name +
		" is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged."}
}
