package main

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"

	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/sqlconn"
)

// articleQuery is the published procedure's, byte for byte.
// Source: https://techcommunity.microsoft.com/blog/azuredbsupport/using-different-azure-key-vault-keys-for-azure-sql-servers-in-a-failover-group/4500775
const articleQuery = `SELECT
    DB_NAME(db_id()) AS database_name,
    dek.encryption_state,
    dek.encryption_state_desc,
    dek.key_algorithm,
    dek.key_length,
    dek.encryptor_type,
    dek.encryptor_thumbprint
FROM sys.dm_database_encryption_keys AS dek
WHERE database_id <> 2;`

// sqlOf says how the databases of a lab in this process are reached.
func sqlOf(local *lab.Lab) (sqlconn.Options, error) {
	credential, err := local.Credential(sdkcloud.AzurePublic)
	if err != nil {
		return sqlconn.Options{}, fmt.Errorf("sign in to the lab: %w", err)
	}
	authority, err := os.ReadFile(local.CAFile())
	if err != nil {
		return sqlconn.Options{}, fmt.Errorf("the lab's certificate authority: %w", err)
	}
	options := azure.SQLOptions(sdkcloud.AzurePublic, credential)
	options.RootCAs = x509.NewCertPool()
	options.RootCAs.AppendCertsFromPEM(authority)
	options.Dial = sqlconn.FromEnvironment(func(*http.Request) (*url.URL, error) { return url.Parse(local.ProxyURL()) })
	return options, nil
}

// query asks every database on both servers what the article asks, and prints
// the rows.
func (n *narrator) query(ctx context.Context, local *lab.Lab) error {
	options, err := sqlOf(local)
	if err != nil {
		return err
	}
	for line := range strings.Lines(articleQuery + "\n") {
		n.say("    %s", line)
	}
	rows := [][]string{}
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		for _, database := range lab.ArticleDatabases() {
			row, err := askArticle(ctx, options, server, database)
			if err != nil {
				return fmt.Errorf("ask %s on %s: %w", database, server, err)
			}
			rows = append(rows, row)
		}
	}
	out := &printer{to: n.command.OutOrStdout()}
	out.say("\n")
	out.table([]string{"ON", "DATABASE", "STATE", "DEK", "ENCRYPTOR", "THUMBPRINT"}, rows)
	return out.err
}

func askArticle(ctx context.Context, options sqlconn.Options, server, database string) (row []string, err error) {
	db, err := sqlconn.Open(options, server+".database.windows.net", database)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var (
		name, state, algorithm, encryptor sql.NullString
		number, length                    int
		thumbprint                        []byte
	)
	if err := db.QueryRowContext(ctx, articleQuery).Scan(&name, &number, &state, &algorithm, &length, &encryptor, &thumbprint); err != nil {
		return nil, err
	}
	return []string{server, name.String, fmt.Sprintf("%d %s", number, state.String), fmt.Sprintf("%s %d", algorithm.String, length), encryptor.String, strings.ToUpper(hex.EncodeToString(thumbprint))[:8] + "…"}, nil
}

// during runs a command while a workload writes and reads over the listener,
// and shows what the workload saw.
func (n *narrator) during(ctx context.Context, self, dir string, environ []string, command func() error) (err error) {
	args := []string{"lab", "load", "--dir", dir, "--duration", "0", "--writers", "4", "--readers", "4"}
	n.say("    $ crosskeys %s &\n", shortLine(args))
	work := exec.CommandContext(ctx, self, args...)
	var seen strings.Builder
	work.Env, work.Stdout, work.Stderr = environ, &seen, &seen
	if err := work.Start(); err != nil {
		return fmt.Errorf("start the workload: %w", err)
	}
	failed := command()
	stopped := work.Process.Signal(syscall.SIGINT)
	ended := work.Wait()
	n.say("\n    the workload, ended by Ctrl-C after the drill:\n\n%s", seen.String())
	return errors.Join(failed, stopped, ended)
}
