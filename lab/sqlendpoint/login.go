package sqlendpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/lab/tds"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// attempt is one login on its way through the gateway.
type attempt struct {
	tds.Login
	target   sqlserver.Target
	server   sqlserver.ServerInfo
	user     string // without the server's name
	database string
}

// Login lets a client in, or says why not: the server that it means, the
// firewall, who it is, the database.
func (e *Endpoint) Login(ctx context.Context, login tds.Login) (tds.Session, tds.LoginInfo, error) {
	a := &attempt{Login: login, database: login.Database}
	if a.database == "" {
		a.database = instance.Master
	}
	if err := e.route(a); err != nil {
		return nil, tds.LoginInfo{}, err
	}
	if err := e.checkFirewall(a); err != nil {
		return nil, tds.LoginInfo{}, err
	}
	session, err := e.open(ctx, a)
	if err != nil {
		return nil, tds.LoginInfo{}, err
	}
	e.Log.Debug("sql.login", "server", a.target.Server, "database", session.database.name, "spid", session.lease.SPID())
	return session, tds.LoginInfo{ServerName: a.server.Name, Database: session.database.name, SPID: uint16(session.lease.SPID())}, nil //nolint:gosec // a server has fewer sessions
}

// route finds the server. The name in TLS is the surest, then the one that
// the client says in its login, then the one after the user's @; where two of
// them name servers, they have to agree.
// Source: https://learn.microsoft.com/azure/azure-sql/database/connectivity-architecture
func (e *Endpoint) route(a *attempt) error {
	var given string
	found := false
	a.user = a.User // this may be the second time
	for _, name := range []string{a.SNI, serverOf(a.ServerName)} {
		if found || isOwnAddress(name) {
			continue
		}
		given = name
		var err error
		if a.target, found, err = e.SQL.Resolve(name); err != nil {
			return fmt.Errorf("find server: %w", err)
		}
	}
	if at := strings.LastIndexByte(a.user, '@'); at >= 0 && a.Token == "" {
		suffix := serverOf(a.user[at+1:])
		target, named, err := e.SQL.Resolve(suffix)
		if err != nil {
			return fmt.Errorf("find server: %w", err)
		}
		switch {
		case named && found && target.Server != a.target.Server:
			return cannotOpenServer(suffix)
		case named && !found:
			a.target, found = target, true
		case !found:
			given = suffix
		}
		if named {
			a.user = a.user[:at]
		}
	}
	if !found {
		if given == "" {
			return noServerName()
		}
		return cannotOpenServer(firstLabel(given))
	}
	var err error
	if a.server, found, err = e.SQL.ServerInfo(a.target.Server); err == nil && !found {
		return cannotOpenServer(firstLabel(given))
	}
	return err
}

// serverOf takes from a server's name what clients put around it: the
// protocol before it, port or instance after it.
func serverOf(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	name = strings.TrimPrefix(name, "tcp:")
	name, _, _ = strings.Cut(name, ",")
	name, _, _ = strings.Cut(name, `\`)
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	return strings.TrimSuffix(name, ".")
}

// isOwnAddress reports whether a name says nothing about the server: it is
// the gateway's own address.
func isOwnAddress(name string) bool {
	if name == "" || name == "localhost" || name == "." || name == "(local)" {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}

func firstLabel(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return label
}

func (e *Endpoint) checkFirewall(a *attempt) error {
	address := addressOf(a.Remote)
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return firewallRefused(a.server.Name, address)
	}
	allowed, err := e.SQL.FirewallAllows(a.target.Server, parsed)
	if err != nil {
		return fmt.Errorf("check the firewall of %s: %w", a.target.Server, err)
	}
	if !allowed {
		return firewallRefused(a.server.Name, parsed.Unmap().String())
	}
	return nil
}

func addressOf(remote net.Addr) string {
	if remote == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(remote.String())
	if err != nil {
		return remote.String()
	}
	return host
}

// identity is who a client has proved to be: the server's administrator, or
// somebody whom the database has to know.
type identity struct {
	name  string // for errors and sys.dm_exec_sessions
	admin bool
	// claims are those of a token, nil of a password.
	claims *entra.Claims
}

// identify checks what the client shows. A password that is not the
// administrator's may still be a database user's.
func (e *Endpoint) identify(a *attempt) (identity, error) {
	if a.Token == "" {
		admin, err := e.SQL.CheckLogin(a.target.Server, a.user, a.Password)
		if err != nil {
			return identity{}, fmt.Errorf("check a login of %s: %w", a.target.Server, err)
		}
		return identity{name: a.user, admin: admin}, nil
	}
	claims, err := e.Entra.Verify(a.Token, Audiences())
	var refused *entra.TokenError
	if errors.As(err, &refused) {
		m := loginFailed(tokenPrincipal)
		if refused.Check == entra.CheckExpiry {
			m.Text += " Token is expired."
		}
		e.Log.Debug("sql.token_refused", "server", a.target.Server, "check", refused.Check)
		return identity{}, m
	}
	if err != nil {
		return identity{}, fmt.Errorf("verify a token: %w", err)
	}
	name, err := e.nameOf(claims)
	if err != nil {
		return identity{}, err
	}
	admin, found, err := e.SQL.EntraAdministrator(a.target.Server)
	if err != nil {
		return identity{}, fmt.Errorf("read the administrator of %s: %w", a.target.Server, err)
	}
	isAdmin := found && (strings.EqualFold(admin.SID, claims.ObjectID) || strings.EqualFold(admin.SID, claims.AppID))
	return identity{name: name, admin: isAdmin, claims: &claims}, nil
}

// nameOf is a principal's display name.
func (e *Endpoint) nameOf(claims entra.Claims) (name string, err error) {
	err = e.Entra.Store.View(func(tx *store.Tx) error {
		p, found, err := e.Entra.FindPrincipal(tx, claims.ObjectID)
		if name = p.Name; !found || name == "" {
			name = claims.AppID
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("find the principal of a token: %w", err)
	}
	return name, nil
}

// principal finds who a client is within a database.
func (e *Endpoint) principal(ctx context.Context, a *attempt, who identity, db tsql.Database) (tsql.Principal, error) {
	p := tsql.Principal{Login: who.name, Admin: who.admin}
	var err error
	if who.claims != nil {
		p.External = true
		if p.SID, err = parseGUID(firstText(who.claims.AppID, who.claims.ObjectID)); err != nil {
			return p, err
		}
	}
	if who.admin {
		return p, nil
	}
	failed := loginFailed(who.name)
	switch {
	case who.claims != nil:
		failed = loginFailed(tokenPrincipal)
		p, err = tsql.FindExternal(ctx, db, who.name, p.SID, nil)
	default:
		p, err = tsql.Authenticate(ctx, db, a.user, a.Password)
	}
	if errors.Is(err, tsql.ErrNoUser) {
		return p, failed
	}
	return p, err
}

func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// parseGUID reads a GUID in the order of its text.
func parseGUID(text string) (sqltype.GUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return sqltype.GUID{}, fmt.Errorf("a principal's id: %w", err)
	}
	return sqltype.GUID(id), nil
}
