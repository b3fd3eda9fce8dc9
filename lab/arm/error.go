// Package arm is the lab's Azure Resource Manager: the front that checks
// tokens, api-versions and role assignments, finds the route of a request,
// and runs long-running operations in Azure's shapes.
package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Error is a refusal in Azure's own shape. Handlers return it; it travels to
// the client as the body {"error":{"code","message"}} with its status, or
// inside a poll answer when the operation had been accepted.
type Error struct {
	Status  int      `json:"-"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Target  string   `json:"target,omitempty"`
	Details []*Error `json:"details,omitempty"`
	// Header holds extra headers of the answer, such as a challenge.
	Header http.Header `json:"-"`
}

// Error gives code and message, as az prints them.
func (e *Error) Error() string { return "(" + e.Code + ") " + e.Message }

// Refuse makes an Error from a format.
func Refuse(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsError gives err's *Error, or an InternalServerError for anything else,
// whose text stays in the lab's log.
func AsError(err error) *Error {
	if refusal, ok := errors.AsType[*Error](err); ok {
		return refusal
	}
	return Refuse(http.StatusInternalServerError, "InternalServerError", "An unexpected error occured while processing the request.")
}

// storedError is Error with its status, for records.
type storedError struct {
	Status  int      `json:"status"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Details []*Error `json:"details,omitempty"`
}

func (e *Error) stored() *storedError {
	return &storedError{Status: e.Status, Code: e.Code, Message: e.Message, Details: e.Details}
}

func (s *storedError) refusal() *Error {
	return &Error{Status: s.Status, Code: s.Code, Message: s.Message, Details: s.Details}
}

// errorBody is the envelope of every ARM refusal.
type errorBody struct {
	Error *Error `json:"error"`
}

func writeError(w http.ResponseWriter, refusal *Error) {
	for name, values := range refusal.Header {
		w.Header()[name] = values
	}
	writeJSON(w, refusal.Status, errorBody{Error: refusal})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(body)
	if err != nil {
		// Bodies are plain structs and maps; one that cannot be written is a
		// broken invariant of the lab, not the client's doing.
		panic(fmt.Errorf("marshal %T: %w", body, err))
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone; there is nobody to tell
}
