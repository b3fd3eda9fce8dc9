package load

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/sqlconn"
)

// DefaultTable is the workload's table where none is named.
const DefaultTable = "dbo.crosskeys_load"

// Table is the workload's table behind a listener.
type Table struct {
	Options  sqlconn.Options
	Listener string // host name
	Database string
	Name     string // SCHEMA.TABLE or TABLE; empty: DefaultTable
}

// quoted is the table's name as it stands in statements.
func (t Table) quoted() string {
	name := t.Name
	if name == "" {
		name = DefaultTable
	}
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = "[" + strings.ReplaceAll(part, "]", "]]") + "]"
	}
	return strings.Join(parts, ".")
}

// CheckTableName says what is wrong with a table's name as a person writes it.
func CheckTableName(name string) error {
	parts := strings.Split(name, ".")
	if len(parts) > 2 || strings.ContainsAny(name, "[]'\"\x00") {
		return fmt.Errorf("%q is no table's name: want TABLE or SCHEMA.TABLE, unquoted", name)
	}
	for _, part := range parts {
		if part == "" || len([]rune(part)) > 128 {
			return fmt.Errorf("%q is no table's name: each part has 1 to 128 characters", name)
		}
	}
	return nil
}

// Open opens a session.
func (t Table) Open(ctx context.Context) (Session, error) {
	db, err := sqlconn.Open(t.Options, t.Listener, t.Database)
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &session{table: t.quoted(), db: db, conn: conn}, nil
}

// Create makes the table, unless it is there already.
func (t Table) Create(ctx context.Context) error {
	return t.execute(ctx, "create the table "+t.quoted(), fmt.Sprintf(`IF OBJECT_ID(N'%s', N'U') IS NULL
CREATE TABLE %s (
    run_id nvarchar(32) NOT NULL,
    writer int NOT NULL,
    seq bigint NOT NULL,
    payload nvarchar(4000) NOT NULL,
    checksum nvarchar(32) NOT NULL,
    CONSTRAINT %s PRIMARY KEY (run_id, writer, seq)
)`, strings.ReplaceAll(t.quoted(), "'", "''"), t.quoted(), t.key()))
}

// key names the table's primary key, which has to be unlike others of its schema.
func (t Table) key() string {
	parts := strings.Split(t.Name, ".")
	name := parts[len(parts)-1]
	if name == "" {
		name = "crosskeys_load"
	}
	letters := []rune(name)
	return "[PK_" + strings.ReplaceAll(string(letters[:min(len(letters), 100)]), "]", "]]") + "]"
}

// Drop removes the table.
func (t Table) Drop(ctx context.Context) error {
	return t.execute(ctx, "drop the table "+t.quoted(), "DROP TABLE "+t.quoted())
}

func (t Table) execute(ctx context.Context, what, statement string) error {
	db, err := sqlconn.Open(t.Options, t.Listener, t.Database)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = db.ExecContext(ctx, statement)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// session is one connection.
type session struct {
	table string
	db    *sql.DB
	conn  *sql.Conn
}

// Close closes the connection.
func (s *session) Close() error { return errors.Join(s.conn.Close(), s.db.Close()) }

// whoAnswers is asked along with each operation: the primary's name changes
// under a listener, and a geo-secondary is not updatable.
const whoAnswers = "SELECT CONVERT(nvarchar(128), @@SERVERNAME), CONVERT(nvarchar(60), DATABASEPROPERTYEX(DB_NAME(), N'Updateability'))"

// Insert writes one row. It is committed before the answer says by whom.
func (s *session) Insert(ctx context.Context, run string, row Row) (Answer, error) {
	return answerOf(s.conn.QueryRowContext(ctx, "INSERT INTO "+s.table+" (run_id, writer, seq, payload, checksum) VALUES (@p1, @p2, @p3, @p4, @p5); "+whoAnswers,
		run, row.Writer, row.Sequence, row.Payload, row.Checksum))
}

// Look reads who answers.
func (s *session) Look(ctx context.Context) (Answer, error) {
	return answerOf(s.conn.QueryRowContext(ctx, whoAnswers))
}

func answerOf(row *sql.Row) (Answer, error) {
	var server, updateability sql.NullString
	err := row.Scan(&server, &updateability)
	return Answer{Server: server.String, Writable: updateability.String == "READ_WRITE"}, err
}

// Read reads one row.
func (s *session) Read(ctx context.Context, run string, id ID) (row Row, found bool, answer Answer, err error) {
	if answer, err = s.Look(ctx); err != nil {
		return row, false, answer, err
	}
	row.ID = id
	err = s.conn.QueryRowContext(ctx, "SELECT payload, checksum FROM "+s.table+" WHERE run_id = @p1 AND writer = @p2 AND seq = @p3", run, id.Writer, id.Sequence).
		Scan(&row.Payload, &row.Checksum)
	if errors.Is(err, sql.ErrNoRows) {
		return row, false, answer, nil
	}
	return row, err == nil, answer, err
}

// Rows reads all rows of one writer.
func (s *session) Rows(ctx context.Context, run string, writer int, each func(Row) error) (err error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT writer, seq, payload, checksum FROM "+s.table+" WHERE run_id = @p1 AND writer = @p2 ORDER BY seq", run, writer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row Row
		if err := rows.Scan(&row.Writer, &row.Sequence, &row.Payload, &row.Checksum); err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}
