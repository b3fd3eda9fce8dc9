package tsql

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// collation is that of every database.
const collation = "SQL_Latin1_General_CP1_CI_AS"

// systemType is a row of sys.types.
type systemType struct {
	name             string
	system, user     int32
	length           int16
	precision, scale uint8
	collated         bool
}

// systemTypes are the rows of sys.types for the types that the lab has.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-types-transact-sql
var systemTypes = []systemType{
	{"uniqueidentifier", 36, 36, 16, 0, 0, false},
	{"date", 40, 40, 3, 10, 0, false},
	{"time", 41, 41, 5, 16, 7, false},
	{"datetime2", 42, 42, 8, 27, 7, false},
	{"datetimeoffset", 43, 43, 10, 34, 7, false},
	{"tinyint", 48, 48, 1, 3, 0, false},
	{"smallint", 52, 52, 2, 5, 0, false},
	{"int", 56, 56, 4, 10, 0, false},
	{"smalldatetime", 58, 58, 4, 16, 0, false},
	{"real", 59, 59, 4, 24, 0, false},
	{"money", 60, 60, 8, 19, 4, false},
	{"datetime", 61, 61, 8, 23, 3, false},
	{"float", 62, 62, 8, 53, 0, false},
	{"bit", 104, 104, 1, 1, 0, false},
	{"decimal", 106, 106, 17, 38, 38, false},
	{"numeric", 108, 108, 17, 38, 38, false},
	{"smallmoney", 122, 122, 4, 10, 4, false},
	{"bigint", 127, 127, 8, 19, 0, false},
	{"varbinary", 165, 165, 8000, 0, 0, false},
	{"varchar", 167, 167, 8000, 0, 0, true},
	{"binary", 173, 173, 8000, 0, 0, false},
	{"char", 175, 175, 8000, 0, 0, true},
	{"nvarchar", 231, 231, 8000, 0, 0, true},
	{"nchar", 239, 239, 8000, 0, 0, true},
	{"sysname", 231, 256, 256, 0, 0, true},
}

// typeRowOf is a column's type as sys.columns tells it.
func typeRowOf(t sqltype.Type) systemType {
	name := value.Name(t)
	if t.Kind == sqltype.Decimal {
		name = "decimal"
	}
	for _, row := range systemTypes {
		if row.name == name {
			return row.measured(t)
		}
	}
	return systemType{name: name}
}

// measured gives a type its column's length, precision and scale.
func (row systemType) measured(t sqltype.Type) systemType {
	switch {
	case t.Length == sqltype.Max && (value.IsString(t) || value.IsBinary(t)):
		row.length = -1
	case value.IsUnicode(t):
		row.length = int16(t.Length * 2)
	case value.IsString(t) || value.IsBinary(t):
		row.length = int16(t.Length)
	case t.Kind == sqltype.Decimal:
		row.precision, row.scale = t.Precision, t.Scale
		switch {
		case t.Precision <= 9:
			row.length = 5
		case t.Precision <= 19:
			row.length = 9
		case t.Precision <= 28:
			row.length = 13
		default:
			row.length = 17
		}
	case t.Kind == sqltype.Time:
		row.length, row.precision, row.scale = fraction(t.Scale, 3), 8+point(t.Scale), t.Scale
	case t.Kind == sqltype.DateTime2:
		row.length, row.precision, row.scale = fraction(t.Scale, 6), 19+point(t.Scale), t.Scale
	case t.Kind == sqltype.DateTimeOffset:
		row.length, row.precision, row.scale = fraction(t.Scale, 8), 26+point(t.Scale), t.Scale
	}
	return row
}

// fraction is the length of a time type with so many digits of a second.
func fraction(scale uint8, least int16) int16 {
	switch {
	case scale <= 2:
		return least
	case scale <= 4:
		return least + 1
	default:
		return least + 2
	}
}

// point is the room that a fraction takes in print.
func point(scale uint8) uint8 {
	if scale == 0 {
		return 0
	}
	return scale + 1
}

// declared is the type as a declaration writes it.
func (row systemType) declared(t sqltype.Type) string { return value.Describe(t) }

// collation is the type's, nil for types that have none.
func (row systemType) collation() any {
	if row.collated {
		return collation
	}
	return nil
}
