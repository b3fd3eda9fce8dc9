package compile

import (
	"encoding/hex"
	"math/big"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// expr is a compiled value.
type expr struct {
	sql      string
	typ      sqltype.Type
	nullable bool
	coll     string // the SQLite collation of a string or datetimeoffset
	explicit bool   // the collation was written with COLLATE
	base     bool   // a stored column, which SQLite compares under coll by itself
	null     bool   // the literal NULL, of no type yet
	constant any    // a constant's Go value
	written  bool   // is a literal of the statement's text
	name     string // of a column
	single   bool   // consists of one token, so needs no brackets
}

// call is a call of a builtin.
func call(name, extra string, ret sqltype.Type, args ...expr) expr {
	return callAs(builtin.Pure, name, extra, ret, args...)
}

func callAs(fn, name, extra string, ret sqltype.Type, args ...expr) expr {
	types := make([]sqltype.Type, len(args))
	sqls := make([]string, len(args))
	nullable := false
	for i, a := range args {
		types[i], sqls[i] = a.typ, a.sql
		nullable = nullable || a.nullable
	}
	sig := text(builtin.Signature(name, extra, types, ret))
	return expr{sql: fn + "(" + strings.Join(append([]string{sig}, sqls...), ", ") + ")", typ: ret, nullable: nullable, coll: collationOf(ret), single: true}
}

// loose says whether a type's values may be equal without being the same
// bytes: zeros at the end of varbinary do not count.
// Source: https://dba.stackexchange.com/questions/48660
func loose(t sqltype.Type) bool { return t.Kind == sqltype.VarBinary }

// bytesKey is a binary value without the zeros at its end.
func bytesKey(sql string, t sqltype.Type) string {
	return call("bkey", "", t, expr{sql: sql, typ: t}).sql
}

// keyed is the expression as SQLite must group or tell it apart, its
// collation written out.
func (e expr) keyed() string {
	if loose(e.typ) {
		return bytesKey(e.sql, e.typ)
	}
	return e.collated()
}

// collate is the expression as SQLite must sort or part it.
func (e expr) collate() string {
	if loose(e.typ) {
		return bytesKey(e.sql, e.typ)
	}
	if e.coll == "" || e.base && e.coll == collationOf(e.typ) {
		return e.sql
	}
	return "(" + e.sql + ") COLLATE " + e.coll
}

// collated is the expression as an output column that is told apart from
// others by its collation.
func (e expr) collated() string {
	if e.coll == "" {
		return e.sql
	}
	return "(" + e.sql + ") COLLATE " + e.coll
}

// nameless is the expression as an element of VALUES, where SQLite would name
// the column after a column that stands there by itself.
func (e expr) nameless() string {
	if e.constant != nil || e.sql == "NULL" {
		return e.sql
	}
	return "+" + e.sql
}

// always is a value that is never NULL.
func (e expr) always() expr {
	e.nullable = false
	return e
}

// to is the expression as a value of a type, converted when it must be. What
// no rule allows is the caller's to refuse.
func (e expr) to(t sqltype.Type) expr {
	out := expr{typ: t, nullable: e.nullable, coll: collationOf(t), name: e.name, single: e.single, explicit: e.explicit}
	if value.IsString(t) && value.IsString(e.typ) && e.coll != "" {
		out.coll = e.coll
	}
	switch {
	case e.null:
		out.sql, out.null, out.nullable, out.single = "NULL", false, true, true
		return out
	case e.constant != nil:
		v, err := value.Convert(e.constant, e.typ, t)
		if err == nil {
			return literal(v, t)
		}
	case holds(t, e.typ):
		out.sql, out.base = e.sql, e.base && out.coll == e.coll
		return out
	}
	name := "cast"
	got := call(name, "", t, e)
	got.coll, got.explicit, got.name, got.nullable = out.coll, e.explicit, e.name, e.nullable
	return got
}

// holds says whether every value of from is one of t, and lies alike.
func holds(t, from sqltype.Type) bool {
	if t == from {
		return true
	}
	if !value.SameCoding(t, from) {
		return false
	}
	switch {
	case value.IsInteger(t) && value.IsInteger(from):
		return t.Kind >= from.Kind && t.Kind != sqltype.Bit
	case t.Kind == sqltype.Decimal:
		d := value.AsDecimal(from)
		return t.Scale == d.Scale && t.Precision >= d.Precision
	case value.IsInteger(t):
		return false
	case value.IsMoney(t):
		return t.Kind == sqltype.Money
	case value.IsFloat(t):
		return t.Kind == sqltype.Float
	case value.IsString(t):
		if !value.IsUnicode(t) && value.IsUnicode(from) {
			return false
		}
		return fitsLength(t, from)
	case value.IsBinary(t):
		return fitsLength(t, from)
	case t.Kind == sqltype.Time || t.Kind == sqltype.DateTime2 || t.Kind == sqltype.DateTimeOffset:
		return t.Scale >= from.Scale
	default:
		return true
	}
}

// fitsLength compares lengths; a type of fixed length holds only its own.
func fitsLength(t, from sqltype.Type) bool {
	fixed := t.Kind == sqltype.Char || t.Kind == sqltype.NChar || t.Kind == sqltype.Binary
	switch {
	case fixed:
		return t.Length == from.Length && (from.Kind == sqltype.Char || from.Kind == sqltype.NChar || from.Kind == sqltype.Binary)
	case t.Length == sqltype.Max:
		return true
	default:
		return from.Length != sqltype.Max && from.Length <= t.Length
	}
}

// literal is a constant.
func literal(v any, t sqltype.Type) expr {
	e := expr{typ: t, constant: v, coll: collationOf(t), single: true}
	raw, err := value.Encode(t, v)
	if err != nil || raw == nil {
		e.sql, e.nullable, e.constant = "NULL", true, nil
		return e
	}
	switch raw := raw.(type) {
	case int64:
		e.sql = strconv.FormatInt(raw, 10)
		if raw < 0 {
			e.sql = "(" + e.sql + ")"
		}
		if raw == -1<<63 {
			e.sql = "(-9223372036854775807-1)"
		}
	case float64:
		e.sql = strconv.FormatFloat(raw, 'e', -1, 64)
		if !strings.Contains(e.sql, ".") {
			e.sql = strings.Replace(e.sql, "e", ".0e", 1)
		}
		if raw < 0 {
			e.sql = "(" + e.sql + ")"
		}
	case string:
		e.sql = text(raw)
	case []byte:
		e.sql = "x'" + hex.EncodeToString(raw) + "'"
	}
	return e
}

// intLiteral is a whole number of type int.
func intLiteral(n int64) expr { return literal(n, value.Int) }

// textLiteral is a varchar constant.
func textLiteral(s string) expr { return literal(s, value.VarChar(max(1, value.Units(s)))) }

// literalOf is a literal of the source.
func literalOf(l *ast.Literal) (expr, error) {
	switch l.Kind {
	case ast.Null:
		return expr{sql: "NULL", typ: value.Int, null: true, nullable: true, single: true}, nil
	case ast.Integer:
		return integerOf(l)
	case ast.Decimal:
		n, ok := value.ParseNumber(l.Text)
		digits := strings.TrimLeft(strings.Replace(l.Text, ".", "", 1), "0")
		p := max(len(digits), int(n.Scale), 1)
		if !ok || p > 38 {
			return expr{}, message(l.Pos, 1007, "The number '%s' is out of the range for numeric representation (maximum precision 38).", l.Text)
		}
		return literal(n, value.DecimalOf(p, int(n.Scale))), nil
	case ast.Float:
		f, err := strconv.ParseFloat(l.Text, 64)
		if err != nil {
			return expr{}, message(l.Pos, 168, "The floating point value '%s' is out of the range of computer representation (8 bytes).", l.Text)
		}
		return literal(f, value.Float), nil
	case ast.Money:
		v, err := value.Convert(l.Text, value.VarChar(len(l.Text)), value.Money)
		if err != nil {
			return expr{}, located(err, l.Pos)
		}
		return literal(v, value.Money), nil
	case ast.Binary:
		n := len(l.Bytes)
		t := sqltype.Type{Kind: sqltype.VarBinary, Length: max(n, 1)}
		if n > 8000 {
			t.Length = sqltype.Max
		}
		return literal(append([]byte{}, l.Bytes...), t), nil
	case ast.NString:
		n := value.Units(l.Text)
		t := value.NVarChar(max(n, 1))
		if n > 4000 {
			t.Length = sqltype.Max
		}
		return literal(l.Text, t), nil
	default:
		n := value.Units(l.Text)
		t := value.VarChar(max(n, 1))
		if n > 8000 {
			t.Length = sqltype.Max
		}
		// A plain string is of code page 1252.
		v, err := value.Convert(l.Text, t, t)
		return literal(v, t), err
	}
}

// integerOf is an int, or numeric(n, 0) when it is too large for one.
func integerOf(l *ast.Literal) (expr, error) {
	if n, err := strconv.ParseInt(l.Text, 10, 32); err == nil {
		e := literal(n, value.Int)
		e.written = true
		return e, nil
	}
	u, ok := new(big.Int).SetString(l.Text, 10)
	digits := strings.TrimLeft(l.Text, "0")
	if !ok || len(digits) > 38 {
		return expr{}, message(l.Pos, 1007, "The number '%s' is out of the range for numeric representation (maximum precision 38).", l.Text)
	}
	return literal(sqltype.Number{Unscaled: u}, value.DecimalOf(len(digits), 0)), nil
}

// assign is an expression as a value of a type to which it must convert by
// itself; errors 257, 206.
func assign(pos ast.Pos, e expr, t sqltype.Type) (expr, error) {
	if e.null {
		return e.to(t), nil
	}
	switch value.RuleOf(e.typ, t) {
	case value.Implicit:
		return e.to(t), nil
	case value.Explicit:
		return expr{}, message(pos, 257, "Implicit conversion from data type %s to %s is not allowed. Use the CONVERT function to run this query.", value.Name(e.typ), value.Name(t))
	default:
		return expr{}, message(pos, 206, "Operand type clash: %s is incompatible with %s", value.Name(e.typ), value.Name(t))
	}
}

// common converts expressions to their common type.
func common(pos ast.Pos, list []expr) ([]expr, sqltype.Type, error) {
	t, found := sqltype.Type{}, false
	for _, e := range list {
		switch {
		case e.null:
		case !found:
			t, found = e.typ, true
		default:
			t = value.Common(t, e.typ)
		}
	}
	if !found {
		t = value.Int
	}
	out := make([]expr, len(list))
	coll, explicit := "", false
	for i, e := range list {
		got, err := assign(pos, e, t)
		if err != nil {
			return nil, t, err
		}
		out[i] = got
		if got.coll != "" && (coll == "" || got.explicit && !explicit) {
			coll, explicit = got.coll, got.explicit
		}
	}
	for i := range out {
		out[i].coll, out[i].explicit = coll, explicit
	}
	return out, t, nil
}
