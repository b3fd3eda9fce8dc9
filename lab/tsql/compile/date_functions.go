package compile

import (
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

var dateType = sqltype.Type{Kind: sqltype.Date}

// dateScalars are the date and time functions.
// Source: https://learn.microsoft.com/sql/t-sql/functions/date-and-time-data-types-and-functions-transact-sql
var dateScalars = map[string]scalar{
	"GETDATE":           {0, 0, func(i *invocation) (expr, error) { return i.now(value.DateTime), nil }},
	"GETUTCDATE":        {0, 0, func(i *invocation) (expr, error) { return i.now(value.DateTime), nil }},
	"CURRENT_TIMESTAMP": {0, 0, func(i *invocation) (expr, error) { return i.now(value.DateTime), nil }},
	"SYSDATETIME":       {0, 0, func(i *invocation) (expr, error) { return i.now(value.Now), nil }},
	"SYSUTCDATETIME":    {0, 0, func(i *invocation) (expr, error) { return i.now(value.Now), nil }},
	"SYSDATETIMEOFFSET": {0, 0, func(i *invocation) (expr, error) {
		return i.now(sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: 7}), nil
	}},
	"DATEADD":      {2, 2, dateAdd},
	"DATEDIFF":     {2, 2, func(i *invocation) (expr, error) { return dateDiff(i, value.Int) }},
	"DATEDIFF_BIG": {2, 2, func(i *invocation) (expr, error) { return dateDiff(i, value.BigInt) }},
	"DATEPART":     {1, 1, func(i *invocation) (expr, error) { return datePart(i, "DATEPART", value.Int) }},
	"DATENAME":     {1, 1, func(i *invocation) (expr, error) { return datePart(i, "DATENAME", value.NVarChar(30)) }},
	"YEAR":         {1, 1, yearOf},
	"MONTH":        {1, 1, yearOf},
	"DAY":          {1, 1, yearOf},
	"EOMONTH":      {1, 2, func(i *invocation) (expr, error) { return i.simple(dateType, dateType, value.Int) }},
	"DATETRUNC":    {1, 1, dateTrunc},
	"DATEFROMPARTS": {3, 3, func(i *invocation) (expr, error) {
		return i.simple(dateType, value.Int)
	}},
	"DATETIMEFROMPARTS": {7, 7, func(i *invocation) (expr, error) { return i.simple(value.DateTime, value.Int) }},
	"SMALLDATETIMEFROMPARTS": {5, 5, func(i *invocation) (expr, error) {
		return i.simple(sqltype.Type{Kind: sqltype.SmallDateTime}, value.Int)
	}},
	"DATETIME2FROMPARTS":      {8, 8, func(i *invocation) (expr, error) { return fromParts(i, sqltype.DateTime2) }},
	"TIMEFROMPARTS":           {5, 5, func(i *invocation) (expr, error) { return fromParts(i, sqltype.Time) }},
	"DATETIMEOFFSETFROMPARTS": {10, 10, func(i *invocation) (expr, error) { return fromParts(i, sqltype.DateTimeOffset) }},
	"SWITCHOFFSET":            {2, 2, offsetFunction},
	"TODATETIMEOFFSET":        {2, 2, offsetFunction},
	"ISDATE": {1, 1, func(i *invocation) (expr, error) {
		out, err := i.simple(value.Int, value.NVarChar(4000))
		out.sql, out.nullable = "ifnull("+out.sql+", 0)", false
		return out, err
	}},
}

// now is the time at which the statement began; Azure's servers live in UTC.
func (i *invocation) now(t sqltype.Type) expr {
	return expr{sql: i.c.bind("@@now", value.Now), typ: value.Now, single: true}.to(t)
}

// date is argument n as a date or time; strings become datetime2.
func (i *invocation) date(n int) (expr, error) {
	e := i.args[n]
	switch {
	case value.IsTime(e.typ) && !e.null:
		return e, nil
	case value.IsString(e.typ) || e.null:
		return e.to(value.Now), nil
	default:
		return i.as(n, value.DateTime)
	}
}

func dateAdd(i *invocation) (expr, error) {
	n := i.args[0]
	if n.null {
		n = n.to(value.BigInt)
	}
	if !value.IsNumber(n.typ) && !value.IsString(n.typ) {
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument 2 of dateadd function.", value.Name(n.typ))
	}
	if value.IsString(n.typ) {
		n = n.to(value.Int)
	}
	n = n.to(value.BigInt)
	d := i.args[1]
	if value.IsString(d.typ) || d.null || value.IsNumber(d.typ) {
		var err error
		if d, err = i.as(1, value.DateTime); err != nil {
			return expr{}, err
		}
	}
	if !value.IsTime(d.typ) {
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument 3 of dateadd function.", value.Name(d.typ))
	}
	if err := i.partFits(d.typ, "dateadd"); err != nil {
		return expr{}, err
	}
	return call("DATEADD", i.partName(), d.typ, n, d), nil
}

// partFits is error 9810 for a part that a type does not have.
func (i *invocation) partFits(t sqltype.Type, function string) error {
	clock := i.part >= value.Hour && i.part <= value.Nanosecond
	if t.Kind == sqltype.Date && clock || t.Kind == sqltype.Time && i.part < value.Hour || i.part == value.Offset && t.Kind != sqltype.DateTimeOffset {
		return message(i.x.Pos, 9810, "The datepart %s is not supported by date function %s for data type %s.", strings.ToLower(i.partName()), function, value.Name(t))
	}
	return nil
}

// partNames are the names by which the parts are known to builtins.
var partNames = map[value.Part]string{
	value.Year: "YEAR", value.Quarter: "QUARTER", value.Month: "MONTH", value.DayOfYear: "DAYOFYEAR", value.Day: "DAY", value.Week: "WEEK",
	value.ISOWeek: "ISO_WEEK", value.Weekday: "WEEKDAY", value.Hour: "HOUR", value.Minute: "MINUTE", value.Second: "SECOND",
	value.Millisecond: "MILLISECOND", value.Microsecond: "MICROSECOND", value.Nanosecond: "NANOSECOND", value.Offset: "TZOFFSET",
}

func (i *invocation) partName() string { return partNames[i.part] }

func dateDiff(i *invocation, ret sqltype.Type) (expr, error) {
	a, err := i.date(0)
	if err != nil {
		return expr{}, err
	}
	b, err := i.date(1)
	if err != nil {
		return expr{}, err
	}
	if i.part == value.ISOWeek || i.part == value.Offset {
		return expr{}, message(i.x.Pos, 9806, "The datepart %s is not supported by date function %s.", strings.ToLower(i.partName()), strings.ToLower(i.name))
	}
	return call("DATEDIFF", i.partName(), ret, a, b), nil
}

func datePart(i *invocation, name string, ret sqltype.Type) (expr, error) {
	d, err := i.date(0)
	if err != nil {
		return expr{}, err
	}
	if !value.IsString(i.args[0].typ) {
		if err := i.partFits(d.typ, strings.ToLower(i.name)); err != nil {
			return expr{}, err
		}
	}
	return call(name, i.partName(), ret, d), nil
}

// yearOf is YEAR, MONTH and DAY.
func yearOf(i *invocation) (expr, error) {
	d, err := i.date(0)
	if err != nil {
		return expr{}, err
	}
	return call("DATEPART", i.name, value.Int, d), nil
}

func dateTrunc(i *invocation) (expr, error) {
	d := i.args[0]
	if value.IsString(d.typ) || d.null {
		d = d.to(value.Now)
	}
	if !value.IsTime(d.typ) {
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument 2 of datetrunc function.", value.Name(d.typ))
	}
	if i.part == value.Weekday || i.part == value.Nanosecond || i.part == value.Offset {
		return expr{}, message(i.x.Pos, 9806, "The datepart %s is not supported by date function datetrunc.", strings.ToLower(i.partName()))
	}
	if err := i.partFits(d.typ, "datetrunc"); err != nil {
		return expr{}, err
	}
	return call("DATETRUNC", i.partName(), d.typ, d), nil
}

// fromParts has the precision, which must be a literal, as its last argument.
func fromParts(i *invocation, kind sqltype.Kind) (expr, error) {
	last := len(i.args) - 1
	p, ok := i.args[last].constant.(int64)
	if !ok || p < 0 || p > 7 {
		return expr{}, message(i.x.Pos, 10760, "Scale argument is not valid. Valid expressions for data type %s scale argument are integer constants and integer constant expressions.", value.Name(sqltype.Type{Kind: kind}))
	}
	i.args = i.args[:last]
	return i.simple(sqltype.Type{Kind: kind, Scale: uint8(p)}, value.Int)
}

// offsetFunction is SWITCHOFFSET and TODATETIMEOFFSET.
func offsetFunction(i *invocation) (expr, error) {
	d := i.args[0]
	if i.name == "TODATETIMEOFFSET" {
		if value.IsString(d.typ) || d.null {
			d = d.to(value.Now)
		}
	} else if d.typ.Kind != sqltype.DateTimeOffset {
		d = d.to(sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: 7})
	}
	if !value.IsTime(d.typ) || d.typ.Kind == sqltype.Time {
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument 1 of %s function.", value.Name(d.typ), strings.ToLower(i.name))
	}
	scale := d.typ.Scale
	if d.typ.Kind == sqltype.DateTime {
		scale = 3
	}
	zone := i.args[1]
	if !value.IsString(zone.typ) {
		zone = zone.to(value.Int)
	}
	return call(i.name, i.name+" "+strconv.Itoa(int(scale)), sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: scale}, d, zone), nil
}
