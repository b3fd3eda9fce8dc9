package compile

import (
	"errors"
	"testing"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// FuzzStatement compiles whatever the parser takes: the outcome is a program
// that SQLite takes too, or a message.
func FuzzStatement(f *testing.F) {
	for _, sql := range []string{
		"SELECT a, SUM(b) OVER (PARTITION BY c ORDER BY d) FROM t WHERE s LIKE 'x%' ORDER BY 1",
		"WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT TOP (3) WITH TIES i FROM n ORDER BY i",
		"MERGE t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET b = u.b WHEN NOT MATCHED THEN INSERT (b) VALUES (u.b) OUTPUT $action, deleted.*;",
		"UPDATE t SET b = (SELECT MAX(b) FROM u) OUTPUT inserted.*, deleted.b FROM t JOIN u ON u.id = t.id",
		"INSERT INTO t (b, d) SELECT b, GETDATE() FROM u UNION SELECT 1, NULL ORDER BY 1",
		"DELETE TOP (1) t OUTPUT deleted.id WHERE m IN (1, 2.5, '3') AND g = NEWID()",
		"SELECT x.* FROM t CROSS APPLY (SELECT TOP 1 id FROM u WHERE u.id = t.id) x(q) GROUP BY x.q HAVING COUNT(DISTINCT x.q) > 0",
		"SELECT DATEADD(dd, b, d), CONVERT(varchar(10), d, 101), CAST(m AS money) / 3, 0x01 + v, ISNULL(s, 1) FROM t",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		b, err := parse.Batch(sql)
		if err != nil {
			return
		}
		w := newWorld(t)
		w.must(`CREATE TABLE t (id int IDENTITY PRIMARY KEY, a int, b int NULL CHECK (b > 0), c nvarchar(10), d datetime2, s varchar(5) UNIQUE, m decimal(20,3), v varbinary(5), g uniqueidentifier, o datetimeoffset, f AS a + b);
CREATE TABLE u (id int PRIMARY KEY, b smallint, t_id int REFERENCES t(id) ON DELETE CASCADE)`)
		w.types["@x"] = value.Int
		for _, s := range b.Statements {
			p, err := Statement(s, w.scope())
			if err != nil {
				var m sqltype.Message
				if !errors.As(err, &m) {
					t.Fatalf("%s: %v", sql, err)
				}
				continue
			}
			if len(p.Steps) != 1 {
				continue
			}
			stmt, _, err := w.conn.Prepare(p.Steps[0].SQL)
			if err != nil {
				t.Fatalf("%s\n%s\n%v", sql, p.Steps[0].SQL, err)
			}
			_ = stmt.Close()
		}
	})
}
