package compile

import "testing"

func shop(t *testing.T) *world {
	w := newWorld(t)
	w.must(`CREATE TABLE dbo.customer (id int NOT NULL PRIMARY KEY, name nvarchar(20) NOT NULL, city varchar(20) NULL);
CREATE TABLE dbo.orders (id int IDENTITY(1,1) CONSTRAINT PK_orders PRIMARY KEY, customer_id int NOT NULL, amount decimal(10,2) NOT NULL, placed datetime2(3) NULL, note varchar(10) NULL);
INSERT INTO dbo.customer (id, name, city) VALUES (1, N'Ann', 'Oslo'), (2, N'bob', 'oslo '), (3, N'Éva', NULL), (4, N'Dan', 'Rome');
INSERT INTO dbo.orders (customer_id, amount, placed) VALUES (1, 10.5, '2020-01-01'), (1, 20, '2020-01-02T10:00:00'), (2, 5.25, NULL), (4, 100, '2020-03-01');`)
	return w
}

func TestQueriesAnswerAsSQLServer(t *testing.T) {
	check(t, shop(t), []known{
		{"SELECT * FROM customer ORDER BY id", "1|Ann|Oslo\n2|bob|oslo \n3|Éva|NULL\n4|Dan|Rome", "int|nvarchar(20)|varchar(20)"},
		{"SELECT NAME FROM customer WHERE CITY = 'OSLO' ORDER BY name DESC", "bob\nAnn", "nvarchar(20)"},
		{"SELECT name FROM customer ORDER BY name", "Ann\nbob\nDan\nÉva", ""},
		{"SELECT city FROM customer ORDER BY city, id", "NULL\nOslo\noslo \nRome", ""},
		{"SELECT DISTINCT city FROM customer ORDER BY city", "NULL\nOslo\nRome", ""},
		{"SELECT city, COUNT(*) AS n FROM customer GROUP BY city ORDER BY n DESC, city", "Oslo|2\nNULL|1\nRome|1", "varchar(20)|int"},
		{"SELECT c.name, SUM(o.amount) AS total FROM customer c JOIN orders o ON o.customer_id = c.id GROUP BY c.name HAVING SUM(o.amount) > 6 ORDER BY 2 DESC", "Dan|100.00\nAnn|30.50", "nvarchar(20)|decimal(38,2)"},
		{"SELECT c.name, o.id FROM customer c LEFT JOIN orders o ON o.customer_id = c.id ORDER BY c.id, o.id", "Ann|1\nAnn|2\nbob|3\nÉva|NULL\nDan|4", ""},
		{"SELECT AVG(id), AVG(amount), SUM(customer_id), COUNT_BIG(*), MIN(amount), MAX(note) FROM orders", "2|33.937500|8|4|5.25|NULL", "int|decimal(38,6)|int|bigint|decimal(10,2)|varchar(10)"},
		{"SELECT STDEV(amount), VARP(id) FROM orders WHERE id < 3", "6.7175144212722016|0.25", "float|float"},
		{"SELECT TOP 2 id FROM orders ORDER BY amount DESC", "4\n2", ""},
		{"SELECT TOP (1) WITH TIES customer_id FROM orders ORDER BY customer_id", "1\n1", ""},
		{"SELECT TOP 50 PERCENT id FROM orders ORDER BY id", "1\n2", ""},
		{"SELECT id FROM orders ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY", "2\n3", ""},
		{"SELECT id, ROW_NUMBER() OVER (ORDER BY amount) rn, SUM(amount) OVER (PARTITION BY customer_id ORDER BY id) run, LAG(amount, 1, 0) OVER (ORDER BY id) FROM orders ORDER BY id",
			"1|2|10.50|0.00\n2|3|30.50|10.50\n3|1|5.25|20.00\n4|4|100.00|5.25", "int|bigint|decimal(38,2)|decimal(10,2)"},
		{"WITH x AS (SELECT customer_id, COUNT(*) AS n FROM orders GROUP BY customer_id) SELECT c.name, x.n FROM x JOIN customer c ON c.id = x.customer_id WHERE n > 1", "Ann|2", ""},
		{"WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT SUM(i) FROM n", "15", ""},
		{"WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT SUM(i) FROM n", "530: The statement terminated. The maximum recursion 100 has been exhausted before statement completion.", ""},
		{"WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT SUM(i) FROM n OPTION (MAXRECURSION 0)", "20100", ""},
		{"SELECT 1 UNION SELECT 2 UNION SELECT 1 ORDER BY 1 DESC", "2\n1", ""},
		{"SELECT 'a' AS x UNION ALL SELECT N'bcd'", "a\nbcd", "nvarchar(3)"},
		{"SELECT id FROM customer EXCEPT SELECT customer_id FROM orders", "3", ""},
		{"SELECT 1 UNION SELECT 1, 2", "205: All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.", ""},
		{"SELECT name FROM customer c WHERE EXISTS (SELECT * FROM orders o WHERE o.customer_id = c.id AND o.amount > 50)", "Dan", ""},
		{"SELECT name FROM customer WHERE id NOT IN (SELECT customer_id FROM orders)", "Éva", ""},
		{"SELECT name, (SELECT SUM(amount) FROM orders o WHERE o.customer_id = c.id) FROM customer c ORDER BY id", "Ann|30.50\nbob|5.25\nÉva|NULL\nDan|100.00", ""},
		{"SELECT (SELECT id FROM orders)", "512: Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when the subquery is used as an expression.", ""},
		{"SELECT id FROM orders WHERE amount >= ALL (SELECT amount FROM orders)", "4", ""},
		{"SELECT id FROM orders WHERE amount > ANY (SELECT amount FROM orders WHERE customer_id = 1) ORDER BY id", "2\n4", ""},
		{"SELECT t.a, t.b FROM (VALUES (1, 'x'), (2, 'yy')) AS t(a, b) ORDER BY a", "1|x\n2|yy", "int|varchar(2)"},
		{"SELECT d.id FROM (SELECT id FROM orders WHERE amount = 20) d", "2", ""},
		{"SELECT STRING_AGG(name, ', ') WITHIN GROUP (ORDER BY id DESC) FROM customer", "Dan, Éva, bob, Ann", ""},
		{"SELECT value FROM STRING_SPLIT('a,b', ',')", "a\nb", ""},
		{"SELECT id FROM orders WHERE placed >= '2020-01-02' ORDER BY id", "2\n4", ""},
		{"SELECT id FROM orders WHERE amount = 20 AND placed BETWEEN '20200101' AND '20200131'", "2", ""},
		{"SELECT id FROM orders WHERE amount = '20'", "2", ""},
		{"SELECT name FROM customer WHERE name LIKE N'%A%' ORDER BY id", "Ann\nÉva\nDan", ""},
		{"SELECT name FROM customer, orders WHERE customer.id = orders.customer_id AND orders.id = 3", "bob", ""},
		{"SELECT id FROM customer, orders", "209: Ambiguous column name 'id'.", ""},
		{"SELECT name, COUNT(*) FROM customer", "8120: Column 'customer.name' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause.", ""},
		{"SELECT city, name FROM customer GROUP BY city", "8120: Column 'customer.name' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause.", ""},
		{"SELECT city + '!' FROM customer WHERE id = 1 GROUP BY city + '!'", "Oslo!", ""},
		{"SELECT id FROM orders WHERE SUM(id) > 1", "147: An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a select list, and the column being aggregated is an outer reference.", ""},
		{"SELECT * FROM (SELECT id FROM orders ORDER BY id) d", "1033: The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.", ""},
		{"SELECT x.* FROM orders", "107: The column prefix 'x' does not match with a table name or alias name used in the query.", ""},
		{"SELECT dbo.orders.id FROM dbo.orders WHERE app.dbo.orders.id = 1", "1", ""},
		{"SELECT COUNT(DISTINCT city) FROM customer", "2", ""},
		{"SELECT o.id FROM customer c FULL JOIN orders o ON o.customer_id = c.id WHERE c.id = 3", "NULL", ""},
		{"SELECT AVG(x) FROM (VALUES (2147483647), (1)) v(x)", "8115: Arithmetic overflow error converting expression to data type int.", ""},
		{"SELECT id FROM customer WHERE 'oslo' = city ORDER BY id", "1\n2", ""},
		{"SELECT d.x FROM customer c LEFT JOIN (SELECT 1 AS x, 99 AS id) d ON d.id = c.id WHERE c.id = 1", "NULL", ""},
		{"SELECT x FROM (SELECT NULL AS x UNION ALL SELECT 'a') d ORDER BY x", "NULL\na", "varchar(1)"},
		{"SELECT COUNT(*) FROM customer WHERE city COLLATE Latin1_General_BIN2 = 'oslo'", "1", ""},
		{"SELECT a.id FROM orders a JOIN orders b ON b.id = a.id + 1 WHERE b.amount > a.amount ORDER BY a.id", "1\n3", ""},
		{"SELECT (SELECT MAX(b.id) FROM orders b WHERE b.id < a.id) FROM orders a ORDER BY a.id", "NULL\n1\n2\n3", ""},
		{"SELECT TOP 100 PERCENT id FROM orders WHERE id < 3 ORDER BY id DESC", "2\n1", ""},
		{"SELECT customer_id, id, RANK() OVER (PARTITION BY customer_id ORDER BY id) r, NTILE(2) OVER (ORDER BY id) n, LAST_VALUE(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) l FROM orders ORDER BY id", "1|1|1|1|4\n1|2|2|1|4\n2|3|1|2|4\n4|4|1|2|4", ""},
		{"SELECT o.n FROM (SELECT customer_id AS n FROM orders GROUP BY customer_id HAVING COUNT(*) = 1) o ORDER BY o.n", "2\n4", ""},
		{"SELECT name FROM customer WHERE id = (SELECT TOP 1 customer_id FROM orders ORDER BY amount DESC)", "Dan", ""},
		{"SELECT COUNT(*) FROM customer WHERE city <> 'Oslo'", "1", ""},
		{"SELECT COUNT(*) FROM customer WHERE NOT (city = 'Oslo')", "1", ""},
		{"SELECT c.name, o.id, o.amount FROM customer c CROSS APPLY (SELECT TOP 1 id, amount FROM orders o WHERE o.customer_id = c.id ORDER BY amount DESC) o ORDER BY c.id", "Ann|2|20.00\nbob|3|5.25\nDan|4|100.00", "nvarchar(20)|int|decimal(10,2)"},
		{"SELECT c.name, o.n FROM customer c OUTER APPLY (SELECT COUNT(*) AS n FROM orders o WHERE o.customer_id = c.id HAVING COUNT(*) > 0) o ORDER BY c.id", "Ann|2\nbob|1\nÉva|NULL\nDan|1", ""},
		{"SELECT c.id, v.k, v.x FROM customer c CROSS APPLY (VALUES ('name', c.name), ('city', c.city)) v(k, x) WHERE c.id = 1 ORDER BY v.k", "1|city|Oslo\n1|name|Ann", "int|varchar(4)|nvarchar(20)"},
		{"SELECT c.id, s.value FROM customer c CROSS APPLY STRING_SPLIT(c.name, 'n') s WHERE c.id = 4 ORDER BY s.value", "4|\n4|Da", ""},
		{"SELECT q.j FROM (VALUES (1)) AS a(i) CROSS APPLY (SELECT a.i AS j) AS q", "1", "int"},
		{"SELECT GREATEST(o.id, o.customer_id, NULL), LEAST(c.name, c.city) FROM orders o JOIN customer c ON c.id = o.customer_id ORDER BY o.id", "1|Ann\n2|Ann\n3|bob\n4|Dan", "int|nvarchar(20)"},
		{"SELECT MAX(name) FROM customer WHERE id > 100", "NULL", ""},
		{"SELECT name FROM customer ORDER BY CASE WHEN city IS NULL THEN 0 ELSE 1 END, name DESC", "Éva\nDan\nbob\nAnn", ""},
		{"SELECT CAST(id AS varchar(5)) + ':' + name FROM customer WHERE id = 1", "1:Ann", "nvarchar(26)"},
		{"SELECT c.city, SUM(SUM(o.amount)) OVER () FROM customer c JOIN orders o ON o.customer_id = c.id GROUP BY c.city ORDER BY c.city", "Oslo|135.75\nRome|135.75", ""},
		{"SELECT GROUPING(city) FROM customer GROUP BY ROLLUP(city)", "40517: Keyword or statement option 'ROLLUP' is not supported in this version of SQL Server.", ""},
	})
}

func TestQueriesWithinQueries(t *testing.T) {
	w := shop(t)
	w.must(`CREATE VIEW busy AS WITH n AS (SELECT customer_id, COUNT(*) AS k FROM orders GROUP BY customer_id) SELECT c.id, c.name, n.k FROM customer c JOIN n ON n.customer_id = c.id`)
	w.must(`CREATE VIEW busier AS SELECT TOP 10 * FROM busy WHERE k > 1 ORDER BY id`)
	check(t, w, []known{
		{"SELECT name, k FROM busier", "Ann|2", "nvarchar(20)|int"},
		{"SELECT city, (SELECT COUNT(*) FROM customer x WHERE x.city = c.city) FROM customer c GROUP BY city ORDER BY city", "NULL|0\nOslo|2\nRome|1", ""},
		{"SELECT 1 FROM customer HAVING COUNT(*) > 3", "1", ""},
		{"SELECT COUNT(*) FROM customer HAVING COUNT(*) > 30", "", ""},
		{"SELECT DISTINCT TOP 2 city FROM customer ORDER BY city DESC", "Rome\nOslo", ""},
		{"SELECT x FROM (SELECT id AS x FROM customer UNION ALL SELECT 10 ORDER BY x OFFSET 1 ROWS) d WHERE x IN (SELECT 2 UNION SELECT 10) ORDER BY x", "2\n10", ""},
		{"WITH a AS (SELECT id FROM customer), b AS (SELECT id + 1 AS id FROM a) SELECT a.id FROM a JOIN b ON a.id = b.id ORDER BY a.id", "2\n3\n4", ""},
		{"SELECT c.id, o.id, d.x FROM customer c LEFT JOIN (orders o JOIN (SELECT 3 AS x) d ON o.id = d.x) ON o.customer_id = c.id ORDER BY c.id", "1|NULL|NULL\n2|3|3\n3|NULL|NULL\n4|NULL|NULL", ""},
		{"SELECT o.id, c.id FROM orders o RIGHT JOIN customer c ON c.id = o.customer_id AND o.amount > 15 ORDER BY c.id, o.id", "2|1\nNULL|2\nNULL|3\n4|4", ""},
		{"SELECT name FROM customer c WHERE 2 = (SELECT COUNT(*) FROM orders WHERE customer_id = c.id)", "Ann", ""},
		{"SELECT name FROM customer c WHERE (SELECT SUM(amount) FROM orders o WHERE o.customer_id = c.id AND EXISTS (SELECT 1 FROM orders p WHERE p.customer_id = c.id AND p.id <> o.id)) = 30.5", "Ann", ""},
		{"WITH s AS (SELECT 1 AS id, 'Bergen' AS city UNION ALL SELECT 9, 'Paris') MERGE customer AS c USING s ON s.id = c.id WHEN MATCHED THEN UPDATE SET city = s.city WHEN NOT MATCHED THEN INSERT (id, name, city) VALUES (s.id, N'new', s.city); SELECT id, city FROM customer WHERE id IN (1, 9) ORDER BY id", "1|Bergen\n9|Paris", ""},
		{"WITH s AS (SELECT id, ROW_NUMBER() OVER (ORDER BY id DESC) AS n FROM customer) UPDATE c SET city = CAST(s.n AS varchar(5)) FROM customer c JOIN s ON s.id = c.id; SELECT city FROM customer ORDER BY id", "5\n4\n3\n2\n1", ""},
		{"WITH s AS (SELECT 20 AS id) INSERT INTO customer (id, name) SELECT id, N'z' FROM s; SELECT name FROM customer WHERE id = 20", "z", ""},
		{"SELECT MIN(x.n) FROM (SELECT COUNT(*) OVER (PARTITION BY customer_id) AS n FROM orders) x", "1", ""},
		{"SELECT id FROM orders ORDER BY (SELECT name FROM customer c WHERE c.id = orders.customer_id), id DESC", "2\n1\n3\n4", ""},
		{"SELECT COUNT(*) FROM customer a CROSS JOIN customer b", "36", ""},
		{"SELECT TOP 1 c.name, SUM(amount) s FROM customer c, orders o WHERE o.customer_id = c.id GROUP BY c.name, c.id ORDER BY SUM(amount)", "bob|5.25", ""},
	})
}

func TestVariables(t *testing.T) {
	w := shop(t)
	w.must("DECLARE @d decimal(5,1) = 2.25, @s varchar(3) = 'abcdef', @n int")
	check(t, w, []known{
		{"SELECT @d, @s, @n", "2.3|abc|NULL", "decimal(5,1)|varchar(3)|int"},
		{"SELECT @n = MAX(id) FROM orders", "", ""},
		{"SELECT @n + 1", "5", "int"},
		{"SELECT TOP (@n) id FROM orders ORDER BY id", "1\n2\n3\n4", ""},
		{"SELECT @n = 5, id FROM orders", "141: A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.", ""},
		{"SELECT name FROM customer WHERE id = @n - 2", "bob", ""},
	})
}
