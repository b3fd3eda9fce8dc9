package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// otherScalars are the functions that belong nowhere else.
var otherScalars = map[string]scalar{
	"ISNULL":   {2, 2, isNull},
	"GREATEST": {1, 254, extreme},
	"LEAST":    {1, 254, extreme},
	"NEWID": {0, 0, func(*invocation) (expr, error) {
		return callAs(builtin.Volatile, "NEWID", "", value.GUID), nil
	}},
	"CRYPT_GEN_RANDOM": {1, 1, func(i *invocation) (expr, error) {
		n, err := i.as(0, value.Int)
		if err != nil {
			return expr{}, err
		}
		out := callAs(builtin.Volatile, "CRYPT_GEN_RANDOM", "", sqltype.Type{Kind: sqltype.VarBinary, Length: 8000}, n)
		out.nullable = true
		return out, nil
	}},
	"HASHBYTES": {2, 2, hashBytes},
	"ISNUMERIC": {1, 1, isNumeric},
}

// isNull has the type of its first argument, to which the second is
// converted, cut if need be.
func isNull(i *invocation) (expr, error) {
	a, b := i.args[0], i.args[1]
	if a.null {
		if b.null {
			return b, nil
		}
		b.name = ""
		return b, nil
	}
	b, err := assign(i.x.Pos, b, a.typ)
	if err != nil {
		return expr{}, err
	}
	return expr{sql: "ifnull(" + a.sql + ", " + b.sql + ")", typ: a.typ, nullable: a.nullable && b.nullable, coll: a.coll, explicit: a.explicit, single: true}, nil
}

// extreme is GREATEST and LEAST, which pass over NULL.
func extreme(i *invocation) (expr, error) {
	args, t, err := common(i.x.Pos, i.args)
	if err != nil {
		return expr{}, err
	}
	function := "max"
	if i.name == "LEAST" {
		function = "min"
	}
	rows := make([]string, len(args))
	nullable := true
	for n, a := range args {
		rows[n] = "(" + a.nameless() + ")"
		nullable = nullable && a.nullable
	}
	column := expr{sql: "column1", typ: t, coll: args[0].coll}
	sql := "(SELECT " + function + "(" + column.collated() + ") FROM (VALUES " + strings.Join(rows, ", ") + "))"
	return expr{sql: sql, typ: t, nullable: nullable, coll: args[0].coll, explicit: args[0].explicit, single: true}, nil
}

func hashBytes(i *invocation) (expr, error) {
	algorithm, err := i.text(0)
	if err != nil {
		return expr{}, err
	}
	data := i.args[1]
	if !value.IsString(data.typ) && !value.IsBinary(data.typ) {
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument 2 of hashbytes function.", value.Name(data.typ))
	}
	out := call("HASHBYTES", "", sqltype.Type{Kind: sqltype.VarBinary, Length: 8000}, algorithm, data)
	out.nullable = true
	return out, nil
}

func isNumeric(i *invocation) (expr, error) {
	a := i.args[0]
	switch {
	case a.null:
		return intLiteral(0), nil
	case value.IsNumber(a.typ):
		return expr{sql: "((" + a.sql + ") IS NOT NULL)", typ: value.Int, single: true}, nil
	case !value.IsString(a.typ):
		return intLiteral(0), nil
	}
	out := call("ISNUMERIC", "", value.Int, a)
	out.sql, out.nullable = "ifnull("+out.sql+", 0)", false
	return out, nil
}
