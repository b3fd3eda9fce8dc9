// Command gomssqldb HOST DATABASE FILE runs the batch in FILE with
// go-mssqldb and prints its rows, a line each, values separated by |, binary
// ones in hexadecimal. HOST is the server's own name; SQL_ADDR says where the
// lab listens. ENCRYPT is true (TDS 7.4) or strict (TDS 8.0); with TOKEN set
// it signs in by an access token, else as SQL_LOGIN.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: gomssqldb HOST DATABASE FILE")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// gateway dials the lab whatever server is named.
type gateway struct{ net.Dialer }

func (g *gateway) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return g.Dialer.DialContext(ctx, network, os.Getenv("SQL_ADDR"))
}

// HostName keeps the driver from looking the server's name up.
func (g *gateway) HostName() string { return "" }

func connector(host, database string) (*mssql.Connector, error) {
	encrypt := os.Getenv("ENCRYPT")
	if encrypt == "" {
		encrypt = "true"
	}
	query := url.Values{"database": {database}, "encrypt": {encrypt}, "certificate": {os.Getenv("CA_FILE")}, "dial timeout": {"10"}}
	u := url.URL{Scheme: "sqlserver", Host: host, RawQuery: query.Encode()}
	if token := os.Getenv("TOKEN"); token != "" {
		c, err := mssql.NewAccessTokenConnector(u.String(), func() (string, error) { return token, nil })
		if err != nil {
			return nil, err
		}
		made, ok := c.(*mssql.Connector)
		if !ok {
			return nil, fmt.Errorf("a connector of type %T", c)
		}
		return made, nil
	}
	u.User = url.UserPassword(os.Getenv("SQL_LOGIN"), os.Getenv("SQL_PASSWORD"))
	return mssql.NewConnector(u.String())
}

func run(ctx context.Context, host, database, file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := connector(host, database)
	if err != nil {
		return err
	}
	c.Dialer = &gateway{}
	db := sql.OpenDB(c)
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	rows, err := db.QueryContext(ctx, string(text))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	return write(rows, out)
}

func write(rows *sql.Rows, out io.Writer) error {
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = fmt.Sprint(v)
			if raw, ok := v.([]byte); ok {
				texts[i] = fmt.Sprintf("0x%X", raw)
			}
		}
		if _, err := fmt.Fprintln(out, strings.Join(texts, "|")); err != nil {
			return err
		}
	}
	return rows.Err()
}
