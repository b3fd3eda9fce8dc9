package tsql

import (
	"context"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// special is a procedure that the interpreter carries out itself.
type special func(ctx context.Context, s *Session, call invocation) (int32, error)

// specialNamed finds a procedure that the interpreter carries out itself.
// Source: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/database-engine-stored-procedures-transact-sql
func specialNamed(name string) (special, bool) {
	switch name {
	case "sp_executesql":
		return executeSQL, true
	case "sp_prepare":
		return prepareHandle, true
	case "sp_execute":
		return executeHandle, true
	case "sp_prepexec":
		return prepareAndExecute, true
	case "sp_unprepare":
		return unprepare, true
	case "sp_reset_connection":
		return resetConnection, true
	case "sp_describe_first_result_set":
		return describeFirst, true
	case "sp_set_session_context":
		return setSessionContext, true
	case "sp_addrolemember":
		return addRoleMember, true
	case "sp_droprolemember":
		return dropRoleMember, true
	case "sp_helptext":
		return helpText, true
	case "sp_tables":
		return listTables, true
	}
	if strings.HasPrefix(name, "sp_cursor") || refusedProcedures[name] {
		return func(context.Context, *Session, invocation) (int32, error) { return 0, refuse(name) }, true
	}
	return nil, false
}

// refusedProcedures exist in Azure SQL Database, and are outside the subset.
var refusedProcedures = map[string]bool{
	"sp_who": true, "sp_who2": true, "sp_lock": true, "sp_getapplock": true, "sp_releaseapplock": true, "sp_help": true, "sp_helpindex": true, "sp_columns": true,
	"sp_helpdb": true, "sp_helpuser": true, "sp_helprole": true, "sp_helprolemember": true, "sp_spaceused": true, "sp_rename": true, "sp_recompile": true,
	"sp_refreshview": true, "sp_updatestats": true, "sp_depends": true, "sp_pkeys": true, "sp_fkeys": true, "sp_statistics": true, "sp_databases": true,
	"sp_stored_procedures": true, "sp_sproc_columns": true, "sp_special_columns": true, "sp_server_info": true, "sp_datatype_info": true,
	"sp_describe_undeclared_parameters": true, "sp_prepexecrpc": true, "sp_xml_preparedocument": true, "sp_addextendedproperty": true,
	"sp_bindefault": true, "sp_configure": true, "sp_monitor": true, "sp_changedbowner": true, "sp_trace_create": true,
}

// handle is a prepared text.
type handle struct {
	prepared *preparedText
}

// contextValue is a value of sp_set_session_context.
type contextValue struct {
	value    any
	readOnly bool
}

func (s *Session) newHandle(p *preparedText, a argument) error {
	s.lastHandle++
	s.handles[s.lastHandle] = &handle{prepared: p}
	a.isOut = true
	return s.handBack(a, "@handle", &variable{Type: intType, Value: s.lastHandle})
}

// prepareArguments reads @handle OUTPUT, @params, @stmt.
func (s *Session) prepareArguments(name string, call invocation) (*preparedText, error) {
	if len(call.args) < 3 {
		return nil, message(201, "Procedure or function '%s' expects parameter '@stmt', which was not supplied.", name)
	}
	params, err := unicodeText(call.args[1], "@params")
	if err != nil {
		return nil, err
	}
	source, err := unicodeText(call.args[2], "@stmt")
	if err != nil {
		return nil, err
	}
	return s.prepareText(params, source)
}

func prepareHandle(_ context.Context, s *Session, call invocation) (int32, error) {
	p, err := s.prepareArguments("sp_prepare", call)
	if err != nil {
		return 0, err
	}
	return 0, s.newHandle(p, call.args[0])
}

func prepareAndExecute(ctx context.Context, s *Session, call invocation) (int32, error) {
	p, err := s.prepareArguments("sp_prepexec", call)
	if err != nil {
		return 0, err
	}
	if err := s.newHandle(p, call.args[0]); err != nil {
		return 0, err
	}
	return 0, s.runPrepared(ctx, p, call.args[3:])
}

func (s *Session) handleOf(call invocation) (int64, *handle, error) {
	var id int64
	if len(call.args) > 0 {
		id, _ = call.args[0].value.(int64)
	}
	h, ok := s.handles[id]
	if !ok {
		return 0, nil, classed(16, 1, 8179, "Could not find prepared statement with handle %d.", id)
	}
	return id, h, nil
}

func executeHandle(ctx context.Context, s *Session, call invocation) (int32, error) {
	_, h, err := s.handleOf(call)
	if err != nil {
		return 0, err
	}
	return 0, s.runPrepared(ctx, h.prepared, call.args[1:])
}

func unprepare(_ context.Context, s *Session, call invocation) (int32, error) {
	id, _, err := s.handleOf(call)
	delete(s.handles, id)
	return 0, err
}

func resetConnection(ctx context.Context, s *Session, _ invocation) (int32, error) {
	out, frame := s.out, s.frame
	err := s.Reset(ctx, false)
	s.out, s.frame = out, frame
	s.conn.SetInterrupt(ctx)
	return 0, err
}

func (c invocation) argument(i int, name string) (argument, bool) {
	for _, a := range c.args {
		if lower(a.name) == name {
			return a, true
		}
	}
	if i < len(c.args) && c.args[i].name == "" {
		return c.args[i], true
	}
	return argument{}, false
}

func (c invocation) text(i int, name string) (string, bool) {
	a, ok := c.argument(i, name)
	if !ok {
		return "", false
	}
	text, ok := a.value.(string)
	return text, ok
}

// setSessionContext is sp_set_session_context.
// Source: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-set-session-context-transact-sql
func setSessionContext(_ context.Context, s *Session, call invocation) (int32, error) {
	key, ok := call.text(0, "@key")
	if !ok || key == "" {
		return 0, message(15665, "The value was not set for key '%s' because the key is empty or NULL.", key)
	}
	old, exists := s.context[lower(key)]
	if exists && old.readOnly {
		return 0, message(15664, "Cannot set key '%s' in the session context. The key has been set as read_only for this session.", key)
	}
	a, _ := call.argument(1, "@value")
	only, _ := call.argument(2, "@read_only")
	v := contextValue{readOnly: truth(only.value)}
	if a.value != nil {
		v.value = printedAs(a.value, a.kind)
	}
	s.context[lower(key)] = v
	return 0, nil
}

// helpText is sp_helptext.
func helpText(_ context.Context, s *Session, call invocation) (int32, error) {
	name, _ := call.text(0, "@objname")
	if err := s.loadFirst(); err != nil {
		return 0, err
	}
	o, ok := s.objectNamed(name)
	if !ok || !s.visible(o) {
		return 1, message(15009, "The object '%s' does not exist in database '%s' or is invalid for this operation.", name, s.options.Database.Name())
	}
	if o.definition() == "" {
		return 1, message(15197, "There is no text for object '%s'.", name)
	}
	if err := s.out.Columns([]sqltype.Column{{Name: "Text", Type: nvarchar(255), Nullable: true}}); err != nil {
		return 0, err
	}
	lines := strings.SplitAfter(o.definition(), "\n")
	for _, line := range lines {
		if err := s.out.Row([]any{line}); err != nil {
			return 0, err
		}
	}
	return 0, s.out.Done(sqltype.Done{Count: int64(len(lines)), HasCount: true, Command: sqltype.CommandSelect})
}

// runSystem runs a query of a system procedure, with its parameters.
func (s *Session) runSystem(ctx context.Context, query string, values map[string]any) (int32, error) {
	var declared []string
	var args []argument
	for _, name := range []string{"@table", "@owner", "@type"} {
		declared = append(declared, name+" nvarchar(384)")
		args = append(args, argument{name: name, value: values[name], kind: nvarchar(384)})
	}
	p, err := s.prepareText(strings.Join(declared, ", "), query)
	if err != nil {
		return 0, err
	}
	return 0, s.runPrepared(ctx, p, args)
}

func textOrNil(call invocation, i int, name string) any {
	if text, ok := call.text(i, name); ok {
		return text
	}
	return nil
}

// listTables is sp_tables.
// Source: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-tables-transact-sql
func listTables(ctx context.Context, s *Session, call invocation) (int32, error) {
	return s.runSystem(ctx, `SELECT CAST(TABLE_CATALOG AS sysname) AS TABLE_QUALIFIER, CAST(TABLE_SCHEMA AS sysname) AS TABLE_OWNER, CAST(TABLE_NAME AS sysname) AS TABLE_NAME,
	CAST(CASE TABLE_TYPE WHEN 'BASE TABLE' THEN 'TABLE' ELSE 'VIEW' END AS varchar(32)) AS TABLE_TYPE, CAST(NULL AS varchar(254)) AS REMARKS
FROM INFORMATION_SCHEMA.TABLES
WHERE (@table IS NULL OR TABLE_NAME LIKE @table) AND (@owner IS NULL OR TABLE_SCHEMA LIKE @owner)
	AND (@type IS NULL OR @type LIKE '%''' + CASE TABLE_TYPE WHEN 'BASE TABLE' THEN 'TABLE' ELSE 'VIEW' END + '''%')
ORDER BY 4, 1, 2, 3`, map[string]any{"@table": textOrNil(call, 0, "@table_name"), "@owner": textOrNil(call, 1, "@table_owner"), "@type": textOrNil(call, 3, "@table_type")})
}
