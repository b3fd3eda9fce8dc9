package sqlendpoint_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/crosskeys/crosskeys/lab"
)

const deadline = 60 * time.Second

// seeded is a lab with the article's starting point.
func seeded(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
		t.Fatal(err)
	}
	return l
}

// dsn leads to a server by its name in TLS.
func dsn(l *lab.Lab, host, user, password, database string) string {
	query := url.Values{"database": {database}, "encrypt": {"true"}, "certificate": {l.CAFile()}, "hostNameInCertificate": {host}, "dial timeout": {"10"}}
	u := url.URL{Scheme: "sqlserver", Host: l.SQLAddr(), RawQuery: query.Encode()}
	if user != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

func password(t testing.TB, l *lab.Lab) string {
	t.Helper()
	password, err := l.SQLPassword()
	if err != nil {
		t.Fatal(err)
	}
	return password
}

// connect opens a pool as the servers' administrator.
func connect(t testing.TB, l *lab.Lab, host, database string) *sql.DB {
	t.Helper()
	return open(t, dsn(l, host, lab.SQLLogin, password(t, l), database))
}

func open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlserver", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

const (
	primary   = lab.ArticlePrimary + ".database.windows.net"
	secondary = lab.ArticleSecondary + ".database.windows.net"
	listener  = lab.ArticleFailoverGroup + ".database.windows.net"
	reader    = lab.ArticleFailoverGroup + ".secondary.database.windows.net"
)

func wantError(t testing.TB, err error, numbers ...int32) {
	t.Helper()
	var got mssql.Error
	if !errors.As(err, &got) {
		t.Errorf("%T %v, wanted %d", err, err, numbers)
		return
	}
	all := map[int32]bool{got.Number: true}
	for _, each := range got.All {
		all[each.Number] = true
	}
	for _, number := range numbers {
		if !all[number] {
			t.Errorf("%v, wanted %d", got.All, number)
		}
	}
}

func ask[T any](t testing.TB, db *sql.DB, query string, args ...any) (v T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := db.QueryRowContext(ctx, query, args...).Scan(&v); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return v
}

// token gets a token for SQL as the lab's operator.
func token(t testing.TB, l *lab.Lab) func() (string, error) {
	t.Helper()
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		got, err := credential.GetToken(context.WithoutCancel(t.Context()), policy.TokenRequestOptions{Scopes: []string{"https://database.windows.net/.default"}})
		return got.Token, err
	}
}

func TestLogin(t *testing.T) {
	l := seeded(t)
	secret := password(t, l)
	database := lab.ArticleDatabases()[0]
	t.Run("the servers' administrator, by TLS name, by user@server", func(t *testing.T) {
		if got := ask[string](t, connect(t, l, primary, database), "SELECT DB_NAME()"); got != database {
			t.Errorf("in %q", got)
		}
		byUser := open(t, dsn(l, "localhost", lab.SQLLogin+"@"+lab.ArticleSecondary, secret, database))
		if got := ask[string](t, byUser, "SELECT @@SERVERNAME"); got != lab.ArticleSecondary {
			t.Errorf("at %q", got)
		}
		if got := ask[string](t, byUser, "SELECT SUSER_SNAME()"); got != lab.SQLLogin {
			t.Errorf("as %q", got)
		}
	})
	t.Run("the group's listeners lead to the primary and the secondary", func(t *testing.T) {
		if got := ask[string](t, connect(t, l, listener, database), "SELECT @@SERVERNAME"); got != lab.ArticlePrimary {
			t.Errorf("the listener leads to %q", got)
		}
		if got := ask[string](t, connect(t, l, reader, database), "SELECT @@SERVERNAME"); got != lab.ArticleSecondary {
			t.Errorf("the read-only listener leads to %q", got)
		}
		if got := ask[string](t, connect(t, l, reader, database), "SELECT CONVERT(nvarchar(20), DATABASEPROPERTYEX(DB_NAME(), 'Updateability'))"); got != "READ_ONLY" {
			t.Errorf("the secondary is %q", got)
		}
		_, err := connect(t, l, reader, database).ExecContext(t.Context(), "CREATE TABLE t (id int)")
		wantError(t, err, 3906)
	})
	t.Run("the operator's token", func(t *testing.T) {
		connector, err := mssql.NewAccessTokenConnector(dsn(l, primary, "", "", database), token(t, l))
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer func() { _ = db.Close() }()
		if got := ask[string](t, db, "SELECT USER_NAME()"); got != "dbo" {
			t.Errorf("as %q", got)
		}
	})
	for name, each := range map[string]struct {
		host, user, password, database string
		want                           []int32
	}{
		"a wrong password":                    {primary, lab.SQLLogin, "wrong", database, []int32{18456}},
		"an unknown user":                     {primary, "nobody", secret, database, []int32{18456}},
		"a server that is not there":          {"nothing.database.windows.net", lab.SQLLogin, secret, database, []int32{40532}},
		"no server at all":                    {"localhost", lab.SQLLogin, secret, database, []int32{40531}},
		"a user's server that is another one": {primary, lab.SQLLogin + "@" + lab.ArticleSecondary, secret, database, []int32{40532}},
		"a database that is not there":        {primary, lab.SQLLogin, secret, "nothing", []int32{4060, 18456}},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			wantError(t, open(t, dsn(l, each.host, each.user, each.password, each.database)).PingContext(t.Context()), each.want...)
		})
	}
	t.Run("a token that is none", func(t *testing.T) {
		connector, err := mssql.NewAccessTokenConnector(dsn(l, primary, "", "", database), func() (string, error) { return "a.b.c", nil })
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, sql.OpenDB(connector).PingContext(t.Context()), 18456)
	})
}

// Step 6 of the article, byte for byte.
func TestStep6(t *testing.T) {
	text, err := os.ReadFile("../../e2e/sql/step6.sql")
	if err != nil {
		t.Fatal(err)
	}
	l := seeded(t)
	for _, host := range []string{primary, secondary} {
		for _, database := range lab.ArticleDatabases() {
			var name, description, algorithm, kind string
			var state, length int
			var thumbprint []byte
			err := connect(t, l, host, database).QueryRowContext(t.Context(), string(text)).Scan(&name, &state, &description, &algorithm, &length, &kind, &thumbprint)
			if err != nil {
				t.Fatal(err)
			}
			if name != database || state != 3 || description != "ENCRYPTED" || algorithm != "AES" || length != 256 || kind != "ASYMMETRIC KEY" || len(thumbprint) != 20 {
				t.Errorf("%s, %s: %s %d %s %s %d %s %x", host, database, name, state, description, algorithm, length, kind, thumbprint)
			}
		}
	}
}

// Clients that can use a proxy come under the server's own name and port.
func TestThroughTheProxy(t *testing.T) {
	l := seeded(t)
	database := lab.ArticleDatabases()[0]
	for _, encrypt := range []string{"true", "strict"} {
		connector, err := mssql.NewConnector("sqlserver://" + url.UserPassword(lab.SQLLogin, password(t, l)).String() + "@" + listener + "?database=" + database +
			"&encrypt=" + encrypt + "&certificate=" + url.QueryEscape(l.CAFile()))
		if err != nil {
			t.Fatal(err)
		}
		connector.Dialer = proxyDialer{strings.TrimPrefix(l.ProxyURL(), "http://")}
		db := sql.OpenDB(connector)
		if got := ask[string](t, db, "SELECT @@SERVERNAME"); got != lab.ArticlePrimary {
			t.Errorf("encrypt=%s: at %q", encrypt, got)
		}
		_ = db.Close()
	}
	if _, err := (proxyDialer{strings.TrimPrefix(l.ProxyURL(), "http://")}).DialContext(t.Context(), "tcp", primary+":443"); err == nil {
		t.Error("a server's name leads somewhere on the port of HTTPS")
	}
}

// proxyDialer dials by CONNECT.
type proxyDialer struct{ proxy string }

func (d proxyDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, d.proxy)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil) // the server speaks second
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New(response.Status), conn.Close())
	}
	return conn, nil
}

// HostName keeps the driver from looking the name up.
func (proxyDialer) HostName() string { return "" }

// BenchmarkPointSelect is a row by its primary key, over TLS, through the
// interpreter and the sealed pages.
func BenchmarkPointSelect(b *testing.B) {
	l := seeded(b)
	db := connect(b, l, primary, lab.ArticleDatabases()[0])
	do(b, db, "CREATE TABLE dbo.p (id int PRIMARY KEY, note nvarchar(100) NOT NULL)")
	do(b, db, "DECLARE @i int = 0; WHILE @i < 1000 BEGIN INSERT dbo.p VALUES (@i, N'a note of some length'); SET @i += 1 END")
	statement, err := db.PrepareContext(b.Context(), "SELECT note FROM dbo.p WHERE id = @p1")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = statement.Close() }()
	for name, query := range map[string]func(id int) *sql.Row{
		"sp_executesql": func(id int) *sql.Row {
			return db.QueryRowContext(b.Context(), "SELECT note FROM dbo.p WHERE id = @p1", id)
		},
		"prepared": func(id int) *sql.Row { return statement.QueryRowContext(b.Context(), id) },
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				from := time.Now()
				var note string
				if err := query(i % 1000).Scan(&note); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(from))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
		})
	}
}
