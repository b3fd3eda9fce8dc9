package plan

import (
	"reflect"
	"slices"
)

// TargetFields are the field names that the reader of desired protectors
// takes, sorted, for the test that compares them with the JSON schema.
func TargetFields() (file, protector []string) {
	return yamlNames(reflect.TypeFor[targetFile]()), yamlNames(reflect.TypeFor[targetProtector]())
}

func yamlNames(of reflect.Type) []string {
	var names []string
	for field := range of.NumField() {
		names = append(names, of.Field(field).Tag.Get("yaml"))
	}
	slices.Sort(names)
	return names
}
