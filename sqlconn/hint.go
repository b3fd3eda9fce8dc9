package sqlconn

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	mssql "github.com/microsoft/go-mssqldb"
)

// Place is where a database is, as far as it is known; it fills in the commands
// of hints.
type Place struct {
	Server        string // name of the logical server or of the listener
	Host          string // name that was connected to
	Database      string
	ResourceGroup string
	Subscription  string
}

// Error is a failure of something that was asked of a database.
type Error struct {
	Op        string // what was being done
	Place     Place
	Number    int32 // the server's; 0 when no answer came
	State     uint8
	Message   string // the server's
	Transient bool   // the same may succeed later
	Hint      string // what a person can do
	Err       error
}

// Error says what was being done, where, and the server's answer.
func (e *Error) Error() string {
	where := e.Place.Server
	if e.Place.Database != "" {
		where = e.Place.Database + " on " + where
	}
	if e.Number == 0 {
		return fmt.Sprintf("%s of %s: %v", e.Op, where, e.Err)
	}
	return fmt.Sprintf("%s of %s: error %d, state %d: %s", e.Op, where, e.Number, e.State, e.Message)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Explain says what failed, where, and what can be done about it; nil stays nil.
func Explain(op string, place Place, err error) error {
	if err == nil {
		return nil
	}
	failure := &Error{Op: op, Place: place, Transient: Transient(err), Err: err}
	if answer, ok := errors.AsType[mssql.Error](err); ok {
		failure.Number, failure.State, failure.Message = answer.Number, answer.State, oneLine(answer.Message)
		// A login that fails is answered in two errors, of which the first says why.
		for _, one := range answer.All {
			if hintOfNumber(one.Number, place, one.Message) != "" {
				failure.Number, failure.State, failure.Message = one.Number, one.State, oneLine(one.Message)
				break
			}
		}
		failure.Hint = hintOfNumber(failure.Number, place, failure.Message)
	}
	if failure.Hint == "" {
		failure.Hint = hintOfKind(err, place)
	}
	return failure
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// hintOfNumber says what can be done about an error of the server's; empty when
// that is not known.
func hintOfNumber(number int32, p Place, message string) string {
	database := cmp.Or(p.Database, "DATABASE")
	switch number {
	case NumberPermission, NumberPermissionOnServer, NumberPermissionForAction:
		return fmt.Sprintf("in database %s, as its owner or as the server's Entra admin: GRANT VIEW DATABASE STATE TO [NAME]; on Basic, S0 and S1 only an admin, or a member of ##MS_ServerStateReader##, may look", database)
	case NumberPermissionOnObject:
		return fmt.Sprintf("in database %s, as its owner: grant the user what the message names", database)
	case NumberLoginFailed:
		return fmt.Sprintf("make the signed-in identity a user: as the server's Entra admin, in database %s: CREATE USER [NAME] FROM EXTERNAL PROVIDER; GRANT VIEW DATABASE STATE TO [NAME]; NAME is the application's or the person's display name", database)
	case NumberFirewall:
		address := clientAddress(message)
		return "let this client through the firewall of the server: az sql server firewall-rule create --name crosskeys" + p.azServer() +
			" --start-ip-address " + address + " --end-ip-address " + address
	case NumberVirtualNetworkRule:
		return "allow the client's subnet: az sql server vnet-rule create --name crosskeys" + p.azServer() + " --vnet-name VNET --subnet SUBNET"
	case NumberPublicAccessDenied:
		return "public network access is off: run crosskeys where the server's private endpoint can be reached"
	case NumberReadOnlyDatabase:
		return "this is a geo-secondary, which takes no writes: connect to the failover group's read-write listener"
	case NumberCannotOpenDatabase:
		return fmt.Sprintf("check that database %s stands on the server, is Online, and knows the signed-in identity as a user (CREATE USER [NAME] FROM EXTERNAL PROVIDER)", database)
	case NumberNoSuchServer:
		return fmt.Sprintf("check the name: there is no server or failover group behind %s", cmp.Or(p.Host, p.Server))
	case NumberNotAvailable, 40197, 40501, 49918, 49919, 49920, 10928, 10929:
		return "the database is not available now, as while it fails over or is scaled; try again later"
	}
	return ""
}

// azServer are az's words that name the server.
func (p Place) azServer() string {
	words := " --resource-group " + cmp.Or(p.ResourceGroup, "RESOURCE-GROUP") + " --server " + cmp.Or(p.Server, "SERVER")
	if p.Subscription != "" {
		words += " --subscription " + p.Subscription
	}
	return words
}

// hintOfKind says what can be done where the server gave no answer.
func hintOfKind(err error, p Place) string {
	host := cmp.Or(p.Host, p.Server)
	if _, ok := errors.AsType[*TokenError](err); ok {
		return "sign in (az login, or AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET), and check that the identity may get tokens for Azure SQL"
	}
	if _, ok := errors.AsType[*ProxyError](err); ok {
		return fmt.Sprintf("the proxy of HTTPS_PROXY must let CONNECT to %s:%s through; add %s to NO_PROXY to connect without it", host, Port, host)
	}
	switch {
	case distrusted(err):
		return fmt.Sprintf("the certificate that %s showed is not trusted here: check that nothing on the way replaces it, or name its authority in SSL_CERT_FILE", host)
	case unknownName(err):
		return fmt.Sprintf("check the name %s and DNS", host)
	case len(Numbers(err)) > 0:
		return "look the error's number up at https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors"
	}
	return fmt.Sprintf("check that %s:%s can be reached from here: network, firewall, private endpoint, proxy", host, Port)
}

// clientAddress finds the client's address in the firewall's message, which
// puts it in quotes; YOUR-ADDRESS when it has none.
func clientAddress(message string) string {
	for word := range strings.FieldsSeq(message) {
		if address, err := netip.ParseAddr(strings.Trim(word, "'\".,;")); err == nil {
			return address.WithZone("").String()
		}
	}
	return "YOUR-ADDRESS"
}
