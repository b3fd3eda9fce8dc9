package tsql

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// splitName reads a name of several parts, some of them in brackets or double
// quotes, as OBJECT_ID takes it.
func splitName(text string) (parts []string, ok bool) {
	rest := strings.TrimSpace(text)
	for {
		var part string
		part, rest, ok = cutPart(rest)
		if !ok {
			return nil, false
		}
		parts = append(parts, part)
		if rest == "" {
			return parts, len(parts) <= 4
		}
		if rest[0] != '.' {
			return nil, false
		}
		rest = rest[1:]
	}
}

func cutPart(text string) (part, rest string, ok bool) {
	if text == "" {
		return "", "", true
	}
	closing := map[byte]string{'[': "]", '"': `"`}[text[0]]
	if closing == "" {
		i := strings.IndexByte(text, '.')
		if i < 0 {
			i = len(text)
		}
		return strings.TrimSpace(text[:i]), text[i:], true
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != closing[0] {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == closing[0] {
			b.WriteByte(closing[0])
			i++
			continue
		}
		return b.String(), strings.TrimLeft(text[i+1:], " "), true
	}
	return "", "", false
}

// localName is a name's schema and object; ok is false when it names another
// database or cannot be read.
func (s *Session) localName(text string) (schema, name string, ok bool) {
	parts, ok := splitName(text)
	if !ok || len(parts) == 4 {
		return "", "", false
	}
	if len(parts) == 3 {
		if parts[0] != "" && lower(parts[0]) != lower(s.options.Database.Name()) {
			return "", "", false
		}
		parts = parts[1:]
	}
	if len(parts) == 1 {
		return "", parts[0], true
	}
	return parts[0], parts[1], true
}

// objectNamed finds an object of the database by its written name.
func (s *Session) objectNamed(text string) (*object, bool) {
	schema, name, ok := s.localName(text)
	if !ok {
		return nil, false
	}
	return reader{s}.find(schema, name)
}

// nameFunctions are OBJECT_ID and its kin.
// Source: https://learn.microsoft.com/sql/t-sql/functions/metadata-functions-transact-sql
func nameFunctions() map[string]function {
	text := []sqltype.Type{nvarchar(776)}
	id := []sqltype.Type{intType}
	return map[string]function{
		"OBJECT_ID":          {least: 1, most: 2, args: text, result: intType, call: objectID},
		"PARSENAME":          {least: 2, most: 2, args: []sqltype.Type{nvarchar(776), intType}, result: sysname, call: parseName},
		"OBJECT_NAME":        {least: 1, most: 2, args: id, result: sysname, call: objectName},
		"OBJECT_SCHEMA_NAME": {least: 1, most: 2, args: id, result: sysname, call: objectSchemaName},
		"OBJECT_DEFINITION":  {least: 1, most: 1, args: id, result: maxTextType, call: objectDefinition},
		"SCHEMA_NAME":        {least: 0, most: 1, args: id, result: sysname, call: schemaName},
		"SCHEMA_ID":          {least: 0, most: 1, args: text, result: intType, call: schemaID},
		"DB_ID":              {least: 0, most: 1, args: text, result: smallType, call: databaseID},
		"DB_NAME":            {least: 0, most: 1, args: id, result: sysname, call: databaseName},
		"ORIGINAL_DB_NAME":   {result: sysname, call: databaseName},
		"TYPE_NAME":          {least: 1, most: 1, args: id, result: sysname, call: typeName},
		"TYPE_ID":            {least: 1, most: 1, args: text, result: intType, call: typeID},
		"COL_NAME":           {least: 2, most: 2, args: id, result: sysname, call: columnName},
		"COL_LENGTH":         {least: 2, most: 2, args: text, result: smallType, call: columnLength},
		"COLUMNPROPERTY":     {least: 3, most: 3, args: []sqltype.Type{intType, sysname}, result: intType, call: columnProperty},
	}
}

func objectID(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	if !ok {
		return nil, nil
	}
	kind, filtered := argText(args, 1)
	kind = strings.TrimSpace(strings.ToUpper(kind))
	if t, ok := s.temporaryNamed(name); ok {
		if filtered && kind != "U" {
			return nil, nil
		}
		return int64(t.ObjectID), nil
	}
	schema, object, ok := s.localName(name)
	if !ok {
		return nil, nil
	}
	if o, ok := (reader{s}).find(schema, object); ok && s.visible(o) {
		letters, _ := o.kind()
		if filtered && kind != strings.TrimSpace(letters) {
			return nil, nil
		}
		return int64(o.ID), nil
	}
	if v, ok := s.views[lower(schema)+"."+lower(object)]; ok && (!filtered || kind == "V") {
		return int64(v.objectID), nil
	}
	for _, c := range s.constraints() {
		if lower(c.name) == lower(object) && (schema == "" || lower(c.schema) == lower(schema)) && (!filtered || kind == strings.TrimSpace(c.kind)) {
			return int64(c.id), nil
		}
	}
	return nil, nil
}

// parseName is PARSENAME: the parts count from the right.
func parseName(_ *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	n, given := argInt(args, 1)
	parts, split := splitName(name)
	if !ok || !given || !split || n < 1 || int(n) > len(parts) || parts[len(parts)-int(n)] == "" {
		return nil, nil
	}
	return parts[len(parts)-int(n)], nil
}

// temporaryNamed finds a # table, also as tempdb..#t.
func (s *Session) temporaryNamed(name string) (*catalog.Table, bool) {
	parts, ok := splitName(name)
	if !ok || len(parts) == 3 && lower(parts[0]) != "tempdb" {
		return nil, false
	}
	t, ok := s.temporary[lower(parts[len(parts)-1])]
	if !ok {
		return nil, false
	}
	return t.table, true
}

func (s *Session) visibleByID(args []any) (*object, bool) {
	id, ok := argInt(args, 0)
	if !ok {
		return nil, false
	}
	o, ok := s.definitions.objects[int32(id)]
	return o, ok && s.visible(o)
}

func objectName(s *Session, args []any) (any, error) {
	if database, ok := argInt(args, 1); ok && database != int64(s.options.Database.ID()) {
		return nil, nil
	}
	if o, ok := s.visibleByID(args); ok {
		_, name := o.qualified()
		return name, nil
	}
	id, _ := argInt(args, 0)
	for _, v := range s.views {
		if int64(v.objectID) == id && id != 0 {
			return v.System.Name, nil
		}
	}
	for _, c := range s.constraints() {
		if int64(c.id) == id {
			return c.name, nil
		}
	}
	return nil, nil
}

func objectSchemaName(s *Session, args []any) (any, error) {
	if o, ok := s.visibleByID(args); ok {
		schema, _ := o.qualified()
		return schema, nil
	}
	return nil, nil
}

func objectDefinition(s *Session, args []any) (any, error) {
	if o, ok := s.visibleByID(args); ok && o.definition() != "" && s.mayViewDefinition(o) {
		return o.definition(), nil
	}
	return nil, nil
}

func schemaName(s *Session, args []any) (any, error) {
	if len(args) == 0 {
		return s.defaultSchema(), nil
	}
	id, ok := argInt(args, 0)
	if !ok {
		return nil, nil
	}
	if found, ok := s.definitions.schemas[int32(id)]; ok {
		return found.Name, nil
	}
	return nil, nil
}

func schemaID(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	if len(args) == 0 {
		name, ok = s.defaultSchema(), true
	}
	if found, there := s.definitions.schemaNamed(name); ok && there {
		return int64(found.ID), nil
	}
	return nil, nil
}

func databaseID(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	if len(args) == 0 || ok && lower(name) == lower(s.options.Database.Name()) {
		return int64(s.options.Database.ID()), nil
	}
	for _, d := range s.options.Host.Databases(s.info()) {
		if ok && lower(d.Name) == lower(name) {
			return int64(d.ID), nil
		}
	}
	return nil, nil
}

func databaseName(s *Session, args []any) (any, error) {
	id, ok := argInt(args, 0)
	if len(args) == 0 || ok && id == int64(s.options.Database.ID()) {
		return s.options.Database.Name(), nil
	}
	for _, d := range s.options.Host.Databases(s.info()) {
		if ok && int64(d.ID) == id {
			return d.Name, nil
		}
	}
	return nil, nil
}

func typeName(_ *Session, args []any) (any, error) {
	id, ok := argInt(args, 0)
	for _, t := range systemTypes {
		if ok && int64(t.user) == id {
			return t.name, nil
		}
	}
	return nil, nil
}

func typeID(_ *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	parts, split := splitName(name)
	if !ok || !split {
		return nil, nil
	}
	for _, t := range systemTypes {
		if t.name == lower(parts[len(parts)-1]) {
			return int64(t.user), nil
		}
	}
	return nil, nil
}

// columnsOf are the columns of a table, or of a view as it was compiled.
func columnName(s *Session, args []any) (any, error) {
	o, ok := s.visibleByID(args)
	id, given := argInt(args, 1)
	if !ok || !given {
		return nil, nil
	}
	for _, c := range s.columnsOf(o) {
		if int64(c.ID) == id {
			return c.Name, nil
		}
	}
	return nil, nil
}

func columnLength(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	column, given := argText(args, 1)
	if !ok || !given {
		return nil, nil
	}
	o, ok := s.objectNamed(name)
	if !ok || !s.visible(o) {
		return nil, nil
	}
	for _, c := range s.columnsOf(o) {
		if lower(c.Name) == lower(column) {
			return int64(typeRowOf(c.Type).length), nil
		}
	}
	return nil, nil
}

// columnProperty is COLUMNPROPERTY, for the properties that clients ask.
func columnProperty(s *Session, args []any) (any, error) {
	o, ok := s.visibleByID(args)
	column, given := argText(args, 1)
	property, named := argText(args, 2)
	if !ok || !given || !named {
		return nil, nil
	}
	for _, c := range s.columnsOf(o) {
		if lower(c.Name) == lower(column) {
			return propertyOfColumn(c, lower(property)), nil
		}
	}
	return nil, nil
}

func propertyOfColumn(c catalog.Column, property string) any {
	row := typeRowOf(c.Type)
	switch property {
	case "allowsnull":
		return bit(c.Nullable)
	case "isidentity":
		return bit(c.Identity)
	case "iscomputed":
		return bit(c.Computed != "")
	case "columnid":
		return int64(c.ID)
	case "precision":
		if value.IsString(c.Type) || value.IsBinary(c.Type) {
			return int64(c.Type.Length)
		}
		return int64(row.precision)
	case "scale":
		return int64(row.scale)
	case "charmaxlen":
		if value.IsString(c.Type) || value.IsBinary(c.Type) {
			return int64(c.Type.Length)
		}
		return nil
	case "isrowguidcol", "issparse", "ishidden", "isfulltextindexed", "iscolumnset":
		return int64(0)
	default:
		return nil
	}
}

func bit(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
