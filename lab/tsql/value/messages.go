package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Errorf is an error of class 16, state 1.
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
func Errorf(number int32, format string, args ...any) sqltype.Message {
	return sqltype.Message{Number: number, State: 1, Class: 16, Text: fmt.Sprintf(format, args...)}
}

// DivideByZero is error 8134.
func DivideByZero() sqltype.Message { return Errorf(8134, "Divide by zero error encountered.") }

// overflowTo is error 8115.
func overflowTo(what string, to sqltype.Type) sqltype.Message {
	return Errorf(8115, "Arithmetic overflow error converting %s to data type %s.", what, Name(to))
}

// Overflow is error 8115 of an expression.
func Overflow(to sqltype.Type) sqltype.Message { return overflowTo("expression", to) }

func conversionFailed(from sqltype.Type, text string, to sqltype.Type) sqltype.Message {
	return Errorf(245, "Conversion failed when converting the %s value '%s' to data type %s.", Name(from), text, Name(to))
}

func cannotConvert(from, to sqltype.Type) sqltype.Message {
	return Errorf(8114, "Error converting data type %s to %s.", Name(from), Name(to))
}

// NotAllowed is error 529.
func NotAllowed(from, to sqltype.Type) sqltype.Message {
	return Errorf(529, "Explicit conversion from data type %s to %s is not allowed.", Name(from), Name(to))
}

func dateText() sqltype.Message {
	return Errorf(241, "Conversion failed when converting date and/or time from character string.")
}

func outOfRange(from, to sqltype.Type) sqltype.Message {
	return Errorf(242, "The conversion of a %s data type to a %s data type resulted in an out-of-range value.", Name(from), Name(to))
}

// mark begins the text of an error that carries a whole message through
// SQLite, which keeps nothing of a function's error but its text.
const mark = "\x01crosskeys\x01"

// Raise ends an SQLite function with an error, from which MessageOf recovers
// the message.
func Raise(ctx sqlite3.Context, err error) {
	var m sqltype.Message
	if errors.As(err, &m) {
		text, merr := json.Marshal(m)
		if merr != nil {
			ctx.ResultError(fmt.Errorf("writing an error down: %w", merr))
			return
		}
		ctx.ResultError(errors.New(mark + string(text)))
		return
	}
	ctx.ResultError(err)
}

// MessageOf is the message that an error is, wraps, or carries through SQLite.
func MessageOf(err error) (sqltype.Message, bool) {
	var m sqltype.Message
	if errors.As(err, &m) {
		return m, true
	}
	var s *sqlite3.Error
	if !errors.As(err, &s) {
		return m, false
	}
	_, text, found := strings.Cut(s.Error(), mark)
	if !found {
		return m, false
	}
	if json.NewDecoder(strings.NewReader(text)).Decode(&m) != nil {
		return m, false
	}
	return m, true
}
