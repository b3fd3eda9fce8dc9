package tsql

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// propertyFunctions are SERVERPROPERTY and its kin. Their values are sql_variant in
// SQL Server; here they are text, which converts to the numbers that they are.
func propertyFunctions() map[string]function {
	text := []sqltype.Type{sysname}
	return map[string]function{
		"SERVERPROPERTY":     {least: 1, most: 1, args: text, result: sysname, call: serverProperty},
		"DATABASEPROPERTYEX": {least: 2, most: 2, args: text, result: sysname, call: databaseProperty},
		"OBJECTPROPERTY":     {least: 2, most: 2, args: []sqltype.Type{intType, sysname}, result: intType, call: objectProperty},
		"OBJECTPROPERTYEX":   {least: 2, most: 2, args: []sqltype.Type{intType, sysname}, result: intType, call: objectProperty},
		"CONNECTIONPROPERTY": {least: 1, most: 1, args: text, result: sysname, call: connectionProperty},
		"SESSIONPROPERTY":    {least: 1, most: 1, args: text, result: sysname, call: sessionProperty},
		"CONTEXT_INFO":       {result: varbinary(128), call: func(*Session, []any) (any, error) { return nil, nil }},
	}
}

// serverProperties are those that are the same on every server of Azure SQL
// Database.
// Source: https://learn.microsoft.com/sql/t-sql/functions/serverproperty-transact-sql
var serverProperties = map[string]string{
	"edition":                  "SQL Azure",
	"engineedition":            "5",
	"editionid":                "1674378470",
	"productversion":           "12.0.2000.8",
	"productmajorversion":      "12",
	"productminorversion":      "0",
	"productbuild":             "2000",
	"productlevel":             "RTM",
	"collation":                "SQL_Latin1_General_CP1_CI_AS",
	"collationid":              "872468488",
	"comparisonstyle":          "196609",
	"lcid":                     "1033",
	"sqlcharset":               "1",
	"sqlcharsetname":           "iso_1",
	"sqlsortorder":             "52",
	"sqlsortordername":         "nocase_iso",
	"isclustered":              "0",
	"isfulltextinstalled":      "0",
	"isintegratedsecurityonly": "0",
	"issingleuser":             "0",
	"ishadrenabled":            "0",
	"islocaldb":                "0",
	"isxtpsupported":           "0",
	"ispolybaseinstalled":      "0",
	"isbigdatacluster":         "0",
	"buildclrversion":          "v4.0.30319",
	"resourceversion":          "12.00.2000",
	"hadrmanagerstatus":        "2",
}

func serverProperty(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	if !ok {
		return nil, nil
	}
	if v, ok := s.options.Host.ServerProperty(s.info(), name); ok {
		return propertyText(v), nil
	}
	switch name = lower(name); name {
	case "servername", "machinename", "computernamephysicalnetbios":
		return s.options.ServerName, nil
	case "instancename":
		return nil, nil
	}
	if v, ok := serverProperties[name]; ok {
		return v, nil
	}
	return nil, nil
}

// databaseProperties are those that every database has.
// Source: https://learn.microsoft.com/sql/t-sql/functions/databasepropertyex-transact-sql
var databaseProperties = map[string]string{
	"collation":                  "SQL_Latin1_General_CP1_CI_AS",
	"comparisonstyle":            "196609",
	"edition":                    "GeneralPurpose",
	"isansinulldefault":          "0",
	"isansinullsenabled":         "0",
	"isansipaddingenabled":       "0",
	"isansiwarningsenabled":      "0",
	"isarithmeticabortenabled":   "0",
	"isautoclose":                "0",
	"isautocreatestatistics":     "1",
	"isautoshrink":               "0",
	"isautoupdatestatistics":     "1",
	"isclone":                    "0",
	"isfulltextenabled":          "0",
	"isinstandby":                "0",
	"islocalcursorsdefault":      "0",
	"ismergepublished":           "0",
	"isnullconcat":               "0",
	"isnumericroundabortenabled": "0",
	"isparameterizationforced":   "0",
	"isquotedidentifiersenabled": "0",
	"isrecursivetriggersenabled": "0",
	"issubscribed":               "0",
	"issyncwithbackup":           "0",
	"istornpagedetectionenabled": "0",
	"isxtpsupported":             "0",
	"lcid":                       "1033",
	"recovery":                   "FULL",
	"sqlsortorder":               "52",
	"status":                     "ONLINE",
	"useraccess":                 "MULTI_USER",
	"version":                    "904",
}

func databaseProperty(s *Session, args []any) (any, error) {
	database, ok := argText(args, 0)
	name, named := argText(args, 1)
	if !ok || !named {
		return nil, nil
	}
	own := lower(database) == lower(s.options.Database.Name())
	if v, ok := s.options.Host.DatabaseProperty(s.info(), database, name); ok {
		return propertyText(v), nil
	}
	if !own {
		return nil, nil
	}
	if lower(name) == "updateability" {
		if s.options.Database.ReadOnly() {
			return "READ_ONLY", nil
		}
		return "READ_WRITE", nil
	}
	if v, ok := databaseProperties[lower(name)]; ok {
		return v, nil
	}
	return nil, nil
}

func propertyText(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return v
	case bool:
		return printed(bit(v))
	default:
		return printed(v)
	}
}

func objectProperty(s *Session, args []any) (any, error) {
	o, ok := s.visibleByID(args)
	name, named := argText(args, 1)
	if !ok || !named {
		return nil, nil
	}
	schema, _ := o.qualified()
	letters, _ := o.kind()
	letters = strings.TrimSpace(letters)
	switch lower(name) {
	case "istable", "isusertable":
		return bit(letters == "U"), nil
	case "isview":
		return bit(letters == "V"), nil
	case "isprocedure":
		return bit(letters == "P"), nil
	case "ismsshipped", "issystemtable", "istrigger", "isconstraint", "isprimarykey", "isforeignkey", "isuniquecnst", "ischeckcnst", "isscalarfunction", "istablefunction":
		return int64(0), nil
	case "isexecuted", "isquotedidenton", "isansinullson", "execisquotedidenton", "execisansinullson":
		return int64(1), nil
	case "tablehasidentity":
		return bit(o.Table != nil && identityColumn(o.Table) != nil), nil
	case "tablehasprimarykey":
		return bit(o.Table != nil && primaryKey(o.Table) != nil), nil
	case "schemaid":
		if found, ok := s.definitions.schemaNamed(schema); ok {
			return int64(found.ID), nil
		}
		return nil, nil
	case "ownerid":
		return int64(dboID), nil
	default:
		return nil, nil
	}
}

// connectionProperty is CONNECTIONPROPERTY.
func connectionProperty(s *Session, args []any) (any, error) {
	name, _ := argText(args, 0)
	if v, ok := s.options.Host.ServerProperty(s.info(), "connection:"+lower(name)); ok {
		return propertyText(v), nil
	}
	switch lower(name) {
	case "net_transport", "physical_net_transport":
		return "TCP", nil
	case "protocol_type":
		return "TSQL", nil
	case "auth_scheme":
		return "SQL", nil
	default:
		return nil, nil
	}
}

// sessionProperty is SESSIONPROPERTY: the options that the interpreter acts as if set.
func sessionProperty(s *Session, args []any) (any, error) {
	name, _ := argText(args, 0)
	switch lower(name) {
	case "ansi_nulls", "ansi_padding", "ansi_warnings", "arithabort", "concat_null_yields_null":
		return "1", nil
	case "quoted_identifier":
		return printed(bit(!s.settings.doubleQuotedStrings)), nil
	case "numeric_roundabort":
		return "0", nil
	default:
		return nil, nil
	}
}
