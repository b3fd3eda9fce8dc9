package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// stringScalars are the string functions.
// Source: https://learn.microsoft.com/sql/t-sql/functions/string-functions-transact-sql
var stringScalars = map[string]scalar{
	"LEN": {1, 1, lengthOf},
	"DATALENGTH": {1, 1, func(i *invocation) (expr, error) {
		return call("DATALENGTH", "", countType(i.args[0].typ), i.args[0]), nil
	}},
	"LEFT":      {2, 2, edge},
	"RIGHT":     {2, 2, edge},
	"SUBSTRING": {3, 3, substring},
	"UPPER":     {1, 1, sameText},
	"LOWER":     {1, 1, sameText},
	"LTRIM":     {1, 2, trimmed},
	"RTRIM":     {1, 2, trimmed},
	"TRIM":      {1, 1, trimmed},
	"REVERSE":   {1, 1, sameText},
	"REPLACE":   {3, 3, replaced},
	"CHARINDEX": {2, 3, position},
	"PATINDEX":  {2, 2, position},
	"REPLICATE": {2, 2, replicate},
	"SPACE":     {1, 1, func(i *invocation) (expr, error) { return i.simple(value.VarChar(8000), value.Int) }},
	"STUFF":     {4, 4, stuff},
	"ASCII":     {1, 1, func(i *invocation) (expr, error) { return i.simple(value.Int, value.VarChar(8000)) }},
	"UNICODE":   {1, 1, func(i *invocation) (expr, error) { return i.simple(value.Int, value.NVarChar(4000)) }},
	"CHAR": {1, 1, func(i *invocation) (expr, error) {
		return i.maybe(sqltype.Type{Kind: sqltype.Char, Length: 1}, value.Int)
	}},
	"NCHAR": {1, 1, func(i *invocation) (expr, error) {
		return i.maybe(sqltype.Type{Kind: sqltype.NChar, Length: 1}, value.Int)
	}},
	"STR":       {1, 3, func(i *invocation) (expr, error) { return i.maybe(value.VarChar(8000), value.Float, value.Int) }},
	"CONCAT":    {2, -1, joined},
	"CONCAT_WS": {3, -1, joined},
	"QUOTENAME": {1, 2, func(i *invocation) (expr, error) {
		return i.maybe(value.NVarChar(258), value.NVarChar(4000), value.NVarChar(1))
	}},
	"TRANSLATE":  {3, 3, replaced},
	"SOUNDEX":    {1, 1, func(i *invocation) (expr, error) { return i.simple(value.VarChar(4), value.VarChar(8000)) }},
	"DIFFERENCE": {2, 2, func(i *invocation) (expr, error) { return i.simple(value.Int, value.VarChar(8000)) }},
}

// simple is a function whose arguments have the types and whose result is
// NULL only for NULL.
func (i *invocation) simple(ret sqltype.Type, types ...sqltype.Type) (expr, error) {
	args, err := i.all(types...)
	if err != nil {
		return expr{}, err
	}
	return call(i.name, "", ret, args...), nil
}

// maybe is a simple function that may answer NULL.
func (i *invocation) maybe(ret sqltype.Type, types ...sqltype.Type) (expr, error) {
	out, err := i.simple(ret, types...)
	out.nullable = true
	return out, err
}

// countType is int, or bigint for the large types.
func countType(t sqltype.Type) sqltype.Type {
	if t.Length == sqltype.Max {
		return value.BigInt
	}
	return value.Int
}

// variable is a string type of variable length.
func variable(t sqltype.Type) sqltype.Type {
	switch t.Kind {
	case sqltype.Char:
		t.Kind = sqltype.VarChar
	case sqltype.NChar:
		t.Kind = sqltype.NVarChar
	default:
	}
	return t
}

// kept is a result that keeps its argument's collation.
func kept(out, from expr) expr {
	out.coll, out.explicit = from.coll, from.explicit
	return out
}

func lengthOf(i *invocation) (expr, error) {
	a, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	return call("LEN", "", countType(a.typ), a), nil
}

// edge is LEFT and RIGHT.
func edge(i *invocation) (expr, error) {
	a, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	n, err := i.as(1, value.BigInt)
	if err != nil {
		return expr{}, err
	}
	t := variable(a.typ)
	if k, ok := n.constant.(int64); ok && k >= 0 && (t.Length == sqltype.Max || k < int64(t.Length)) && k <= 8000 {
		t.Length = max(1, int(k))
	}
	return kept(call(i.name, "", t, a, n), a), nil
}

func substring(i *invocation) (expr, error) {
	a := i.args[0]
	if !value.IsBinary(a.typ) {
		var err error
		if !value.IsString(a.typ) && !a.null {
			return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument 1 of substring function.", value.Name(a.typ))
		}
		if a, err = i.text(0); err != nil {
			return expr{}, err
		}
	}
	start, err := i.as(1, value.BigInt)
	if err != nil {
		return expr{}, err
	}
	n, err := i.as(2, value.BigInt)
	if err != nil {
		return expr{}, err
	}
	t := variable(a.typ)
	if t.Kind == sqltype.Binary {
		t.Kind = sqltype.VarBinary
	}
	if k, ok := n.constant.(int64); ok && k >= 0 && (t.Length == sqltype.Max || k < int64(t.Length)) && k <= 8000 {
		t.Length = max(1, int(k))
	}
	out := call("SUBSTRING", "", t, a, start, n)
	if value.IsString(t) {
		out = kept(out, a)
	}
	return out, nil
}

// sameText is a function of one string with a result as long.
func sameText(i *invocation) (expr, error) {
	a, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	return kept(call(i.name, "", variable(a.typ), a), a), nil
}

func trimmed(i *invocation) (expr, error) {
	a, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	args := []expr{a}
	if len(i.args) > 1 {
		set, err := i.text(1)
		if err != nil {
			return expr{}, err
		}
		args = append(args, set)
	}
	return kept(call(i.name, "", variable(a.typ), args...), a), nil
}

// trim is TRIM with characters or a side.
func (c *compiler) trim(x *ast.Trim, e *env) (expr, error) {
	names := map[string]string{"": "TRIM", "BOTH": "TRIM", "LEADING": "LTRIM", "TRAILING": "RTRIM"}
	i := &invocation{c: c, x: &ast.Call{Pos: x.Pos}, name: names[x.Side]}
	for _, a := range []ast.Expression{x.X, x.Chars} {
		if a == nil {
			continue
		}
		got, err := c.expr(a, e)
		if err != nil {
			return expr{}, err
		}
		i.args = append(i.args, got)
	}
	return trimmed(i)
}

// unicodeOf says whether one of the strings is Unicode.
func unicodeOf(list ...expr) bool {
	for _, e := range list {
		if value.IsUnicode(e.typ) {
			return true
		}
	}
	return false
}

// longest is varchar(8000) or nvarchar(4000), or (max) when an argument is.
func longest(list ...expr) sqltype.Type {
	t := value.VarChar(8000)
	if unicodeOf(list...) {
		t = value.NVarChar(4000)
	}
	for _, e := range list {
		if e.typ.Length == sqltype.Max {
			t.Length = sqltype.Max
		}
	}
	return t
}

// replaced is REPLACE and TRANSLATE.
func replaced(i *invocation) (expr, error) {
	var args []expr
	for n := range i.args {
		a, err := i.text(n)
		if err != nil {
			return expr{}, err
		}
		args = append(args, a)
	}
	t := longest(args...)
	if i.name == "TRANSLATE" {
		t.Length = variable(args[0].typ).Length
	}
	return kept(call(i.name, i.collation(args...), t, args...), args[0]), nil
}

// position is CHARINDEX and PATINDEX.
func position(i *invocation) (expr, error) {
	what, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	in, err := i.text(1)
	if err != nil {
		return expr{}, err
	}
	args := []expr{what, in}
	if len(i.args) > 2 {
		from, err := i.as(2, value.BigInt)
		if err != nil {
			return expr{}, err
		}
		args = append(args, from)
	}
	return call(i.name, i.collation(what, in), countType(in.typ), args...), nil
}

func replicate(i *invocation) (expr, error) {
	a, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	n, err := i.as(1, value.BigInt)
	if err != nil {
		return expr{}, err
	}
	out := kept(call("REPLICATE", "", longest(a), a, n), a)
	out.nullable = true
	return out, nil
}

func stuff(i *invocation) (expr, error) {
	a, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	start, err := i.as(1, value.BigInt)
	if err != nil {
		return expr{}, err
	}
	n, err := i.as(2, value.BigInt)
	if err != nil {
		return expr{}, err
	}
	with, err := i.text(3)
	if err != nil {
		return expr{}, err
	}
	if with.nullable {
		with.sql = "ifnull(" + with.sql + ", '')"
	}
	out := kept(call("STUFF", "", longest(a, with), a, start, n, with), a)
	out.nullable = true
	return out, nil
}

// joined is CONCAT and CONCAT_WS, which take values of any type.
func joined(i *invocation) (expr, error) {
	var args []expr
	length := 0
	for n, a := range i.args {
		t := value.VarChar(textLength(a.typ))
		if value.IsString(a.typ) {
			t = a.typ
		}
		if value.RuleOf(a.typ, t) == value.Never && !a.null {
			return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument %d of %s function.", value.Name(a.typ), n+1, strings.ToLower(i.name))
		}
		got := a.to(t)
		args = append(args, got)
		if length != sqltype.Max {
			length += got.typ.Length
		}
		if got.typ.Length == sqltype.Max {
			length = sqltype.Max
		}
	}
	t := longest(args...)
	if length != sqltype.Max {
		t.Length = max(1, min(length, t.Length))
		if i.name == "CONCAT_WS" {
			t.Length = longest(args...).Length
		}
	}
	return call(i.name, "", t, args...).always(), nil
}
