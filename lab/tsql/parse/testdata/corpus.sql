-- Statements that the parser takes, refuses by name, or rejects as SQL Server
-- does. A line that begins with #### opens a case: its verdict, and for the
-- last two the number, the line and the text of the error. 
#### accept select 1
SELECT 1
#### accept aliases of all forms
SELECT a x, b AS y, c AS 'z z', "d" = e, [f] = g, 'h' = i FROM dbo.t AS tt
#### accept distinct top percent with ties
SELECT DISTINCT TOP (10) PERCENT WITH TIES a FROM t ORDER BY a DESC, b ASC
#### accept top without brackets
SELECT TOP 5 * FROM t
#### accept select into
SELECT a, b INTO #t FROM t WHERE a > 1
#### accept joins
SELECT * FROM a INNER JOIN b ON a.x = b.x LEFT OUTER JOIN c ON b.y = c.y RIGHT JOIN d ON d.z = c.z FULL OUTER JOIN e ON e.w = d.w CROSS JOIN f, g
#### accept nested on
SELECT * FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x
#### accept bracketed join
SELECT * FROM (a JOIN b ON a.x = b.x) LEFT JOIN c ON c.x = b.x
#### accept join hint
SELECT * FROM a INNER HASH JOIN b ON a.x = b.x
#### accept apply
SELECT * FROM a CROSS APPLY (SELECT TOP (1) * FROM b WHERE b.x = a.x ORDER BY y) AS q OUTER APPLY STRING_SPLIT(a.s, ',') AS s
#### accept derived tables
SELECT d.x FROM (SELECT 1) AS d(x), (VALUES (1, 'a'), (2, N'b')) v(i, s)
#### accept double brackets
SELECT ((SELECT 1)), ((SELECT 1) + 1) FROM ((SELECT 1 AS x) UNION (SELECT 2)) AS q
#### accept derived joined in brackets
SELECT * FROM ((SELECT 1 AS x) AS a JOIN b ON a.x = b.x)
#### accept table-valued functions
SELECT * FROM sys.dm_db_log_info(DB_ID()) AS l JOIN GENERATE_SERIES(1, 10) AS s ON s.value = l.vlf_sequence_number
#### accept openjson
SELECT * FROM OPENJSON(@j, '$.a') WITH (id int '$.id', name nvarchar(50), doc nvarchar(max) AS JSON) AS j
#### accept table hints
SELECT * FROM t WITH (NOLOCK, INDEX(ix), FORCESEEK) JOIN u (NOLOCK) ON t.a = u.a OPTION (RECOMPILE, MAXDOP 1, HASH JOIN, OPTIMIZE FOR (@a = 1, @b UNKNOWN), USE HINT('DISABLE_OPTIMIZER_ROWGOAL'))
#### accept group by of all forms
SELECT a, b, COUNT(*) FROM t GROUP BY a, ROLLUP (b, c), CUBE (d), GROUPING SETS ((a, b), (a), ()) HAVING COUNT(*) > 1
#### accept group by with rollup
SELECT a, SUM(b) FROM t GROUP BY a WITH ROLLUP
#### accept offset fetch
SELECT a FROM t ORDER BY a OFFSET 10 ROWS FETCH NEXT 5 ROWS ONLY
#### accept set operations
SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 INTERSECT (SELECT 4 UNION SELECT 5) ORDER BY 1
#### accept recursive common table
WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10), m AS (SELECT * FROM n) SELECT * FROM m OPTION (MAXRECURSION 0)
#### accept window functions
SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b), SUM(c) OVER (ORDER BY b ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), LAG(c, 1, 0) OVER (ORDER BY b), COUNT(*) OVER () FROM t
#### accept range frame
SELECT SUM(c) OVER (PARTITION BY a ORDER BY b RANGE UNBOUNDED PRECEDING) FROM t
#### accept case
SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, CASE WHEN a > 1 AND b < 2 THEN 1 END, IIF(a = 1 OR b = 2, 1, 0), COALESCE(a, b), NULLIF(a, 0) FROM t
#### accept conversions
SELECT CAST(a AS decimal(10, 2)), TRY_CAST(a AS int), CONVERT(varchar(30), a, 121), TRY_CONVERT(datetime2(3), a), CAST(a AS nvarchar(max))
#### accept predicates
SELECT 1 FROM t WHERE a LIKE N'x!%%' ESCAPE '!' AND b NOT LIKE 'y' AND c IN (1, 2) AND d NOT IN (SELECT x FROM u) AND e BETWEEN 1 AND 2 AND f NOT BETWEEN 3 AND 4 AND g IS NULL AND h IS NOT NULL AND EXISTS (SELECT * FROM u) AND NOT EXISTS (SELECT 1) AND i > ALL (SELECT x FROM u) AND j = ANY (SELECT x FROM u) AND k IS NOT DISTINCT FROM l
#### accept brackets in predicates
SELECT 1 WHERE ((a + 1) * 2 > 3 OR (((b)) = (c))) AND NOT (d = 1)
#### accept operators
SELECT -a * b + ~c & d | e ^ f % 2, a COLLATE Latin1_General_BIN2, d AT TIME ZONE 'UTC' AT TIME ZONE 'CET' FROM t WHERE a != 1 AND b !< 2 AND c !> 3 AND d <> 4 AND e > = 5
#### accept literals
SELECT 1, 1.5, .5, 1., 1E5, 1.5e-3, $12.5, -$1, 0xFF, 0x, N'ü', 'it''s', NULL, 12345678901234567890
#### accept nested comments
SELECT /* a /* b */ c */ 1 -- end
#### accept quoted names
SELECT [a ]] b], "c "" d" FROM [my schema].[my table]
#### accept four-part names
SELECT * FROM srv.db.dbo.t, db..u
#### accept unicode names
SELECT größe AS Länge FROM dbo.Straße WHERE größe > 1
#### accept system variables
SELECT @@VERSION, @@ROWCOUNT, @@SPID, @x
#### accept variable assignment in select
SELECT @a = 1, @b += x FROM t
#### accept niladic functions
SELECT CURRENT_TIMESTAMP, USER, SYSTEM_USER, LEFT(a, 1), RIGHT(a, 1) FROM t
#### accept date parts
SELECT DATEADD(day, 1, d), DATEDIFF(SECOND, a, b), DATEPART(yy, d), DATENAME(weekday, d)
#### accept string_agg within group
SELECT STRING_AGG(a, ',') WITHIN GROUP (ORDER BY a) FROM t
#### accept trim
SELECT TRIM(a), TRIM('x' FROM a), TRIM(LEADING 'x' FROM a)
#### accept insert values
INSERT INTO t (a, b) VALUES (1, DEFAULT), (2, N'x')
#### accept insert without into
INSERT t VALUES (1)
#### accept insert select
INSERT INTO t WITH (TABLOCK) (a) SELECT a FROM u UNION ALL SELECT 1
#### accept insert default values
INSERT INTO t DEFAULT VALUES
#### accept insert output
INSERT INTO t (a) OUTPUT inserted.id, inserted.a AS x INTO @o (id, x) OUTPUT inserted.* VALUES (1)
#### accept insert exec
INSERT INTO #t EXEC dbo.p @a = 1
#### accept insert from common table
WITH c AS (SELECT 1 AS a) INSERT INTO t (a) SELECT a FROM c
#### accept update
UPDATE t SET a = 1, b += 2, c = DEFAULT, @v = d = e + 1, @w = 3 WHERE id = 1
#### accept update from
UPDATE x SET x.a = y.a OUTPUT deleted.a, inserted.a FROM t AS x JOIN u AS y ON x.id = y.id WHERE y.b IS NULL
#### accept update top
UPDATE TOP (10) t SET a = 1
#### accept delete
DELETE FROM t WHERE a = 1
#### accept delete from from
DELETE TOP (5) FROM x OUTPUT deleted.* FROM t AS x JOIN u ON x.id = u.id
#### accept merge
MERGE INTO dbo.t WITH (HOLDLOCK) AS target USING (VALUES (1, 'a')) AS source (id, n) ON target.id = source.id WHEN MATCHED AND target.n <> source.n THEN UPDATE SET n = source.n WHEN NOT MATCHED BY TARGET THEN INSERT (id, n) VALUES (source.id, source.n) WHEN NOT MATCHED BY SOURCE THEN DELETE OUTPUT $action, inserted.id, deleted.id;
#### accept truncate
TRUNCATE TABLE dbo.t
#### accept create table
CREATE TABLE dbo.t (
  id int IDENTITY(1, 1) NOT NULL CONSTRAINT pk PRIMARY KEY CLUSTERED,
  name nvarchar(100) COLLATE Latin1_General_CI_AS NULL DEFAULT N'x',
  price decimal(19, 4) NOT NULL CONSTRAINT df DEFAULT (0) CONSTRAINT ck CHECK (price >= 0),
  total AS price * 2 PERSISTED,
  other int REFERENCES dbo.u (id) ON DELETE CASCADE ON UPDATE NO ACTION,
  g uniqueidentifier ROWGUIDCOL DEFAULT NEWID(),
  v rowversion,
  CONSTRAINT uq UNIQUE NONCLUSTERED (name, price DESC),
  CONSTRAINT fk FOREIGN KEY (other) REFERENCES dbo.u (id) ON DELETE SET NULL,
  CHECK (id > 0),
  INDEX ix (name) INCLUDE (price) WHERE name IS NOT NULL
) ON [PRIMARY]
#### accept create table with trailing comma
CREATE TABLE t (a int,)
#### accept alter table add
ALTER TABLE t WITH NOCHECK ADD c int NOT NULL DEFAULT 0 WITH VALUES, CONSTRAINT ck CHECK (c > 0), CONSTRAINT df DEFAULT (1) FOR d
#### accept alter table drop
ALTER TABLE t DROP COLUMN IF EXISTS a, b, CONSTRAINT c
#### accept alter column
ALTER TABLE t ALTER COLUMN a nvarchar(50) NOT NULL
#### accept nocheck
ALTER TABLE t NOCHECK CONSTRAINT ALL; ALTER TABLE t WITH CHECK CHECK CONSTRAINT ck
#### accept create index
CREATE UNIQUE NONCLUSTERED INDEX ix ON dbo.t (a DESC, b) INCLUDE (c, d) WHERE a > 1 WITH (ONLINE = ON, FILLFACTOR = 80) ON [PRIMARY]
#### accept drop index
DROP INDEX IF EXISTS ix ON dbo.t
#### accept create view
CREATE OR ALTER VIEW dbo.v (a, b) WITH SCHEMABINDING AS WITH c AS (SELECT 1 AS x, 2 AS y) SELECT x, y FROM c WITH CHECK OPTION;
#### accept create procedure
CREATE PROCEDURE dbo.p @a int, @b nvarchar(10) = N'x', @c int = NULL OUTPUT WITH RECOMPILE AS
BEGIN
  SET NOCOUNT ON;
  SELECT @c = COUNT(*) FROM t WHERE a = @a;
  RETURN 0;
END
#### accept alter procedure
ALTER PROC p AS SELECT 1 SELECT 2
#### accept drops
DROP TABLE IF EXISTS a, dbo.b; DROP VIEW v; DROP PROCEDURE IF EXISTS p; DROP SCHEMA s; DROP USER u; DROP ROLE r; DROP LOGIN l; DROP DATABASE d
#### accept create schema
CREATE SCHEMA s AUTHORIZATION dbo
#### accept declare
DECLARE @a int = 1, @b AS nvarchar(max), @d datetime2(7) = SYSUTCDATETIME()
#### accept table variable
DECLARE @t TABLE (id int PRIMARY KEY, n nvarchar(10) NOT NULL DEFAULT '', UNIQUE (n))
#### accept set
SET @a = 1; SET @b += N'x' SET @c = (SELECT MAX(a) FROM t)
#### accept set options
SET NOCOUNT ON SET ANSI_NULLS, QUOTED_IDENTIFIER ON; SET LOCK_TIMEOUT -1; SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; SET IDENTITY_INSERT dbo.t ON; SET TEXTSIZE 2147483647; SET LANGUAGE us_english; SET DATEFIRST 7; SET STATISTICS IO, TIME ON; SET DEADLOCK_PRIORITY LOW; SET ROWCOUNT 0; SET CONTEXT_INFO 0x01
#### accept if else
IF @a = 1 SELECT 1; ELSE IF @a = 2 SELECT 2 ELSE BEGIN SELECT 3; SELECT 4 END
#### accept while
WHILE @i < 10 BEGIN SET @i += 1; IF @i = 5 BREAK; CONTINUE; END
#### accept try catch
BEGIN TRY SELECT 1 / 0; END TRY BEGIN CATCH SELECT ERROR_MESSAGE(); THROW; END CATCH
#### accept empty catch
BEGIN TRY SELECT 1 END TRY BEGIN CATCH END CATCH
#### accept goto and label
start: SET @i += 1; IF @i < 3 GOTO start; done:
#### accept waitfor
WAITFOR DELAY '00:00:01'; WAITFOR TIME @t
#### accept print raiserror throw
PRINT 'a' + @b; RAISERROR (N'x %d %s', 16, 1, @a, 'b') WITH NOWAIT; THROW 50000, 'm', 1
#### accept exec
EXEC dbo.p 1, @b OUTPUT, N'x', DEFAULT, -5; EXECUTE @rc = p @a = 1, @b = @c OUT; EXEC ('SELECT 1' + @s); EXEC sp_help t; EXEC @p
#### accept implicit exec
sp_who 1
#### accept misspelt select is a procedure
SELEC 1
#### accept transactions
BEGIN TRANSACTION t1; SAVE TRAN s1; ROLLBACK TRAN s1; COMMIT TRANSACTION; BEGIN TRAN @n; ROLLBACK; BEGIN TRAN COMMIT WORK
#### accept use and kill
USE master; KILL 53; KILL 54 WITH STATUSONLY
#### accept cursor
DECLARE c CURSOR LOCAL FAST_FORWARD FOR SELECT a FROM t; OPEN c; FETCH NEXT FROM c INTO @a; CLOSE c; DEALLOCATE c
#### accept create database
CREATE DATABASE d COLLATE Latin1_General_CI_AS (EDITION = 'GeneralPurpose', MAXSIZE = 32 GB, SERVICE_OBJECTIVE = 'GP_Gen5_2') WITH CATALOG_COLLATION = DATABASE_DEFAULT
#### accept copy
CREATE DATABASE d AS COPY OF [srv].[e] (SERVICE_OBJECTIVE = ELASTIC_POOL (name = p))
#### accept alter database azure
ALTER DATABASE d ADD SECONDARY ON SERVER srv2 WITH (ALLOW_CONNECTIONS = ALL); ALTER DATABASE d REMOVE SECONDARY ON SERVER srv2; ALTER DATABASE d FAILOVER; ALTER DATABASE d FORCE_FAILOVER_ALLOW_DATA_LOSS
#### accept alter database set
ALTER DATABASE [d] SET ENCRYPTION ON; ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE; ALTER DATABASE d SET COMPATIBILITY_LEVEL = 160; ALTER DATABASE d MODIFY NAME = e; ALTER DATABASE d MODIFY (EDITION = 'Premium'); ALTER DATABASE d COLLATE Latin1_General_CI_AS; ALTER DATABASE d SET QUERY_STORE = ON (OPERATION_MODE = READ_WRITE); ALTER DATABASE d SET READ_ONLY
#### accept logins and users
CREATE LOGIN l WITH PASSWORD = 'x', SID = 0x01; ALTER LOGIN l DISABLE; ALTER LOGIN l WITH PASSWORD = 'y' OLD_PASSWORD = 'x'; CREATE USER u FOR LOGIN l WITH DEFAULT_SCHEMA = dbo; CREATE USER [a@b.c] FROM EXTERNAL PROVIDER; CREATE USER c WITH PASSWORD = 'x'; CREATE USER w WITHOUT LOGIN; ALTER USER u WITH NAME = v; CREATE ROLE r AUTHORIZATION dbo; ALTER ROLE db_datareader ADD MEMBER u
#### accept permissions
GRANT SELECT, INSERT ON dbo.t TO u, r WITH GRANT OPTION; DENY UPDATE (a, b) ON OBJECT::dbo.t TO u; REVOKE GRANT OPTION FOR EXECUTE ON SCHEMA::dbo FROM public CASCADE; GRANT VIEW DATABASE STATE TO u; GRANT CONTROL ON DATABASE::d TO u AS dbo
#### accept semicolons and nothing
;;SELECT 1;;
#### accept nothing
-- only a comment
#### accept statements without semicolons
DECLARE @a int SET @a = 1 SELECT @a PRINT 'x' INSERT t VALUES (1) DELETE t SELECT * FROM t
#### reject 102 1 Incorrect syntax near 'c'.
SELECT a b c FROM t
#### reject 102 1 Incorrect syntax near ','.
CREATE TABLE t(id int,, v int)
#### reject 156 1 Incorrect syntax near the keyword 'FROM'.
SELECT a, FROM t
#### reject 156 1 Incorrect syntax near the keyword 'from'.
select from t
#### reject 102 1 Incorrect syntax near 'where'.
select * from t where
#### reject 102 3 Incorrect syntax near ')'.
SELECT 1,
  2,
  )
#### reject 102 1 Incorrect syntax near '='.
SELECT (1 = 2)
#### reject 102 1 Incorrect syntax near '='.
SELECT a + 1 = b
#### reject 102 2 Incorrect syntax near 'int'.
CREATE TABLE t (
a int
#### reject 105 2 Unclosed quotation mark after the character string 'abc'.
SELECT 1,
'abc
#### reject 105 1 Unclosed quotation mark after the character string 'abc'.
SELECT [abc
#### reject 113 2 Missing end comment mark '*/'.
SELECT 1
/* a /* b */
#### reject 319 1 Incorrect syntax near the keyword 'WITH'. If this statement is a common table expression, an xmlnamespaces clause or a change tracking context clause, the previous statement must be terminated with a semicolon.
SELECT 1 WITH c AS (SELECT 1 AS a) SELECT * FROM c
#### reject 336 1 Incorrect syntax near 'c'. If this is intended to be a common table expression, you need to explicitly terminate the previous statement with a semi-colon.
SELECT * FROM t WITH c AS (SELECT 1 AS a) SELECT * FROM c
#### reject 4145 1 An expression of non-boolean type specified in a context where a condition is expected, near '1'.
SELECT 1 WHERE 1
#### reject 4145 2 An expression of non-boolean type specified in a context where a condition is expected, near 'SELECT'.
IF 1
SELECT 2
#### reject 10713 1 A MERGE statement must be terminated by a semi-colon (;).
MERGE t USING u ON t.a = u.a WHEN MATCHED THEN DELETE
#### reject 111 1 'CREATE VIEW' must be the first statement in a query batch.
SELECT 1; CREATE VIEW v AS SELECT 1 AS a
#### reject 111 1 'CREATE PROCEDURE' must be the first statement in a query batch.
SELECT 1; CREATE OR ALTER PROC v AS SELECT 1 AS a
#### reject 156 1 Incorrect syntax near the keyword 'END'.
BEGIN END
#### reject 102 1 Incorrect syntax near 'BEGIN'.
BEGIN
#### reject 156 1 Incorrect syntax near the keyword 'ELSE'.
ELSE SELECT 1
#### reject 102 1 Incorrect syntax near 'sp_who'.
SELECT 1; sp_who
#### reject 102 1 Incorrect syntax near '@n'.
SELECT TOP @n * FROM t
#### reject 102 1 Incorrect syntax near '+'.
EXEC p 1 + 1
#### reject 119 1 Must pass parameter number 2 and subsequent parameters as '@name = value'. After the form '@name = value' has been used, all subsequent parameters must be passed in the form '@name = value'.
EXEC p @a = 1, 2
#### reject 10709 1 The number of columns for each row in a table value constructor must be the same.
INSERT INTO t VALUES (1, 2), (3)
#### reject 321 1 "NOLOK" is not a recognized table hints option. If it is intended as a parameter to a table-valued function or to the CHANGETABLE function, ensure that your database compatibility mode is set to 90.
SELECT * FROM t WITH (NOLOK)
#### reject 195 1 'NOCOUT' is not a recognized SET option.
SET NOCOUT ON
#### reject 343 1 Unknown object type 'TABEL' used in a CREATE, DROP, or ALTER statement.
CREATE TABEL t (a int)
#### reject 117 1 The object name 'a.b.c.d.e' contains more than the maximum number of prefixes. The maximum is 3.
SELECT * FROM a.b.c.d.e
#### reject 1038 1 An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. For other statements, look for empty alias names. Aliases defined as "" or [] are not allowed. Change the alias to a valid name.
SELECT 1 AS []
#### reject 102 1 Incorrect syntax near '?'.
SELECT ?
#### reject 156 1 Incorrect syntax near the keyword 'ORDER'.
SELECT * FROM (SELECT 1 AS a) ORDER BY a
#### reject 102 1 Incorrect syntax near ')'.
SELECT COUNT()) FROM t
#### reject 156 1 Incorrect syntax near the keyword 'AND'.
SELECT 1 WHERE a = 1 AND AND b = 2
#### reject 102 1 Incorrect syntax near 'a'.
UPDATE t a = 1
#### reject 156 1 Incorrect syntax near the keyword 'VALUES'.
INSERT INTO VALUES (1)
#### reject 102 1 Incorrect syntax near 't'.
DROP TABLE t t
#### reject 156 1 Incorrect syntax near the keyword 'TABLE'.
SELECT * FROM TABLE
#### reject 131 1 The size (9000) given to the type 'varchar' exceeds the maximum allowed for any data type (8000).
SELECT CAST(a AS varchar(9000))
#### reject 1002 1 Line 1: Specified scale 8 is invalid.
DECLARE @a datetime2(8)
#### reject 2716 1 Column, parameter, or variable #1: Cannot specify a column width on data type int.
DECLARE @a int(4)
#### reject 102 1 Incorrect syntax near '1'.
GOTO 1
#### reject 156 1 Incorrect syntax near the keyword 'ELSE'.
IF @a = 1 ELSE SELECT 1
#### refuse 40517 1 Keyword or statement option 'FOR XML' is not supported in this version of SQL Server.
SELECT a FROM t FOR XML PATH('')
#### refuse 40517 1 Keyword or statement option 'FOR JSON' is not supported in this version of SQL Server.
SELECT a FROM t FOR JSON AUTO
#### refuse 40517 1 Keyword or statement option 'PIVOT' is not supported in this version of SQL Server.
SELECT * FROM t PIVOT (SUM(a) FOR b IN ([x], [y])) AS p
#### refuse 40517 1 Keyword or statement option 'UNPIVOT' is not supported in this version of SQL Server.
SELECT * FROM t UNPIVOT (a FOR b IN (x, y)) AS p
#### refuse 40517 1 Keyword or statement option 'TABLESAMPLE' is not supported in this version of SQL Server.
SELECT * FROM t TABLESAMPLE (10 PERCENT)
#### refuse 40517 1 Keyword or statement option 'FOR SYSTEM_TIME' is not supported in this version of SQL Server.
SELECT * FROM t FOR SYSTEM_TIME AS OF '2020-01-01'
#### refuse 40517 1 Keyword or statement option 'OPENROWSET' is not supported in this version of SQL Server.
SELECT * FROM OPENROWSET(BULK 'x', SINGLE_CLOB) AS r
#### refuse 40517 1 Keyword or statement option 'CONTAINS' is not supported in this version of SQL Server.
SELECT * FROM t WHERE CONTAINS(a, 'x')
#### refuse 40511 1 Built-in function 'PARSE' is not supported in this version of SQL Server.
SELECT PARSE('1' AS int)
#### refuse 40517 1 Keyword or statement option 'NEXT VALUE FOR' is not supported in this version of SQL Server.
SELECT NEXT VALUE FOR s
#### refuse 40517 1 Keyword or statement option 'WINDOW' is not supported in this version of SQL Server.
SELECT SUM(a) OVER w FROM t WINDOW w AS (ORDER BY b)
#### refuse 40517 1 Keyword or statement option 'GROUP BY ALL' is not supported in this version of SQL Server.
SELECT a FROM t GROUP BY ALL a
#### refuse 40510 1 Statement 'CREATE FUNCTION' is not supported in this version of SQL Server.
CREATE FUNCTION f() RETURNS int AS BEGIN RETURN 1 END
#### refuse 40510 1 Statement 'CREATE TRIGGER' is not supported in this version of SQL Server.
CREATE TRIGGER tr ON t AFTER INSERT AS SELECT 1
#### refuse 40510 1 Statement 'CREATE TYPE' is not supported in this version of SQL Server.
CREATE TYPE dbo.phone FROM nvarchar(20)
#### refuse 40510 1 Statement 'CREATE SEQUENCE' is not supported in this version of SQL Server.
CREATE SEQUENCE s START WITH 1
#### refuse 40510 1 Statement 'CREATE SYNONYM' is not supported in this version of SQL Server.
CREATE SYNONYM s FOR dbo.t
#### refuse 40510 1 Statement 'DROP FUNCTION' is not supported in this version of SQL Server.
DROP FUNCTION f
#### refuse 40510 1 Statement 'ALTER INDEX' is not supported in this version of SQL Server.
ALTER INDEX ix ON t REBUILD
#### refuse 40510 1 Statement 'CREATE STATISTICS' is not supported in this version of SQL Server.
CREATE STATISTICS s ON t (a)
#### refuse 40510 1 Statement 'CREATE COLUMNSTORE INDEX' is not supported in this version of SQL Server.
CREATE COLUMNSTORE INDEX ix ON t (a)
#### refuse 40517 1 Keyword or statement option 'COLUMNSTORE' is not supported in this version of SQL Server.
CREATE NONCLUSTERED COLUMNSTORE INDEX ix ON t (a)
#### refuse 40510 1 Statement 'CREATE MASTER KEY' is not supported in this version of SQL Server.
CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'x'
#### refuse 40510 1 Statement 'DBCC CHECKDB' is not supported in this version of SQL Server.
DBCC CHECKDB
#### refuse 40510 1 Statement 'BACKUP DATABASE' is not supported in this version of SQL Server.
BACKUP DATABASE d TO DISK = 'x'
#### refuse 40510 1 Statement 'RESTORE DATABASE' is not supported in this version of SQL Server.
RESTORE DATABASE d FROM DISK = 'x'
#### refuse 40510 1 Statement 'BULK INSERT' is not supported in this version of SQL Server.
BULK INSERT t FROM 'x'
#### refuse 40510 1 Statement 'CHECKPOINT' is not supported in this version of SQL Server.
CHECKPOINT
#### refuse 40510 1 Statement 'UPDATE STATISTICS' is not supported in this version of SQL Server.
UPDATE STATISTICS t
#### refuse 40510 1 Statement 'EXECUTE AS' is not supported in this version of SQL Server.
EXECUTE AS USER = 'u'
#### refuse 40510 1 Statement 'REVERT' is not supported in this version of SQL Server.
REVERT
#### refuse 40510 1 Statement 'BEGIN DISTRIBUTED TRANSACTION' is not supported in this version of SQL Server.
BEGIN DISTRIBUTED TRAN
#### refuse 40510 1 Statement 'DISABLE TRIGGER' is not supported in this version of SQL Server.
DISABLE TRIGGER tr ON t
#### refuse 40510 1 Statement 'ALTER DATABASE SCOPED CONFIGURATION' is not supported in this version of SQL Server.
ALTER DATABASE SCOPED CONFIGURATION SET MAXDOP = 1
#### refuse 40517 1 Keyword or statement option 'xml' is not supported in this version of SQL Server.
CREATE TABLE t (x xml)
#### refuse 40517 1 Keyword or statement option 'sql_variant' is not supported in this version of SQL Server.
DECLARE @v sql_variant
#### refuse 40517 1 Keyword or statement option 'SPARSE' is not supported in this version of SQL Server.
CREATE TABLE t (a int SPARSE NULL)
#### refuse 40517 1 Keyword or statement option 'CURSOR' is not supported in this version of SQL Server.
DECLARE @c CURSOR
#### refuse 40517 1 Keyword or statement option 'EXECUTE … AT' is not supported in this version of SQL Server.
EXEC ('SELECT 1') AT srv
#### refuse 40517 1 Keyword or statement option 'ALTER TABLE REBUILD' is not supported in this version of SQL Server.
ALTER TABLE t REBUILD
#### refuse 40517 1 Keyword or statement option 'ALTER TABLE SWITCH' is not supported in this version of SQL Server.
ALTER TABLE t SWITCH TO u
#### reject 173 2 The definition for column 'b' must include a data type.
CREATE TABLE t (a int,
b)
#### reject 156 1 Incorrect syntax near the keyword 'INTO'.
SELECT * FROM (SELECT a INTO u FROM t) AS q
#### reject 102 1 Incorrect syntax near '='.
SELECT (SELECT @a = 1)
#### reject 141 1 A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.
SELECT @a = 1, b FROM t
#### reject 135 1 Cannot use a BREAK statement outside the scope of a WHILE statement.
IF @a = 1 BREAK
#### reject 136 1 Cannot use a CONTINUE statement outside the scope of a WHILE statement.
CONTINUE
#### reject 133 2 A GOTO statement references the label 'nowhere' but the label has not been declared.
SELECT 1
GOTO nowhere
#### reject 132 1 The label 'A' has already been declared. Label names must be unique within a query batch or stored procedure.
a: SELECT 1; A: SELECT 2
#### reject 178 1 A RETURN statement with a return value cannot be used in this context.
RETURN 1
#### reject 10704 2 To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, or add error parameters to the THROW statement.
SELECT 1;
THROW
#### reject 102 1 Incorrect syntax near '('.
EXEC p (SELECT 1)
#### reject 102 1 Incorrect syntax near 'AS'.
CREATE PROCEDURE p AS
#### reject 156 1 Incorrect syntax near the keyword 'UPDATE'.
IF UPDATE t SET a = 1
#### refuse 40517 1 Keyword or statement option '.WRITE' is not supported in this version of SQL Server.
UPDATE t SET a.WRITE('x', 0, 1)
#### refuse 40517 1 Keyword or statement option '{ }' is not supported in this version of SQL Server.
SELECT {d '2020-01-01'}
#### accept label after a statement
SELECT a
done: PRINT 'x' GOTO done
#### reject 102 1 Incorrect syntax near '*='.
SELECT a FROM t, u WHERE t.a *= u.a
#### refuse 40517 1 Keyword or statement option '||' is not supported in this version of SQL Server.
SELECT 'a' || 'b'
#### refuse 40517 1 Keyword or statement option '<<' is not supported in this version of SQL Server.
SELECT 1 << 2
#### refuse 40517 1 Keyword or statement option 'FROM (DELETE …)' is not supported in this version of SQL Server.
INSERT INTO t SELECT a FROM (DELETE FROM u OUTPUT deleted.a) AS d
#### refuse 40517 1 Keyword or statement option 'AS NODE' is not supported in this version of SQL Server.
CREATE TABLE t (a int) AS NODE
#### refuse 40517 1 Keyword or statement option '.value' is not supported in this version of SQL Server.
SELECT x.query('/a').value('.', 'int') FROM t
#### refuse 40517 1 Keyword or statement option 'ON PARTITIONS' is not supported in this version of SQL Server.
CREATE INDEX ix ON t (a) WITH (DATA_COMPRESSION = ROW ON PARTITIONS (1))
#### accept online index with low priority
CREATE INDEX ix ON t (a) WITH (ONLINE = ON (WAIT_AT_LOW_PRIORITY (MAX_DURATION = 1 MINUTES, ABORT_AFTER_WAIT = SELF)), IGNORE_DUP_KEY = OFF)
#### accept recovery full
ALTER DATABASE d SET RECOVERY FULL
#### reject 156 1 Incorrect syntax near the keyword 'DISTINCT'.
SELECT LEN(DISTINCT a) FROM t
#### accept distinct aggregates
SELECT COUNT(DISTINCT a), SUM(ALL b) FROM t
