package parse

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// systemTypes are the names of SQL Server's data types.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/data-types-transact-sql and, for the synonyms, data-type-synonyms-transact-sql
var systemTypes = map[string]sqltype.Kind{
	"bit": sqltype.Bit, "tinyint": sqltype.TinyInt, "smallint": sqltype.SmallInt, "int": sqltype.Int, "integer": sqltype.Int,
	"bigint": sqltype.BigInt, "decimal": sqltype.Decimal, "dec": sqltype.Decimal, "numeric": sqltype.Decimal,
	"money": sqltype.Money, "smallmoney": sqltype.SmallMoney, "real": sqltype.Real, "float": sqltype.Float, "double precision": sqltype.Float,
	"char": sqltype.Char, "character": sqltype.Char, "varchar": sqltype.VarChar, "char varying": sqltype.VarChar, "character varying": sqltype.VarChar,
	"nchar": sqltype.NChar, "national char": sqltype.NChar, "national character": sqltype.NChar,
	"nvarchar": sqltype.NVarChar, "national char varying": sqltype.NVarChar, "national character varying": sqltype.NVarChar, "sysname": sqltype.NVarChar,
	"binary": sqltype.Binary, "varbinary": sqltype.VarBinary, "binary varying": sqltype.VarBinary, "rowversion": sqltype.Binary, "timestamp": sqltype.Binary,
	"date": sqltype.Date, "time": sqltype.Time, "datetime": sqltype.DateTime, "smalldatetime": sqltype.SmallDateTime,
	"datetime2": sqltype.DateTime2, "datetimeoffset": sqltype.DateTimeOffset, "uniqueidentifier": sqltype.UniqueIdentifier,
}

// refusedTypes are system types that no column or variable has here.
var refusedTypes = wordSet("xml sql_variant text ntext image hierarchyid geography geometry json vector cursor table")

// dataType parses a type; length is what stands for one that is left out.
func (p *parser) dataType(length int) ast.DataType {
	d := ast.DataType{Pos: p.pos()}
	start := p.at
	if n := p.typeWords(); n > 1 {
		p.at += n
		d.Name = ast.Name{Pos: d.Pos, Object: strings.Join(strings.Fields(p.since(d.Pos)), " ")}
	} else {
		if p.isAny("CURSOR", "TABLE") {
			p.noOption(p.tok().upper)
		}
		d.Name = p.name()
	}
	name := strings.ToLower(d.Name.Object)
	system := d.Name.Database == "" && (d.Name.Schema == "" || strings.EqualFold(d.Name.Schema, "sys"))
	if system && refusedTypes[name] {
		p.at = start
		p.noOption(name)
	}
	if kind, ok := systemTypes[name]; system && ok {
		d.Type = p.measures(name, kind, length)
		d.RowVersion = name == "rowversion" || name == "timestamp"
	}
	return d
}

// typeWords is the number of words of a type's name, if it has several.
func (p *parser) typeWords() int {
	n := 0
	if p.is("NATIONAL") {
		n = 1
	}
	switch t := p.look(n); {
	case t.is("CHAR") || t.is("CHARACTER") || t.is("BINARY") && n == 0:
		n++
		if p.look(n).is("VARYING") {
			n++
		}
	case n == 0 && t.is("DOUBLE") && p.look(1).is("PRECISION"):
		return 2
	case n == 1:
		p.fail()
	}
	return n
}

// measures parses the length, or precision and scale, of a type.
func (p *parser) measures(name string, kind sqltype.Kind, length int) sqltype.Type {
	t := sqltype.Type{Kind: kind}
	line := p.tok().line
	var args []int
	isMax := false
	if name != "sysname" && p.acceptSymbol("(") {
		if isMax = p.accept("MAX"); !isMax {
			p.list(func() { args = append(args, p.small()) })
		}
		p.expectSymbol(")")
	}
	switch kind {
	case sqltype.Char, sqltype.VarChar, sqltype.NChar, sqltype.NVarChar, sqltype.Binary, sqltype.VarBinary:
		t.Length = p.length(name, kind, length, args, isMax)
		return t
	default:
	}
	if isMax || len(args) > 2 || len(args) == 2 && kind != sqltype.Decimal {
		p.noWidth(name)
	}
	switch kind {
	case sqltype.Decimal:
		t.Precision, t.Scale = p.decimal(args)
	case sqltype.Float, sqltype.Real:
		t.Kind, t.Precision = p.float(name, kind, args)
	case sqltype.Money, sqltype.SmallMoney:
		t.Scale = 4
		if len(args) > 0 {
			p.noWidth(name)
		}
	case sqltype.Time, sqltype.DateTime2, sqltype.DateTimeOffset:
		t.Scale = 7
		if len(args) == 1 {
			if args[0] > 7 {
				p.raise(syntax(1002, line, fmt.Sprintf("Line %d: Specified scale %d is invalid.", line, args[0])))
			}
			t.Scale = uint8(args[0]) //nolint:gosec // at most 7
		}
	default:
		if len(args) > 0 {
			p.noWidth(name)
		}
	}
	return t
}

// small takes a number without sign.
func (p *parser) small() int {
	if p.tok().kind != tokenInteger {
		p.fail()
	}
	n, err := strconv.Atoi(p.tok().text)
	if err != nil || n > 1<<31-1 {
		p.fail()
	}
	p.at++
	return n
}

func (p *parser) noWidth(name string) {
	m := nearMessage(2716, p.tok().line, "Column, parameter, or variable #1: Cannot specify a column width on data type %s.", name)
	m.Class = 16
	p.raise(m)
}

func (p *parser) length(name string, kind sqltype.Kind, length int, args []int, isMax bool) int {
	line := p.tok().line
	most := 8000
	if kind == sqltype.NChar || kind == sqltype.NVarChar {
		most = 4000
	}
	switch {
	case name == "sysname":
		return 128
	case name == "rowversion" || name == "timestamp":
		if len(args) > 0 || isMax {
			p.noWidth(name)
		}
		return 8
	case isMax && (kind == sqltype.VarChar || kind == sqltype.NVarChar || kind == sqltype.VarBinary):
		return sqltype.Max
	case isMax:
		p.raise(nearMessage(102, line, "Incorrect syntax near '%s'.", "max"))
	case len(args) == 0:
		return length
	case len(args) > 1:
		p.noWidth(name)
	case args[0] == 0:
		p.raise(syntax(1001, line, fmt.Sprintf("Line %d: Length or precision specification 0 is invalid.", line)))
	case args[0] > 8000:
		p.raise(syntax(131, line, fmt.Sprintf("The size (%d) given to the type '%s' exceeds the maximum allowed for any data type (8000).", args[0], name)))
	case args[0] > most:
		p.raise(syntax(2717, line, fmt.Sprintf("The size (%d) given to the type '%s' exceeds the maximum allowed (%d).", args[0], name, most)))
	}
	return args[0]
}

func (p *parser) decimal(args []int) (precision, scale uint8) {
	line := p.tok().line
	digits, places := 18, 0
	if len(args) > 0 {
		digits = args[0]
	}
	if len(args) > 1 {
		places = args[1]
	}
	switch {
	case digits == 0:
		p.raise(syntax(1001, line, fmt.Sprintf("Line %d: Length or precision specification 0 is invalid.", line)))
	case digits > 38:
		p.raise(grave(2750, line, fmt.Sprintf("Column or parameter #1: Specified column precision %d is greater than the maximum precision of 38.", digits)))
	case places > digits:
		p.raise(grave(2751, line, fmt.Sprintf("Column or parameter #1: Specified column scale %d is greater than the specified precision of %d.", places, digits)))
	}
	return uint8(digits), uint8(places) //nolint:gosec // at most 38
}

// float is real for up to 24 bits of mantissa.
func (p *parser) float(name string, kind sqltype.Kind, args []int) (sqltype.Kind, uint8) {
	switch {
	case kind == sqltype.Real && len(args) == 0:
		return sqltype.Real, 24
	case kind == sqltype.Real:
		p.noWidth(name)
	case len(args) == 1 && (args[0] == 0 || args[0] > 53):
		line := p.tok().line
		p.raise(syntax(1001, line, fmt.Sprintf("Line %d: Length or precision specification %d is invalid.", line, args[0])))
	case len(args) == 1 && args[0] <= 24:
		return sqltype.Real, 24
	}
	return sqltype.Float, 53
}
