package parse_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

// unplaced compares trees without regard to where their nodes stand.
var unplaced = cmp.Options{cmpopts.IgnoreTypes(ast.Pos{}), cmpopts.IgnoreTypes(ast.Span{}), cmpopts.EquateEmpty()}

func col(name string) *ast.ColumnRef { return &ast.ColumnRef{Column: name} }

func num(text string) *ast.Literal { return &ast.Literal{Kind: ast.Integer, Text: text} }

func qualified(table, name string) *ast.ColumnRef {
	return &ast.ColumnRef{Table: &ast.Name{Object: table}, Column: name}
}

func TestOperatorsBindAsInTransactSQL(t *testing.T) {
	cases := map[string]ast.Expression{
		"a + b * c": &ast.Arithmetic{Op: ast.Add, L: col("a"), R: &ast.Arithmetic{Op: ast.Multiply, L: col("b"), R: col("c")}},
		"a - b - c": &ast.Arithmetic{Op: ast.Subtract, L: &ast.Arithmetic{Op: ast.Subtract, L: col("a"), R: col("b")}, R: col("c")},
		// -100.0/-100.0*10 is 0.1 in SQL Server: a sign binds looser than * and /.
		"-a / -b * c": &ast.Unary{Op: ast.Negative, X: &ast.Arithmetic{Op: ast.Divide, L: col("a"),
			R: &ast.Unary{Op: ast.Negative, X: &ast.Arithmetic{Op: ast.Multiply, L: col("b"), R: col("c")}}}},
		"a & b + c":   &ast.Arithmetic{Op: ast.Add, L: &ast.Arithmetic{Op: ast.BitwiseAnd, L: col("a"), R: col("b")}, R: col("c")},
		"~a * b":      &ast.Arithmetic{Op: ast.Multiply, L: &ast.Unary{Op: ast.BitwiseNot, X: col("a")}, R: col("b")},
		"(a + b) * c": &ast.Arithmetic{Op: ast.Multiply, L: &ast.Arithmetic{Op: ast.Add, L: col("a"), R: col("b")}, R: col("c")},
		"a + b COLLATE Latin1_General_BIN": &ast.Arithmetic{Op: ast.Add, L: col("a"),
			R: &ast.Collate{X: col("b"), Collation: "Latin1_General_BIN"}},
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			got, err := parse.Expression(text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, unplaced); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestConditionsBindAsInTransactSQL(t *testing.T) {
	equal := func(l, r ast.Expression) ast.Predicate { return &ast.Comparison{Op: ast.Equal, L: l, R: r} }
	cases := map[string]ast.Predicate{
		"a = 1 OR b = 2 AND NOT c = 3": &ast.Logical{Or: true, L: equal(col("a"), num("1")),
			R: &ast.Logical{L: equal(col("b"), num("2")), R: &ast.Not{X: equal(col("c"), num("3"))}}},
		"((a) + 1) * 2 = b": equal(&ast.Arithmetic{Op: ast.Multiply, L: &ast.Arithmetic{Op: ast.Add, L: col("a"), R: num("1")}, R: num("2")}, col("b")),
		"(a = 1 OR b = 2) AND c = 3": &ast.Logical{L: &ast.Logical{Or: true, L: equal(col("a"), num("1")), R: equal(col("b"), num("2"))},
			R: equal(col("c"), num("3"))},
		"a BETWEEN 1 AND 2 AND b = 3": &ast.Logical{L: &ast.Between{X: col("a"), Low: num("1"), High: num("2")}, R: equal(col("b"), num("3"))},
		"a NOT IN (1, 2)":             &ast.In{Not: true, X: col("a"), List: []ast.Expression{num("1"), num("2")}},
		"a ! = b":                     &ast.Comparison{Op: ast.NotEqual, L: col("a"), R: col("b")},
		"a !< b":                      &ast.Comparison{Op: ast.GreaterOrEqual, L: col("a"), R: col("b")},
		"a IS NOT DISTINCT FROM NULL": &ast.IsDistinct{Not: true, L: col("a"), R: &ast.Literal{Kind: ast.Null}},
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			got, err := parse.Predicate(text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, unplaced); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLiteralsKeepTheirKind(t *testing.T) {
	cases := map[string]ast.Expression{
		"1":              num("1"),
		"1.50":           &ast.Literal{Kind: ast.Decimal, Text: "1.50"},
		".5":             &ast.Literal{Kind: ast.Decimal, Text: ".5"},
		"1E-3":           &ast.Literal{Kind: ast.Float, Text: "1E-3"},
		"$12.5":          &ast.Literal{Kind: ast.Money, Text: "12.5"},
		"£3":             &ast.Literal{Kind: ast.Money, Text: "3"},
		"'it''s'":        &ast.Literal{Kind: ast.String, Text: "it's"},
		"N'ü'":           &ast.Literal{Kind: ast.NString, Text: "ü"},
		"'a\\\nb'":       &ast.Literal{Kind: ast.String, Text: "ab"},
		"'a\\\r\nb'":     &ast.Literal{Kind: ast.String, Text: "ab"},
		"'a\nb'":         &ast.Literal{Kind: ast.String, Text: "a\nb"},
		"0xABC":          &ast.Literal{Kind: ast.Binary, Bytes: []byte{0x0A, 0xBC}},
		"0x":             &ast.Literal{Kind: ast.Binary, Bytes: []byte{}},
		"NULL":           &ast.Literal{Kind: ast.Null},
		"@a":             &ast.Variable{Name: "@a"},
		"@@version":      &ast.SystemVariable{Name: "@@VERSION"},
		"[a]]b].[c d]":   &ast.ColumnRef{Table: &ast.Name{Object: "a]b", Quoted: false}, Column: "c d", Quoted: true},
		"a..b.c":         &ast.ColumnRef{Table: &ast.Name{Database: "a", Object: "b"}, Column: "c"},
		"getdate()":      &ast.Call{Name: ast.Name{Object: "GETDATE"}},
		"dbo.f(1)":       &ast.Call{Name: ast.Name{Schema: "dbo", Object: "f"}, Args: []ast.Expression{num("1")}},
		"count(*)":       &ast.Call{Name: ast.Name{Object: "COUNT"}, Star: true},
		"getdate":        col("getdate"),
		"1 /* -- */":     num("1"),
		"dateadd(d,1,a)": &ast.Call{Name: ast.Name{Object: "DATEADD"}, Args: []ast.Expression{&ast.DatePart{Name: "D"}, num("1"), col("a")}},
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			got, err := parse.Expression(text)
			if err != nil {
				t.Fatal(err)
			}
			if ref, ok := got.(*ast.ColumnRef); ok && ref.Table != nil {
				ref.Table.Quoted = false
			}
			if d := cmp.Diff(want, got, unplaced); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTypesAreComplete(t *testing.T) {
	cases := map[string]sqltype.Type{
		"int":                      {Kind: sqltype.Int},
		"decimal":                  {Kind: sqltype.Decimal, Precision: 18},
		"numeric(10)":              {Kind: sqltype.Decimal, Precision: 10},
		"dec(10, 2)":               {Kind: sqltype.Decimal, Precision: 10, Scale: 2},
		"money":                    {Kind: sqltype.Money, Scale: 4},
		"float":                    {Kind: sqltype.Float, Precision: 53},
		"float(24)":                {Kind: sqltype.Real, Precision: 24},
		"double precision":         {Kind: sqltype.Float, Precision: 53},
		"varchar":                  {Kind: sqltype.VarChar, Length: 1},
		"national char varying(9)": {Kind: sqltype.NVarChar, Length: 9},
		"[nvarchar](max)":          {Kind: sqltype.NVarChar, Length: sqltype.Max},
		"sys.sysname":              {Kind: sqltype.NVarChar, Length: 128},
		"datetime2":                {Kind: sqltype.DateTime2, Scale: 7},
		"time(0)":                  {Kind: sqltype.Time},
		"timestamp":                {Kind: sqltype.Binary, Length: 8},
		"uniqueidentifier":         {Kind: sqltype.UniqueIdentifier},
		"dbo.phone":                {},
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			got, err := parse.Type(text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got.Type); d != "" {
				t.Error(d)
			}
		})
	}
	e, err := parse.Expression("CAST(a AS varchar)")
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := e.(*ast.Cast); !ok || c.Type.Type.Length != 30 {
		t.Errorf("CAST to varchar is %+v", e)
	}
}

func TestStatementsAsTrees(t *testing.T) {
	cases := map[string][]ast.Statement{
		"SELECT TOP (3) x = a, t.* FROM dbo.t AS t LEFT JOIN u ON t.a = u.a WHERE a = 1 ORDER BY a DESC": {&ast.SelectStatement{Query: &ast.Query{
			Body: &ast.Select{Top: &ast.Top{Count: num("3")},
				Items: []ast.SelectItem{{Alias: "x", Expr: col("a")}, {Star: true, Table: &ast.Name{Object: "t"}}},
				From: []ast.TableSource{&ast.Join{Kind: ast.LeftJoin, L: &ast.TableRef{Name: ast.Name{Schema: "dbo", Object: "t"}, Alias: "t"},
					R: &ast.TableRef{Name: ast.Name{Object: "u"}}, On: &ast.Comparison{Op: ast.Equal, L: qualified("t", "a"), R: qualified("u", "a")}}},
				Where: &ast.Comparison{Op: ast.Equal, L: col("a"), R: num("1")}},
			OrderBy: []ast.OrderItem{{Expr: col("a"), Descending: true}}}}},
		"SELECT 1 UNION SELECT 2 INTERSECT SELECT 3": {&ast.SelectStatement{Query: &ast.Query{Body: &ast.SetOperation{Op: ast.Union,
			L: &ast.Select{Items: []ast.SelectItem{{Expr: num("1")}}},
			R: &ast.SetOperation{Op: ast.Intersect, L: &ast.Select{Items: []ast.SelectItem{{Expr: num("2")}}}, R: &ast.Select{Items: []ast.SelectItem{{Expr: num("3")}}}}}}}},
		"UPDATE t SET @v = a += 1": {&ast.Update{Target: &ast.TableRef{Name: ast.Name{Object: "t"}},
			Set: []ast.Assignment{{Variable: "@v", Column: col("a"), Op: ast.Add, Value: num("1")}}}},
		"SELECT 1 THROW":        {&ast.SelectStatement{Query: &ast.Query{Body: &ast.Select{Items: []ast.SelectItem{{Expr: num("1"), Alias: "THROW"}}}}}},
		"COMMIT THROW 1, '', 2": {&ast.CommitTransaction{}, &ast.Throw{Number: num("1"), Message: &ast.Literal{Kind: ast.String}, State: num("2")}},
		"SELEC 1":               {&ast.Execute{Procedure: &ast.Name{Object: "SELEC"}, Implicit: true, Arguments: []ast.Argument{{Value: num("1")}}}},
		"EXEC @r = dbo.p @a = 1, @b = @c OUTPUT": {&ast.Execute{ReturnTo: "@r", Procedure: &ast.Name{Schema: "dbo", Object: "p"},
			Arguments: []ast.Argument{{Name: "@a", Value: num("1")}, {Name: "@b", Value: &ast.Variable{Name: "@c"}, Output: true}}}},
		"ALTER DATABASE [d] SET ENCRYPTION ON":            {&ast.AlterDatabase{Name: "d", Action: &ast.SetEncryption{State: "ON"}}},
		"ALTER DATABASE d FORCE_FAILOVER_ALLOW_DATA_LOSS": {&ast.AlterDatabase{Name: "d", Action: &ast.FailoverDatabase{AllowDataLoss: true}}},
		"CREATE DATABASE a AS COPY OF s.b":                {&ast.CreateDatabase{Name: "a", CopyServer: "s", CopyOf: "b"}},
		"IF @a = 1 SELECT 1; ELSE PRINT 2": {&ast.If{Condition: &ast.Comparison{Op: ast.Equal, L: &ast.Variable{Name: "@a"}, R: num("1")},
			Then: &ast.SelectStatement{Query: &ast.Query{Body: &ast.Select{Items: []ast.SelectItem{{Expr: num("1")}}}}}, Else: &ast.Print{Value: num("2")}}},
		"RETURN SELECT 1": {&ast.Return{}, &ast.SelectStatement{Query: &ast.Query{Body: &ast.Select{Items: []ast.SelectItem{{Expr: num("1")}}}}}},
		"DELETE x FROM t x": {&ast.Delete{Target: &ast.TableRef{Name: ast.Name{Object: "x"}},
			From: []ast.TableSource{&ast.TableRef{Name: ast.Name{Object: "t"}, Alias: "x"}}}},
		"CREATE TABLE t (a int CONSTRAINT d DEFAULT (1 + 1) CHECK (a > 0))": {&ast.CreateTable{Name: ast.Name{Object: "t"}, TableElements: ast.TableElements{
			Columns: []*ast.ColumnDefinition{{Name: "a", Type: &ast.DataType{Name: ast.Name{Object: "int"}, Type: sqltype.Type{Kind: sqltype.Int}},
				Default:     &ast.Constraint{Name: "d", Kind: ast.Default, Text: "(1 + 1)", Default: &ast.Arithmetic{Op: ast.Add, L: num("1"), R: num("1")}},
				Constraints: []*ast.Constraint{{Kind: ast.Check, Text: "(a > 0)", Check: &ast.Comparison{Op: ast.Greater, L: col("a"), R: num("0")}}}}}}}},
		"SET TRANSACTION ISOLATION LEVEL READ COMMITTED": {&ast.SetOption{Names: []string{"TRANSACTION ISOLATION LEVEL"}, Word: "READ COMMITTED"}},
		"GRANT VIEW DATABASE STATE TO u":                 {&ast.PermissionStatement{Action: ast.Grant, Permissions: []ast.Permission{{Name: "VIEW DATABASE STATE"}}, Principals: []ast.Ident{{Name: "u"}}}},
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			got, err := parse.Batch(text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got.Statements, unplaced); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPositionsAreThoseOfTheText(t *testing.T) {
	text := "SELECT 1;\n/* ü\n*/ PRINT 'a\nb'\n;UPDATE t\nSET a = x"
	b, err := parse.Batch(text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var lines []int
	for _, s := range b.Statements {
		got, lines = append(got, b.Source(s)), append(lines, s.Position().Line)
	}
	if d := cmp.Diff([]string{"SELECT 1", "PRINT 'a\nb'", "UPDATE t\nSET a = x"}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int{1, 3, 5}, lines); d != "" {
		t.Error(d)
	}
	u, ok := b.Statements[2].(*ast.Update)
	if !ok || u.Set[0].Value.Position().Line != 6 || text[u.Set[0].Value.Position().Offset:] != "x" {
		t.Errorf("the value stands elsewhere: %+v", b.Statements[2])
	}
}

func TestDefinitionsKeepTheirText(t *testing.T) {
	text := "-- mine\nCREATE VIEW v AS SELECT 1 AS a -- end"
	b, err := parse.Batch(text)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := b.Statements[0].(*ast.CreateView); !ok || v.Text != text {
		t.Errorf("the view is %+v", b.Statements[0])
	}
}

func TestParametersOfACallAreRead(t *testing.T) {
	got, err := parse.Parameters("@a int, @b nvarchar(10) = N'x' OUTPUT")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Name != "@a" || !got[1].Output || got[1].Type.Type.Length != 10 {
		t.Errorf("read %+v", got)
	}
	if none, err := parse.Parameters(" "); err != nil || none != nil {
		t.Errorf("nothing gives %v, %v", none, err)
	}
	if _, err := parse.Parameters("@a int SELECT 1"); err == nil {
		t.Error("a statement after the parameters is taken")
	}
}

func TestDoubleQuotesAreStringsWhenAsked(t *testing.T) {
	b, err := parse.Options{DoubleQuotedStrings: true}.Batch(`SELECT "it""s"`)
	if err != nil {
		t.Fatal(err)
	}
	want := []ast.Statement{&ast.SelectStatement{Query: &ast.Query{Body: &ast.Select{Items: []ast.SelectItem{{Expr: &ast.Literal{Kind: ast.String, Text: `it"s`}}}}}}}
	if d := cmp.Diff(want, b.Statements, unplaced); d != "" {
		t.Error(d)
	}
}
