// Package value has T-SQL's values: how they lie in SQLite, how they convert
// into each other, print, parse, calculate and compare.
//
// A value's meaning is that of its static type; NULL is nil for all. In SQLite
// it lies exact and in its own order, so that SQLite may compare, sort, group
// and index values of one type by itself:
//
//   - bit and whole numbers: INTEGER
//   - decimal up to 18 digits, money: INTEGER, scaled; more digits: a BLOB of
//     16 bytes, the scaled number plus 2^127
//   - real, float: REAL
//   - strings: TEXT, to be compared under a collation of this package
//   - date: INTEGER days, time and datetime2: INTEGER of 100 ns, datetime:
//     INTEGER of 1/300 s, smalldatetime: INTEGER minutes
//   - datetimeoffset: TEXT, under the collation OffsetCollation
//   - uniqueidentifier: a BLOB in the order in which SQL Server compares
//   - binary: BLOB
package value

import (
	"fmt"
	"strconv"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Short names of types that code here needs often.
var (
	Int      = sqltype.Type{Kind: sqltype.Int}
	BigInt   = sqltype.Type{Kind: sqltype.BigInt}
	Bit      = sqltype.Type{Kind: sqltype.Bit}
	Float    = sqltype.Type{Kind: sqltype.Float, Precision: 53}
	Money    = sqltype.Type{Kind: sqltype.Money, Scale: 4}
	DateTime = sqltype.Type{Kind: sqltype.DateTime}
	Now      = sqltype.Type{Kind: sqltype.DateTime2, Scale: 7}
	GUID     = sqltype.Type{Kind: sqltype.UniqueIdentifier}
)

// DecimalOf is decimal(p, s).
func DecimalOf(p, s int) sqltype.Type {
	return sqltype.Type{Kind: sqltype.Decimal, Precision: uint8(p), Scale: uint8(s)}
}

// VarChar is varchar(n).
func VarChar(n int) sqltype.Type { return sqltype.Type{Kind: sqltype.VarChar, Length: n} }

// NVarChar is nvarchar(n).
func NVarChar(n int) sqltype.Type { return sqltype.Type{Kind: sqltype.NVarChar, Length: n} }

// kindNames are the types' names as errors and catalogs write them.
var kindNames = [...]string{
	sqltype.Unknown: "unknown", sqltype.Bit: "bit", sqltype.TinyInt: "tinyint", sqltype.SmallInt: "smallint", sqltype.Int: "int",
	sqltype.BigInt: "bigint", sqltype.Decimal: "numeric", sqltype.Money: "money", sqltype.SmallMoney: "smallmoney",
	sqltype.Real: "real", sqltype.Float: "float", sqltype.Char: "char", sqltype.VarChar: "varchar", sqltype.NChar: "nchar",
	sqltype.NVarChar: "nvarchar", sqltype.Binary: "binary", sqltype.VarBinary: "varbinary", sqltype.Date: "date", sqltype.Time: "time",
	sqltype.DateTime: "datetime", sqltype.SmallDateTime: "smalldatetime", sqltype.DateTime2: "datetime2",
	sqltype.DateTimeOffset: "datetimeoffset", sqltype.UniqueIdentifier: "uniqueidentifier",
}

// Name is a type's name without its measures, as errors write it.
func Name(t sqltype.Type) string {
	if int(t.Kind) < len(kindNames) {
		return kindNames[t.Kind]
	}
	return "unknown"
}

// Describe is a type's name with its length or precision, as errors of
// incompatible types write it.
func Describe(t sqltype.Type) string {
	switch {
	case t.Kind == sqltype.Decimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case (IsString(t) || IsBinary(t)) && t.Length == sqltype.Max:
		return Name(t) + "(max)"
	case IsString(t) || IsBinary(t):
		return fmt.Sprintf("%s(%d)", Name(t), t.Length)
	case t.Kind == sqltype.Time || t.Kind == sqltype.DateTime2 || t.Kind == sqltype.DateTimeOffset:
		return fmt.Sprintf("%s(%d)", Name(t), t.Scale)
	default:
		return Name(t)
	}
}

// Code packs a type into a number that FromCode unpacks.
func Code(t sqltype.Type) int64 {
	return int64(t.Kind) | int64(t.Precision)<<8 | int64(t.Scale)<<16 | int64(t.Length+1)<<24
}

// FromCode unpacks what Code packed.
func FromCode(c int64) sqltype.Type {
	return sqltype.Type{Kind: sqltype.Kind(c), Precision: uint8(c >> 8), Scale: uint8(c >> 16), Length: int(c>>24) - 1}
}

// ParseCode reads a code written in decimal.
func ParseCode(s string) (sqltype.Type, error) {
	c, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return sqltype.Type{}, fmt.Errorf("reading a type's code: %w", err)
	}
	return FromCode(c), nil
}

// IsInteger says whether t is bit, tinyint, smallint, int or bigint.
func IsInteger(t sqltype.Type) bool { return t.Kind >= sqltype.Bit && t.Kind <= sqltype.BigInt }

// IsMoney says whether t is money or smallmoney.
func IsMoney(t sqltype.Type) bool { return t.Kind == sqltype.Money || t.Kind == sqltype.SmallMoney }

// IsFloat says whether t is real or float.
func IsFloat(t sqltype.Type) bool { return t.Kind == sqltype.Real || t.Kind == sqltype.Float }

// IsNumber says whether t is any numeric type.
func IsNumber(t sqltype.Type) bool { return t.Kind >= sqltype.Bit && t.Kind <= sqltype.Float }

// IsString says whether t is a character type.
func IsString(t sqltype.Type) bool { return t.Kind >= sqltype.Char && t.Kind <= sqltype.NVarChar }

// IsUnicode says whether t is nchar or nvarchar.
func IsUnicode(t sqltype.Type) bool { return t.Kind == sqltype.NChar || t.Kind == sqltype.NVarChar }

// IsBinary says whether t is binary or varbinary.
func IsBinary(t sqltype.Type) bool { return t.Kind == sqltype.Binary || t.Kind == sqltype.VarBinary }

// IsTime says whether t is a date or time type.
func IsTime(t sqltype.Type) bool { return t.Kind >= sqltype.Date && t.Kind <= sqltype.DateTimeOffset }

// precedence is the data type precedence, the highest first.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/data-type-precedence-transact-sql
var precedence = [...]sqltype.Kind{
	sqltype.DateTimeOffset, sqltype.DateTime2, sqltype.DateTime, sqltype.SmallDateTime, sqltype.Date, sqltype.Time,
	sqltype.Float, sqltype.Real, sqltype.Decimal, sqltype.Money, sqltype.SmallMoney,
	sqltype.BigInt, sqltype.Int, sqltype.SmallInt, sqltype.TinyInt, sqltype.Bit,
	sqltype.UniqueIdentifier, sqltype.NVarChar, sqltype.NChar, sqltype.VarChar, sqltype.Char, sqltype.VarBinary, sqltype.Binary,
}

func rank(k sqltype.Kind) int {
	for i, p := range precedence {
		if p == k {
			return i
		}
	}
	return len(precedence)
}

// Higher says whether a's kind has the higher precedence.
func Higher(a, b sqltype.Type) bool { return rank(a.Kind) < rank(b.Kind) }

// AsDecimal is the decimal type that holds every value of a whole number's or
// money's type.
func AsDecimal(t sqltype.Type) sqltype.Type {
	switch t.Kind {
	case sqltype.Bit:
		return DecimalOf(1, 0)
	case sqltype.TinyInt:
		return DecimalOf(3, 0)
	case sqltype.SmallInt:
		return DecimalOf(5, 0)
	case sqltype.Int:
		return DecimalOf(10, 0)
	case sqltype.BigInt:
		return DecimalOf(19, 0)
	case sqltype.Money:
		return DecimalOf(19, 4)
	case sqltype.SmallMoney:
		return DecimalOf(10, 4)
	default:
		return t
	}
}

// Common is the type to which two types are converted where they meet in
// CASE, UNION, COALESCE or a comparison.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/precision-scale-and-length-transact-sql
func Common(a, b sqltype.Type) sqltype.Type {
	if Higher(b, a) {
		a, b = b, a
	}
	switch {
	case a.Kind == sqltype.Decimal:
		if b.Kind == sqltype.Decimal || IsInteger(b) || IsMoney(b) {
			return commonDecimal(a, AsDecimal(b))
		}
	case IsString(a) && IsString(b), IsBinary(a) && IsBinary(b):
		a.Length = commonLength(a, b)
	case a.Kind == sqltype.Time || a.Kind == sqltype.DateTime2 || a.Kind == sqltype.DateTimeOffset:
		a.Scale = max(a.Scale, fraction(b))
	}
	return a
}

// fraction is the number of decimals of seconds that a time type needs.
func fraction(t sqltype.Type) uint8 {
	switch t.Kind {
	case sqltype.Time, sqltype.DateTime2, sqltype.DateTimeOffset:
		return t.Scale
	case sqltype.DateTime:
		return 3
	default:
		return 0
	}
}

func commonLength(a, b sqltype.Type) int {
	if a.Length == sqltype.Max || b.Length == sqltype.Max {
		return sqltype.Max
	}
	n := max(a.Length, b.Length)
	if IsUnicode(a) {
		n = min(n, 4000)
	}
	return n
}

func commonDecimal(a, b sqltype.Type) sqltype.Type {
	s := max(a.Scale, b.Scale)
	whole := max(a.Precision-a.Scale, b.Precision-b.Scale)
	p := int(whole) + int(s)
	if p > 38 {
		// Whole digits are kept at the cost of the scale.
		s = uint8(max(0, min(int(s), 38-int(whole))))
		p = 38
	}
	return DecimalOf(p, int(s))
}
