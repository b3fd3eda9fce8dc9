package lab

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/keyvault"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
)

// regionRefusal is what Resource Manager answers for a resource whose region
// is down: its provider does not answer. nil: the call goes through.
// Source: https://github.com/Azure/azure-quickstart-templates/issues/2238
func (l *Lab) regionRefusal(r *http.Request) *arm.Error {
	provider, region, err := l.regionOf(r)
	if err != nil {
		l.log.Error("fault.region_unknown", "path", r.URL.Path, "error", err)
		return nil
	}
	rule, down := l.faults.Region(region)
	if region == "" || !down {
		return nil
	}
	l.faults.Strike(rule, r.Method+" "+r.URL.Path)
	return arm.Refuse(http.StatusGatewayTimeout, "GatewayTimeout", "The gateway did not receive a response from '%s' within the specified time period.", provider)
}

// regionOf finds the provider and the region that answer a call: those of the
// server, or of the operation that is polled. A vault that its region has left
// is served by the paired region, which lets nothing be changed.
func (l *Lab) regionOf(r *http.Request) (provider, region string, err error) {
	segments := strings.FieldsFunc(r.URL.Path, func(c rune) bool { return c == '/' })
	for i := range segments {
		if !strings.EqualFold(segments[i], "providers") || i+3 >= len(segments) {
			continue
		}
		switch strings.ToLower(segments[i+1] + "/" + segments[i+2]) {
		case "microsoft.sql/servers":
			region, err = l.sql.RegionOf(segments[i+3])
			return "Microsoft.Sql", region, err
		case "microsoft.sql/locations":
			return "Microsoft.Sql", segments[i+3], nil
		case "microsoft.keyvault/vaults":
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				return "", "", nil
			}
			region, err = l.keyvault.LocationOf(segments[i+3])
			return "Microsoft.KeyVault", region, err
		}
	}
	return "", "", nil
}

// faultyVaults lets the faults in force strike the vaults' data plane, for
// clients and servers alike.
func (l *Lab) faultyVaults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		vault := keyvault.VaultOf(r)
		if rule, struck := l.faults.Vault(vault); struck {
			l.faults.Strike(rule, r.Method+" https://"+r.Host+r.URL.Path)
			if rule.RetryAfter > 0 {
				w.Header().Set("Retry-After", fmt.Sprint(int64(rule.RetryAfter.Seconds())))
			}
			keyvault.WriteRefusal(w, rule.Status, rule.Code, "The vault "+vault+" refuses the request.")
			return
		}
		region, err := l.keyvault.LocationOf(vault)
		if err != nil {
			l.log.Error("fault.region_unknown", "vault", vault, "error", err)
		}
		if rule, down := l.faults.Region(region); region != "" && down && keyvault.ChangesKeys(r) {
			l.faults.Strike(rule, r.Method+" https://"+r.Host+r.URL.Path)
			keyvault.WriteRefusal(w, http.StatusServiceUnavailable, "", "The vault has failed over to the paired region and is read-only.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// faultySQL is the SQL endpoint of servers whose region may be down.
type faultySQL struct {
	lab  *Lab
	next tds.Backend
}

// Login lets nobody in whose server cannot be reached.
func (f faultySQL) Login(ctx context.Context, login tds.Login) (tds.Session, tds.LoginInfo, error) {
	session, info, err := f.next.Login(ctx, login)
	if err != nil || session == nil {
		return session, info, err
	}
	guarded := faultySession{Session: session, lab: f.lab, server: info.ServerName, database: info.Database}
	if err := guarded.check(); err != nil {
		_ = session.Close() // the client hears of the outage
		return nil, tds.LoginInfo{}, err
	}
	if ender, ends := session.(tds.Ender); ends {
		return &endingSession{guarded, ender}, info, nil
	}
	return &guarded, info, nil
}

// faultySession ends with the first request after its region went down.
type faultySession struct {
	tds.Session
	lab              *Lab
	server, database string
}

type endingSession struct {
	faultySession
	tds.Ender
}

// check gives error 40613 while the server's region is down, which ends the
// session.
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
func (f *faultySession) check() error {
	region, err := f.lab.sql.RegionOf(firstLabel(f.server))
	if err != nil {
		return err
	}
	rule, down := f.lab.faults.Region(region)
	if region == "" || !down {
		return nil
	}
	f.lab.faults.Strike(rule, "SQL "+f.server+"/"+f.database)
	return sqltype.Message{Number: 40613, Class: 20, State: 1, Line: 1, Server: f.server, Text: fmt.Sprintf(
		"Database '%s' on server '%s' is not currently available.  Please retry the connection later.  If the problem persists, contact customer support, and provide them the session tracing ID of '%s'.",
		f.database, f.server, "00000000-0000-0000-0000-000000000000")}
}

func firstLabel(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return label
}

// Batch runs a SQL batch.
func (f *faultySession) Batch(ctx context.Context, text string, out sqltype.Results) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.Session.Batch(ctx, text, out)
}

// Call runs a remote procedure call.
func (f *faultySession) Call(ctx context.Context, call sqltype.Call, out sqltype.Results) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.Session.Call(ctx, call, out)
}

// Transaction begins or ends the session's transaction.
func (f *faultySession) Transaction(ctx context.Context, request sqltype.TransactionRequest, out sqltype.Results) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.Session.Transaction(ctx, request, out)
}
