package azure

import (
	"context"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/tde"
)

// DatabaseReader asks databases what only they know of themselves. It must be
// safe for concurrent use.
type DatabaseReader interface {
	// ReadDatabase asks one database on one server. What it gives is good even
	// beside an error, which says what of it is missing.
	ReadDatabase(ctx context.Context, server tde.Server, database string) (DatabaseReading, error)
}

// DatabaseReading is what a database says of itself; nil is what was not read.
type DatabaseReading struct {
	Encryption *tde.EncryptionState
	LogKeys    []tde.LogKey
	Geo        []tde.GeoStatus
}

// SQLReader reads with SQL: on the server's own name, as the caller, over TLS.
type SQLReader struct {
	// Options say how to connect; SQLOptions makes them.
	Options sqlconn.Options
	// Limit bounds the reading of one database with all its repetitions after
	// transient errors; 0: 20 seconds.
	Limit time.Duration
}

// SQLOptions say how the caller connects to the databases of a cloud, with
// access tokens for the audience of its databases.
func SQLOptions(c cloud.Configuration, credential azcore.TokenCredential) sqlconn.Options {
	return sqlconn.Options{Token: sqlconn.Audience(credential, databaseAudience(c))}
}

// Listener is the host name of a failover group's read-write listener, which
// leads to whichever member is primary.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
func Listener(group string, member tde.Server) string {
	_, suffix, _ := strings.Cut(member.FQDN, ".")
	return strings.ToLower(group) + "." + suffix
}

// The pauses between two attempts to read a database.
const (
	firstReadPause = 100 * time.Millisecond
	lastReadPause  = 2 * time.Second
)

// ReadDatabase asks for the database's row of sys.dm_database_encryption_keys,
// its virtual log files and its geo-replication. It repeats what fails for a
// while; its errors are *sqlconn.Error.
func (r *SQLReader) ReadDatabase(ctx context.Context, server tde.Server, database string) (DatabaseReading, error) {
	limit := r.Limit
	if limit <= 0 {
		limit = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := firstReadPause
	for {
		reading, err := r.readOnce(ctx, server, database)
		if err == nil || !sqlconn.Transient(err) {
			return reading, r.explain(server, database, err)
		}
		if sleep(ctx, pause) != nil {
			return reading, r.explain(server, database, err)
		}
		pause = min(2*pause, lastReadPause)
	}
}

func (r *SQLReader) explain(server tde.Server, database string, err error) error {
	return sqlconn.Explain("read the encryption state", sqlconn.Place{
		Server: server.Name, Host: server.FQDN, Database: database, ResourceGroup: server.ResourceGroup, Subscription: server.Subscription,
	}, err)
}

func (r *SQLReader) readOnce(ctx context.Context, server tde.Server, database string) (reading DatabaseReading, err error) {
	db, err := sqlconn.Open(r.Options, server.FQDN, database)
	if err != nil {
		return reading, err
	}
	defer func() { _ = db.Close() }() // the answers are there
	conn, err := db.Conn(ctx)
	if err != nil {
		return reading, err
	}
	defer func() { _ = conn.Close() }()
	if reading.Encryption, err = readEncryptionKeys(ctx, conn); err != nil {
		return reading, err
	}
	if reading.LogKeys, err = readLogKeys(ctx, conn); err != nil {
		return reading, err
	}
	reading.Geo, err = readGeoStatus(ctx, conn)
	return reading, err
}

// asked reports whether a database can be asked. A login would resume one that
// is paused, and the others let nobody in.
// Source: https://learn.microsoft.com/azure/azure-sql/database/serverless-tier-overview#auto-resume
func asked(status string) bool {
	return status == "" || strings.EqualFold(status, "Online") || strings.EqualFold(status, "Scaling")
}
