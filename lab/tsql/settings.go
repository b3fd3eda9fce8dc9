package tsql

import (
	"context"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// settings are what SET sets.
type settings struct {
	noCount              bool
	xactAbort            bool
	implicitTransactions bool
	lockTimeout          int64 // milliseconds, -1: for ever
	rowCount             int64
	textSize             int64
	dateFirst            int64
	identityInsert       int32 // object_id
	isolation            sqltype.Isolation
	doubleQuotedStrings  bool              // QUOTED_IDENTIFIER OFF
	words                map[string]string // options that are remembered only
}

// maxTextSize is TEXTSIZE when it limits nothing.
const maxTextSize = 2147483647

func newSettings() settings {
	return settings{lockTimeout: -1, textSize: maxTextSize, dateFirst: 7, isolation: sqltype.ReadCommitted, words: map[string]string{}}
}

// remembered are options that clients send at login and whose one supported
// value is what the interpreter does anyway, or which do not change what a
// statement answers; any is for those whose value is of no account.
// Source: the login batches of sqlcmd, go-mssqldb, tedious, FreeTDS, the JDBC driver and SSMS
var remembered = map[string]string{
	"ANSI_NULLS":                "ON",
	"ANSI_NULL_DFLT_ON":         "ON",
	"ANSI_PADDING":              "ON",
	"ANSI_WARNINGS":             "ON",
	"ANSI_DEFAULTS":             "ON",
	"ARITHABORT":                "any",
	"ARITHIGNORE":               "OFF",
	"CONCAT_NULL_YIELDS_NULL":   "ON",
	"CURSOR_CLOSE_ON_COMMIT":    "OFF",
	"DATEFORMAT":                "MDY",
	"DEADLOCK_PRIORITY":         "any",
	"FMTONLY":                   "OFF",
	"FORCEPLAN":                 "OFF",
	"LANGUAGE":                  "US_ENGLISH",
	"NOEXEC":                    "OFF",
	"NUMERIC_ROUNDABORT":        "OFF",
	"PARSEONLY":                 "OFF",
	"QUERY_GOVERNOR_COST_LIMIT": "any",
	"REMOTE_PROC_TRANSACTIONS":  "OFF",
	"SHOWPLAN_ALL":              "OFF",
	"SHOWPLAN_TEXT":             "OFF",
	"SHOWPLAN_XML":              "OFF",
	"STATISTICS IO":             "any",
	"STATISTICS PROFILE":        "OFF",
	"STATISTICS TIME":           "any",
	"STATISTICS XML":            "OFF",
	"CONTEXT_INFO":              "any",
}

// setOption is SET of options.
func (s *Session) setOption(ctx context.Context, stmt *ast.SetOption) error {
	for _, name := range stmt.Names {
		if err := s.setOne(ctx, name, stmt); err != nil {
			return err
		}
	}
	s.rowCount = 0
	return nil
}

func (s *Session) setOne(ctx context.Context, name string, stmt *ast.SetOption) error {
	on := strings.EqualFold(stmt.Word, "ON")
	switch name {
	case "NOCOUNT":
		s.settings.noCount = on
	case "XACT_ABORT":
		s.settings.xactAbort = on
	case "IMPLICIT_TRANSACTIONS":
		s.settings.implicitTransactions = on
	case "LOCK_TIMEOUT":
		return s.setNumber(ctx, stmt, &s.settings.lockTimeout)
	case "ROWCOUNT":
		return s.setNumber(ctx, stmt, &s.settings.rowCount)
	case "TEXTSIZE":
		return s.setNumber(ctx, stmt, &s.settings.textSize)
	case "DATEFIRST":
		var n int64
		if err := s.setNumber(ctx, stmt, &n); err != nil {
			return err
		}
		if n != 7 {
			return refuse("SET DATEFIRST " + strconv.FormatInt(n, 10))
		}
	case "QUOTED_IDENTIFIER":
		s.settings.doubleQuotedStrings = !on // from the next batch on
	case "IDENTITY_INSERT":
		return s.setIdentityInsert(stmt, on)
	case "TRANSACTION ISOLATION LEVEL":
		return s.setIsolation(stmt.Word)
	default:
		return s.remember(ctx, name, stmt)
	}
	return nil
}

func (s *Session) setNumber(ctx context.Context, stmt *ast.SetOption, target *int64) error {
	if stmt.Value == nil {
		return refuse("SET " + strings.Join(stmt.Names, ", ") + " " + stmt.Word)
	}
	v, err := s.evaluateAs(ctx, stmt.Value, sqltype.Type{Kind: sqltype.BigInt})
	if err != nil {
		return err
	}
	n, ok := v.(int64)
	if !ok {
		return classed(16, 1, 1011, "The value for SET %s must not be NULL.", strings.Join(stmt.Names, ", "))
	}
	*target = n
	return nil
}

func (s *Session) setIsolation(word string) error {
	levels := map[string]sqltype.Isolation{
		"READ UNCOMMITTED": sqltype.ReadUncommitted, "READ COMMITTED": sqltype.ReadCommitted, "REPEATABLE READ": sqltype.RepeatableRead,
		"SNAPSHOT": sqltype.Snapshot, "SERIALIZABLE": sqltype.Serializable,
	}
	level, ok := levels[word]
	if !ok {
		return refuse("SET TRANSACTION ISOLATION LEVEL " + word)
	}
	s.settings.isolation = level
	return nil
}

func (s *Session) setIdentityInsert(stmt *ast.SetOption, on bool) error {
	if stmt.Table == nil {
		return refuse("SET IDENTITY_INSERT")
	}
	if err := s.isHere(*stmt.Table); err != nil {
		return err
	}
	return s.read(func() error {
		t, ok := reader{s}.Table(stmt.Table.Schema, stmt.Table.Object)
		if !ok {
			return message(1088, "Cannot find the object \"%s\" because it does not exist or you do not have permissions.", stmt.Table.Object)
		}
		if !t.Temporary {
			if err := s.permitAlter(s.definitions.objects[t.ObjectID]); err != nil {
				return err
			}
		}
		if !on {
			if s.settings.identityInsert == t.ObjectID {
				s.settings.identityInsert = 0
			}
			return nil
		}
		if s.settings.identityInsert != 0 && s.settings.identityInsert != t.ObjectID {
			return message(8107, "IDENTITY_INSERT is already ON for table '%s'. Cannot perform SET operation for table '%s'.", s.nameOf(s.settings.identityInsert), s.options.Database.Name()+"."+t.Schema+"."+t.Name)
		}
		if identityColumn(t) == nil {
			return message(8106, "Table '%s' does not have the identity property. Cannot perform SET operation.", t.Name)
		}
		s.settings.identityInsert = t.ObjectID
		return nil
	})
}

// nameOf is the three-part name of an object.
func (s *Session) nameOf(id int32) string {
	o, ok := s.definitions.objects[id]
	if !ok {
		return strconv.Itoa(int(id))
	}
	schema, name := o.qualified()
	return s.options.Database.Name() + "." + schema + "." + name
}

// remember takes an option that changes nothing.
func (s *Session) remember(ctx context.Context, name string, stmt *ast.SetOption) error {
	want, ok := remembered[name]
	word := stmt.Word
	if stmt.Value != nil && ok {
		v, _, err := s.evaluate(ctx, stmt.Value)
		if err != nil {
			return err
		}
		if text, isText := v.(string); isText {
			word = strings.ToUpper(text)
		}
	}
	if !ok || want != "any" && !strings.EqualFold(want, word) {
		return refuse(strings.TrimSpace("SET " + name + " " + word))
	}
	s.settings.words[name] = word
	if name == "ANSI_DEFAULTS" {
		// Source: https://learn.microsoft.com/sql/t-sql/statements/set-ansi-defaults-transact-sql
		s.settings.implicitTransactions = true
	}
	if name == "LANGUAGE" {
		return s.send(information(5703, "Changed language setting to us_english."))
	}
	return nil
}
