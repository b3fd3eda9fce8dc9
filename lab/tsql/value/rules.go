package value

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Rule says how a conversion between two types may be made.
type Rule uint8

// A conversion is implicit, needs CAST or CONVERT, or does not exist.
const (
	Implicit Rule = iota
	Explicit
	Never
)

// RuleOf says how values of one type may become those of another.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/data-type-conversion-database-engine
func RuleOf(from, to sqltype.Type) Rule {
	if from.Kind == to.Kind || IsString(from) && IsString(to) {
		return Implicit
	}
	switch {
	case IsString(from):
		return fromString(to)
	case IsBinary(from):
		return fromBinary(to)
	case IsTime(from):
		return fromTime(from, to)
	case from.Kind == sqltype.UniqueIdentifier:
		if IsString(to) || IsBinary(to) {
			return Implicit
		}
		return Never
	default:
		return fromNumber(from, to)
	}
}

func fromString(to sqltype.Type) Rule {
	if IsBinary(to) {
		return Explicit
	}
	return Implicit
}

func fromBinary(to sqltype.Type) Rule {
	switch {
	case IsFloat(to):
		return Never
	case to.Kind == sqltype.Date, to.Kind == sqltype.Time, to.Kind == sqltype.DateTime2, to.Kind == sqltype.DateTimeOffset:
		return Explicit
	default:
		return Implicit
	}
}

func fromTime(from, to sqltype.Type) Rule {
	old := from.Kind == sqltype.DateTime || from.Kind == sqltype.SmallDateTime
	switch {
	case IsString(to):
		return Implicit
	case IsBinary(to):
		return Explicit
	case IsTime(to):
		if from.Kind == sqltype.Date && to.Kind == sqltype.Time || from.Kind == sqltype.Time && to.Kind == sqltype.Date {
			return Never
		}
		return Implicit
	case old && IsNumber(to):
		return Explicit
	default:
		return Never
	}
}

func fromNumber(from, to sqltype.Type) Rule {
	switch {
	case IsNumber(to), IsBinary(to) && !IsFloat(from):
		return Implicit
	case IsBinary(to):
		return Explicit
	case IsString(to):
		if IsMoney(from) {
			return Explicit
		}
		return Implicit
	case to.Kind == sqltype.DateTime || to.Kind == sqltype.SmallDateTime:
		return Implicit
	default:
		return Never
	}
}
