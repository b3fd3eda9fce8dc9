// Package tsql is the interpreter of the SQL endpoint: it takes a client's
// batch or call, carries out its statements one by one on the session's
// database, and hands the results back.
//
// A [Session] belongs to one client. It parses a batch (tsql/parse), compiles
// each statement for the embedded SQL engine (tsql/compile), runs it there, and
// streams what it yields to [sqltype.Results]. What is not of one database,
// such as other databases, servers and replication, it asks its [Host].
//
// Transactions are those of READ COMMITTED with row versioning, the setting of
// every database in Azure SQL: a statement reads the newest committed state;
// the first write of a transaction takes the database's write lock.
// Source: https://learn.microsoft.com/sql/t-sql/statements/set-transaction-isolation-level-transact-sql
//
// What a database knows of its own objects, users and permissions is stored in
// the database itself, in reserved tables, so that it is replicated, backed up
// and rolled back with the data.
package tsql
