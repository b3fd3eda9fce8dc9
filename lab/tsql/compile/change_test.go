package compile

import (
	"testing"
)

func TestChangesAnswerAsSQLServer(t *testing.T) {
	w := newWorld(t)
	w.must(`CREATE TABLE t (id int IDENTITY(10,5) NOT NULL, k varchar(5) NOT NULL CONSTRAINT UQ_k UNIQUE, n int NULL CONSTRAINT CK_n CHECK (n > 0), d decimal(5,2) NOT NULL CONSTRAINT DF_d DEFAULT 1.5, c AS n * 2, CONSTRAINT PK_t PRIMARY KEY (id));
CREATE TABLE child (id int PRIMARY KEY, t_id int NULL CONSTRAINT FK_child REFERENCES t(id));
CREATE TABLE log (what nvarchar(10), old int, new int);`)
	check(t, w, []known{
		{"INSERT INTO t (k, n) OUTPUT inserted.id, inserted.c, inserted.d VALUES ('a', 1), ('b', 2)", "10|2|1.50\n15|4|1.50", "int|int|decimal(5,2)"},
		{"INSERT INTO t (k) VALUES ('A ')", "2627: Violation of UNIQUE KEY constraint 'UQ_k'. Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (A).", ""},
		{"INSERT INTO t (k, n) VALUES ('c', 0)", "547: The INSERT statement conflicted with the CHECK constraint \"CK_n\". The conflict occurred in database \"app\", table \"dbo.t\", column 'n'.", ""},
		{"INSERT INTO t (n) VALUES (1)", "515: Cannot insert the value NULL into column 'k', table 'app.dbo.t'; column does not allow nulls. INSERT fails.", ""},
		{"INSERT INTO t (k) VALUES ('toolong')", "2628: String or binary data would be truncated in table 'app.dbo.t', column 'k'. Truncated value: 'toolo'.", ""},
		{"INSERT INTO t (id, k) VALUES (1, 'x')", "544: Cannot insert explicit value for identity column in table 't' when IDENTITY_INSERT is set to OFF.", ""},
		{"INSERT INTO t VALUES ('x')", "213: Column name or number of supplied values does not match table definition.", ""},
		{"INSERT INTO t (k, k) VALUES ('x', 'y')", "264: The column name 'k' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause. Modify the clause to make sure that a column is updated only once. If this statement updates or inserts columns into a view, column aliasing can conceal the duplication in your code.", ""},
		{"INSERT INTO t (k, c) VALUES ('x', 1)", "271: The column \"c\" cannot be modified because it is either a computed column or is the result of a UNION operator.", ""},
		{"INSERT INTO child (id, t_id) VALUES (1, 99)", "547: The INSERT statement conflicted with the FOREIGN KEY constraint \"FK_child\". The conflict occurred in database \"app\", table \"dbo.t\", column 'id'.", ""},
		{"INSERT INTO child (id, t_id) VALUES (1, 10), (2, NULL)", "", ""},
		{"DELETE FROM t WHERE id = 10", "547: The DELETE statement conflicted with the REFERENCE constraint \"FK_child\". The conflict occurred in database \"app\", table \"dbo.child\", column 't_id'.", ""},
		{"INSERT INTO child (id) VALUES (2)", "2627: Violation of PRIMARY KEY constraint '" + pkName(w, "child") + "'. Cannot insert duplicate key in object 'dbo.child'. The duplicate key value is (2).", ""},
		{"UPDATE t SET n = n + 10 OUTPUT deleted.n, inserted.n WHERE k = 'B'", "2|12", "int|int"},
		{"UPDATE t SET n = -1", "547: The UPDATE statement conflicted with the CHECK constraint \"CK_n\". The conflict occurred in database \"app\", table \"dbo.t\", column 'n'.", ""},
		{"UPDATE t SET k = 'b'", "2627: Violation of UNIQUE KEY constraint 'UQ_k'. Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (b).", ""},
		{"UPDATE t SET k = NULL WHERE id = 10", "515: Cannot insert the value NULL into column 'k', table 'app.dbo.t'; column does not allow nulls. UPDATE fails.", ""},
		{"UPDATE t SET id = 1", "8102: Cannot update identity column 'id'.", ""},
		{"UPDATE t SET k = CASE k WHEN 'a' THEN 'b' ELSE 'a' END; SELECT id, k, n, c FROM t ORDER BY id", "10|b|1|2\n15|a|12|24", ""},
		{"UPDATE child SET id = id + 1; SELECT id FROM child ORDER BY id", "2\n3", ""},
		{"UPDATE x SET n = s.v FROM t AS x JOIN (VALUES ('a', 7), ('b', 8)) AS s(k, v) ON s.k = x.k; SELECT k, n FROM t ORDER BY k", "a|7\nb|8", ""},
		{"UPDATE t SET n = (SELECT SUM(n) FROM t AS u WHERE u.id <= t.id); SELECT id, n FROM t ORDER BY id", "10|8\n15|15", ""},
		{"UPDATE t SET n += 1, d = DEFAULT OUTPUT deleted.n, inserted.n, inserted.k INTO log (old, new, what) WHERE id = 15; SELECT * FROM log", "a|15|16", ""},
		{"MERGE t AS x USING (VALUES ('a', 100), ('z', 26)) AS s(k, v) ON x.k = s.k WHEN MATCHED THEN UPDATE SET n = s.v WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, s.v) OUTPUT $action, inserted.k, deleted.n, inserted.n, s.v;",
			"UPDATE|a|16|100|100\nINSERT|z|NULL|26|26", "nvarchar(10)|varchar(5)|int|int|int"},
		{"MERGE t AS x USING (VALUES ('z'), ('z ')) AS s(k) ON x.k = s.k WHEN MATCHED THEN DELETE;", "8672: The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY clause to group the source rows.", ""},
		{"MERGE t AS x USING (SELECT 'b' AS k) AS s ON x.k = s.k WHEN NOT MATCHED BY SOURCE AND x.n > 50 THEN DELETE WHEN NOT MATCHED BY SOURCE THEN UPDATE SET n = 1 OUTPUT $action, deleted.k;", "DELETE|a\nUPDATE|z", ""},
		{"DELETE TOP (1) FROM t WHERE k = 'z'; SELECT k FROM t", "b", ""},
		{"DELETE FROM child OUTPUT deleted.id WHERE t_id IS NULL", "3", ""},
		{"DELETE c FROM child c JOIN t ON t.id = c.t_id; SELECT COUNT(*) FROM child", "0", ""},
		{"DELETE t OUTPUT deleted.k, deleted.c", "b|16", ""},
		{"INSERT INTO t (k, n) SELECT v.k, v.n FROM (VALUES ('m', 1), ('n', 2)) v(k, n) ORDER BY v.n DESC; SELECT k FROM t ORDER BY id", "n\nm", ""},
		{"DECLARE @x int, @y varchar(5); UPDATE t SET @x = n = n + 1, @y = k WHERE k = 'm'; SELECT @x, @y", "2|m", "int|varchar(5)"},
		{"SELECT k, n INTO #copy FROM t; SELECT * FROM #copy ORDER BY k", "m|2\nn|2", "varchar(5)|int"},
		{"TRUNCATE TABLE t", "4712: Cannot truncate table 't' because it is being referenced by a FOREIGN KEY constraint.", ""},
		{"INSERT INTO log VALUES ('a', 1, 1), ('a', 2, 2), ('b', 3, 3); WITH d AS (SELECT what, old, ROW_NUMBER() OVER (PARTITION BY what ORDER BY old) AS rn FROM log WHERE what <> 'x') DELETE FROM d WHERE rn > 1; SELECT what, COUNT(*) FROM log GROUP BY what", "a|1\nb|1", ""},
		{"WITH d AS (SELECT what, old, new AS n FROM log) UPDATE d SET old = n * 10 OUTPUT inserted.old, deleted.old WHERE what = 'b'", "30|3", ""},
		{"WITH d AS (SELECT what AS old FROM log) UPDATE d SET old = 1", "4406: Update or insert of view or function 'd' failed because it contains a derived or constant field.", ""},
		{"DECLARE @v TABLE (a int PRIMARY KEY, b nvarchar(5)); INSERT INTO @v VALUES (1, N'x'), (2, N'y'); UPDATE @v SET b = 'q' WHERE a = 2; SELECT * FROM @v", "1|x\n2|q", "int|nvarchar(5)"},
	})
}

func pkName(w *world, table string) string { return w.tables["dbo."+table].Keys[0].Name }

func TestCascades(t *testing.T) {
	w := newWorld(t)
	w.must(`CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a(id) ON DELETE CASCADE);
CREATE TABLE c (id int PRIMARY KEY, b_id int REFERENCES b ON DELETE SET NULL);
INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (10, 1), (20, 2); INSERT INTO c VALUES (100, 10), (200, 20);`)
	check(t, w, []known{
		{"DELETE FROM a WHERE id = 1; SELECT b.id, c.id, c.b_id FROM b FULL JOIN c ON c.b_id = b.id ORDER BY c.id", "NULL|100|NULL\n20|200|20", ""},
	})
	w.must("DELETE FROM a")
	if w.count != 1 {
		t.Errorf("cascaded rows count: %d", w.count)
	}
}

func TestDefinitions(t *testing.T) {
	w := newWorld(t)
	w.must("CREATE TABLE t (a int NOT NULL, b varchar(10) NULL); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, NULL)")
	check(t, w, []known{
		{"CREATE TABLE t (a int)", "2714: There is already an object named 't' in the database.", ""},
		{"CREATE TABLE u (a int, A int)", "2705: Column names in each table must be unique. Column name 'A' in table 'u' is specified more than once.", ""},
		{"CREATE UNIQUE INDEX ix ON t (b)", "1505: The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.t' and the index name 'ix'. The duplicate key value is (<NULL>).", ""},
		{"CREATE UNIQUE INDEX ix ON t (b DESC) WHERE b IS NOT NULL", "", ""},
		{"INSERT INTO t VALUES (4, 'X')", "2601: Cannot insert duplicate key row in object 'dbo.t' with unique index 'ix'. The duplicate key value is (X).", ""},
		{"ALTER TABLE t ADD CONSTRAINT PK_t PRIMARY KEY (a)", "", ""},
		{"INSERT INTO t VALUES (3, 'z')", "2627: Violation of PRIMARY KEY constraint 'PK_t'. Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (3).", ""},
		{"ALTER TABLE t ADD c datetime2(0) NOT NULL DEFAULT '2020-01-01', d int NULL DEFAULT 7", "", ""},
		{"SELECT * FROM t ORDER BY a", "1|x|2020-01-01 00:00:00|NULL\n2|NULL|2020-01-01 00:00:00|NULL\n3|NULL|2020-01-01 00:00:00|NULL", ""},
		{"ALTER TABLE t ADD w datetime2(0) NOT NULL DEFAULT SYSUTCDATETIME(); SELECT MIN(w) FROM t; ALTER TABLE t DROP CONSTRAINT x", "3728: 'x' is not a constraint.", ""},
		{"SELECT MIN(w) FROM t", "2026-11-24 12:30:15", ""},
		{"ALTER TABLE t ADD e int NOT NULL", "4901: ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, or the column being added is an identity or timestamp column, or alternatively if none of the previous conditions are satisfied the table must be empty to allow addition of this column. Column 'e' cannot be added to non-empty table 't' because it does not satisfy these conditions.", ""},
		{"ALTER TABLE t ADD CONSTRAINT CK CHECK (a < 3)", "547: The ALTER TABLE statement conflicted with the CHECK constraint \"CK\". The conflict occurred in database \"app\", table \"dbo.t\", column 'a'.", ""},
		{"ALTER TABLE t DROP COLUMN b", "4922: ALTER TABLE DROP COLUMN b failed because one or more objects access this column.", ""},
		{"DROP INDEX ix ON t", "", ""},
		{"ALTER TABLE t ALTER COLUMN b nvarchar(20) NULL", "", ""},
		{"SELECT b FROM t WHERE a = 1", "x", "nvarchar(20)"},
		{"ALTER TABLE t DROP COLUMN b", "", ""},
		{"ALTER TABLE t DROP CONSTRAINT PK_t", "", ""},
		{"INSERT INTO t (a) VALUES (3); SELECT a, d FROM t ORDER BY a", "1|NULL\n2|NULL\n3|NULL\n3|7", ""},
		{"CREATE VIEW v (x) AS SELECT a * 2 FROM t WHERE a > 1", "", ""},
		{"SELECT x FROM dbo.v ORDER BY x", "4\n6\n6", ""},
		{"CREATE TABLE bin (a varbinary(5) PRIMARY KEY, o datetimeoffset(0) UNIQUE)", "", ""},
		{"INSERT INTO bin VALUES (0x01, '2020-01-01 10:00:00 +00:00')", "", ""},
		{"INSERT INTO bin VALUES (0x0100, NULL)", "2627: Violation of PRIMARY KEY constraint '*'. Cannot insert duplicate key in object 'dbo.bin'. The duplicate key value is (0x0100).", ""},
		{"INSERT INTO bin VALUES (0x02, '2020-01-01 11:00:00 +01:00')", "2627: Violation of UNIQUE KEY constraint '*'. Cannot insert duplicate key in object 'dbo.bin'. The duplicate key value is (2020-01-01 11:00:00 +01:00).", ""},
		{"SELECT a FROM bin WHERE a = 0x010000", "0x01", ""},
		{"CREATE TABLE n (a int UNIQUE, b int)", "", ""},
		{"INSERT INTO n VALUES (NULL, 1)", "", ""},
		{"INSERT INTO n VALUES (NULL, 2)", "2627: Violation of UNIQUE KEY constraint '*'. Cannot insert duplicate key in object 'dbo.n'. The duplicate key value is (<NULL>).", ""},
		{"DROP TABLE n", "", ""},
	})
}
