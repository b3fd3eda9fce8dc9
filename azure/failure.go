package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/crosskeys/crosskeys/tde"
)

// ServiceError is Azure's refusal of a call, or the failure to reach it.
type ServiceError struct {
	Op        string // what was being done
	Server    string // empty where no server is concerned
	Key       tde.KeyID
	Code      string // Azure's; empty when no answer came
	Status    int    // of HTTP; 0 when no answer came
	Message   string // Azure's
	RequestID string
	InPoll    bool // the call was accepted and its operation failed
	Retryable bool // the same call may succeed later
	NotSent   bool // the call was not made, and can have had no effect
	// RetryAfter is how long the service asks to wait; 0 where it does not.
	RetryAfter time.Duration
	Hint       string
	Err        error
}

// Error says what was being done, to what, and Azure's answer.
func (e *ServiceError) Error() string {
	what := e.Op
	if !e.Key.IsZero() {
		what += " " + e.Key.String()
	}
	if e.Server != "" {
		what += " (server " + e.Server + ")"
	}
	if e.Code == "" {
		return fmt.Sprintf("%s: %v", what, e.Err)
	}
	if e.Message == "" {
		return fmt.Sprintf("%s: %s", what, e.Code)
	}
	return fmt.Sprintf("%s: %s: %s", what, e.Code, e.Message)
}

// Unwrap gives the cause.
func (e *ServiceError) Unwrap() error { return e.Err }

func asServiceError(err error) (*ServiceError, bool) { return errors.AsType[*ServiceError](err) }

// serviceError explains err; nil stays nil.
func serviceError(op, server string, key tde.KeyID, err error) error {
	if err == nil {
		return nil
	}
	failure := &ServiceError{Op: op, Server: server, Key: key, Err: err}
	if held, is := errors.AsType[*BudgetError](err); is {
		failure.Retryable, failure.RetryAfter, failure.Hint = true, held.Wait, held.hint()
		failure.NotSent = held.Change && !held.Attempted
		return failure
	}
	answer, answered := errors.AsType[*azcore.ResponseError](err)
	if !answered {
		failure.Hint = "check the network, the proxy and the sign-in (az account show)"
		return failure
	}
	failure.Code, failure.Status = answer.ErrorCode, answer.StatusCode
	if r := answer.RawResponse; r != nil {
		failure.RequestID = r.Header.Get("x-ms-request-id")
		failure.Message = messageIn(r)
		failure.RetryAfter = retryAfter(r.Header)
		// A poll answers 200, whatever became of the operation.
		failure.InPoll = r.StatusCode == http.StatusOK
	}
	failure.Retryable = retryable(failure.Code, failure.Status)
	failure.Hint = hintFor(failure.Code, failure.Status)
	return failure
}

// messageIn reads Azure's message out of an answer's body, which the SDK has
// kept.
func messageIn(r *http.Response) string {
	body, err := runtime.Payload(r)
	if err != nil {
		return ""
	}
	return messageOf(body)
}

// messageOf reads the message of a refusal or of a failed operation's poll.
func messageOf(body []byte) string {
	var answer struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Error.Message
}

// retryable reports whether the same call may succeed later without anybody
// changing anything.
func retryable(code string, status int) bool {
	switch code {
	case "FailoverGroupBusy", "EncryptionProtectorChangeInProgress", "UpsertLogicalServerRequestAlreadyInProgress", "ConflictingServerOperation",
		"ConflictingSystemOperationInProgress", "ManagementServiceDatabaseBusy", "SubscriptionTooManyCreateUpdateRequests", "SubscriptionTooManyRequests",
		"ConflictingSubscriptionOperation", "TooManyRequests", "OperationTimedOut", "RequestTimeout", "AzureKeyVaultConnectionFailed",
		"AzureKeyVaultGenericConnectionError", "GeoReplicationCannotBecomePrimaryDuringUndo", "DatabaseUnavailable", "KeyChangeInProgress":
		return true
	}
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError && status != http.StatusNotImplemented
}
