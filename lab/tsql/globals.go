package tsql

import (
	"math/big"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Types that system variables and functions have.
var (
	intType      = sqltype.Type{Kind: sqltype.Int}
	bigIntType   = sqltype.Type{Kind: sqltype.BigInt}
	smallType    = sqltype.Type{Kind: sqltype.SmallInt}
	tinyType     = sqltype.Type{Kind: sqltype.TinyInt}
	bitType      = sqltype.Type{Kind: sqltype.Bit}
	sysname      = sqltype.Type{Kind: sqltype.NVarChar, Length: 128}
	identityType = sqltype.Type{Kind: sqltype.Decimal, Precision: 38}
	dateTimeType = sqltype.Type{Kind: sqltype.DateTime}
	textType     = sqltype.Type{Kind: sqltype.NVarChar, Length: 4000}
	maxTextType  = sqltype.Type{Kind: sqltype.NVarChar, Length: sqltype.Max}
)

func nvarchar(n int) sqltype.Type  { return sqltype.Type{Kind: sqltype.NVarChar, Length: n} }
func char(n int) sqltype.Type      { return sqltype.Type{Kind: sqltype.Char, Length: n} }
func varbinary(n int) sqltype.Type { return sqltype.Type{Kind: sqltype.VarBinary, Length: n} }

func bigInt(n int64) *big.Int { return big.NewInt(n) }

// global is a system variable.
type global struct {
	sqltype.Type
	value func(s *Session) any
}

// globals are the system variables, by lower-case name.
// Source: https://learn.microsoft.com/sql/t-sql/functions/configuration-functions-transact-sql
// and system-functions-transact-sql
var globals = map[string]global{
	"@@rowcount":      {intType, func(s *Session) any { return s.rowCount }},
	"@@error":         {intType, func(s *Session) any { return int64(s.errorNumber) }},
	"@@trancount":     {intType, func(s *Session) any { return int64(s.txn.count) }},
	"@@identity":      {identityType, func(s *Session) any { return s.identity }},
	"@@spid":          {smallType, func(s *Session) any { return int64(s.options.SPID) }},
	"@@nestlevel":     {intType, func(s *Session) any { return int64(s.frame.level) }},
	"@@procid":        {intType, func(s *Session) any { return int64(s.frame.procedureID) }},
	"@@servername":    {sysname, func(s *Session) any { return s.options.ServerName }},
	"@@servicename":   {sysname, func(*Session) any { return "MSSQLSERVER" }},
	"@@version":       {nvarchar(300), (*Session).version},
	"@@language":      {sysname, func(*Session) any { return "us_english" }},
	"@@langid":        {smallType, func(*Session) any { return int64(0) }},
	"@@max_precision": {tinyType, func(*Session) any { return int64(38) }},
	"@@microsoftversion": {intType, func(*Session) any {
		return int64(12<<24 | 2000)
	}},
	"@@textsize":        {intType, func(s *Session) any { return s.settings.textSize }},
	"@@lock_timeout":    {intType, func(s *Session) any { return s.settings.lockTimeout }},
	"@@datefirst":       {tinyType, func(s *Session) any { return s.settings.dateFirst }},
	"@@dbts":            {varbinary(8), func(*Session) any { return make([]byte, 8) }},
	"@@fetch_status":    {intType, func(s *Session) any { return s.fetchStatus }},
	"@@cursor_rows":     {intType, func(s *Session) any { return s.cursorRows }},
	"@@max_connections": {intType, func(*Session) any { return int64(32767) }},
	"@@options":         {intType, (*Session).optionBits},
	"@@remserver":       {sysname, func(*Session) any { return nil }},
}

// defaultVersion is what @@VERSION answers unless the host has another.
// Source: https://learn.microsoft.com/sql/t-sql/functions/version-transact-sql-configuration-functions
const defaultVersion = "Microsoft SQL Azure (RTM) - 12.0.2000.8 \n\tNov  1 2026 00:00:00 \n\tCopyright (C) 2026 Microsoft Corporation\n"

func (s *Session) version() any {
	if v, ok := s.options.Host.ServerProperty(s.info(), "@@VERSION"); ok {
		return v
	}
	return defaultVersion
}

// optionBits is @@OPTIONS.
// Source: https://learn.microsoft.com/sql/database-engine/configure-windows/configure-the-user-options-server-configuration-option
func (s *Session) optionBits() any {
	bits := int64(8 | 16 | 32 | 64 | 1024 | 4096) // ANSI_WARNINGS … CONCAT_NULL_YIELDS_NULL
	if !s.settings.doubleQuotedStrings {
		bits |= 256
	}
	if s.settings.implicitTransactions {
		bits |= 2
	}
	if s.settings.noCount {
		bits |= 512
	}
	if s.settings.xactAbort {
		bits |= 16384
	}
	return bits
}
