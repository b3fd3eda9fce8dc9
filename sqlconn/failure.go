package sqlconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	mssql "github.com/microsoft/go-mssqldb"
)

// The server's error numbers by which something is decided here.
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
const (
	NumberDuplicateKey        = 2627  // of a primary key or unique constraint
	NumberDuplicateIndexKey   = 2601  // of a unique index
	NumberReadOnlyDatabase    = 3906  // a write on a geo-secondary
	NumberPermissionOnServer  = 300   // such as VIEW SERVER STATE
	NumberPermission          = 262   // such as VIEW DATABASE STATE
	NumberPermissionForAction = 297   // the user may not do this
	NumberPermissionOnObject  = 229   // such as SELECT
	NumberCannotOpenDatabase  = 4060  // also while a database comes up
	NumberLoginFailed         = 18456 // no such user, or a token that the server does not take
	NumberFirewall            = 40615 // the client's address is not allowed
	NumberVirtualNetworkRule  = 40914 // the client's subnet is not allowed
	NumberPublicAccessDenied  = 47073 // the server has private endpoints only
	NumberNoSuchServer        = 40532 // no server or listener of that name
	NumberNotAvailable        = 40613 // the database is not available now
	NumberNoSuchObject        = 208
)

// transient are the errors that Microsoft documents to pass by themselves,
// after which a client connects and tries again.
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues#list-of-transient-fault-error-codes
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues#resource-governance-errors
func transient() []int32 {
	return []int32{615, 926, NumberCannotOpenDatabase, 4221, 10928, 10929, 40143, 40197, 40501, 40540, NumberNotAvailable, 49918, 49919, 49920}
}

// TokenError says that no access token was to be had.
type TokenError struct {
	Scope string
	Err   error
}

// Error says for what a token was asked.
func (e *TokenError) Error() string {
	return fmt.Sprintf("get an access token for %s: %v", e.Scope, e.Err)
}

// Unwrap gives the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// Numbers are the error numbers in which the server answered, the one that
// ended the call first; none when no answer came.
func Numbers(err error) []int32 {
	answer, ok := errors.AsType[mssql.Error](err)
	if !ok {
		return nil
	}
	numbers := []int32{answer.Number}
	for _, one := range answer.All {
		if !slices.Contains(numbers, one.Number) {
			numbers = append(numbers, one.Number)
		}
	}
	return numbers
}

// Has reports whether the server answered in any of the error numbers.
func Has(err error, numbers ...int32) bool {
	return slices.ContainsFunc(Numbers(err), func(n int32) bool { return slices.Contains(numbers, n) })
}

// Duplicate reports whether a row of that key is there already, as it is after
// an insert whose acknowledgement was lost.
func Duplicate(err error) bool { return Has(err, NumberDuplicateKey, NumberDuplicateIndexKey) }

// Transient reports whether the same work may succeed on a new connection
// without anybody changing anything: the server said so, or no answer came. An
// operation that failed so may have taken effect all the same.
func Transient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if numbers := Numbers(err); len(numbers) > 0 {
		if slices.ContainsFunc(numbers, func(n int32) bool { return slices.Contains(transient(), n) }) {
			return true
		}
		// The server ended the session with its last word: that word is no refusal.
		_, ended := errors.AsType[mssql.ServerError](err)
		return ended
	}
	if token, ok := errors.AsType[*TokenError](err); ok {
		return unreachable(token.Err)
	}
	if proxy, ok := errors.AsType[*ProxyError](err); ok {
		return proxy.Status == http.StatusBadGateway || proxy.Status == http.StatusServiceUnavailable || proxy.Status == http.StatusGatewayTimeout
	}
	return !distrusted(err) && !unknownName(err)
}

// Reconnectable reports what Transient does, and a write that reached a
// database which is not the primary any more: the listener leads to the new one.
func Reconnectable(err error) bool { return Transient(err) || Has(err, NumberReadOnlyDatabase) }

// unreachable reports whether there was no way to the other side.
func unreachable(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok && !distrusted(err)
}

// distrusted reports whether the server's certificate was not accepted.
func distrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	return authority || name
}

// unknownName reports whether there is no host of that name.
func unknownName(err error) bool {
	failure, ok := errors.AsType[*net.DNSError](err)
	return ok && failure.IsNotFound
}
