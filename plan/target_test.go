package plan_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

const targets = `# one key per region
failoverGroup: fog-harshitha
protectors:
  tdeprimarytest: {key: https://testprimarysubham.vault.azure.net/keys/subham/e0637ed7e3734f989b928101c79ca565}
  tdesecondarytest:
    key: https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5
    autoRotation: false
  other: {serviceManaged: true}
`

func TestReadDesired(t *testing.T) {
	group, desired, err := plan.ReadDesired([]byte(targets))
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Desired{
		first:   {Key: key(tdetest.Subham)},
		second:  {Key: key(tdetest.Tey), AutoRotation: flag(false)},
		"other": {},
	}
	if diff := cmp.Diff(want, desired); diff != "" || group != tdetest.Group {
		t.Fatalf("group %q, %s", group, diff)
	}
	group, _, err = plan.ReadDesired([]byte("protectors: {other: {serviceManaged: true}}"))
	if err != nil || group != "" {
		t.Fatalf("without a group: %q, %v", group, err)
	}
}

func TestReadDesiredRefuses(t *testing.T) {
	const id = "https://v.vault.azure.net/keys/k/1"
	tests := []struct{ name, text, what string }{
		{"nothing", "", "empty"},
		{"only a comment", "# nothing\n", "empty"},
		{"no server", "failoverGroup: fog\n", "no server"},
		{"an unknown field", "protectors: {a: {key: " + id + "}}\nprotector: {}\n", "protector"},
		{"an unknown field of a protector", "protectors: {a: {key: " + id + ", autorotation: true}}\n", "autorotation"},
		{"a server twice", "protectors:\n  a: {key: " + id + "}\n  a: {serviceManaged: true}\n", "a"},
		{"a server twice but for case", "protectors:\n  a: {key: " + id + "}\n  A: {serviceManaged: true}\n", "same server"},
		{"a server without a name", "protectors: {'': {serviceManaged: true}}\n", "no name"},
		{"neither key nor service-managed", "protectors: {a: {}}\n", "neither"},
		{"nothing at all for a server", "protectors: {a: }\n", "neither"},
		{"both", "protectors: {a: {key: " + id + ", serviceManaged: true}}\n", "both"},
		{"service-managed with auto-rotation", "protectors: {a: {serviceManaged: true, autoRotation: true}}\n", "both"},
		{"service-managed: false", "protectors: {a: {serviceManaged: false}}\n", "only be true"},
		{"a key that is none", "protectors: {a: {key: vault/key}}\n", "vault/key"},
		{"a key that is a list", "protectors: {a: {key: [" + id + "]}}\n", "key"},
		{"auto-rotation that is a word", "protectors: {a: {key: " + id + ", autoRotation: maybe}}\n", ""},
		{"two documents", targets + "---\n" + targets, "more than one"},
		{"no YAML", "protectors: {a: {key: ", ""},
		{"a list", "- a\n", ""},
		{"too much", strings.Repeat("#", 300<<10), "bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, desired, err := plan.ReadDesired([]byte(tt.text))
			var file *plan.FileError
			if !errors.As(err, &file) || !strings.Contains(err.Error(), tt.what) || file.Hint == "" {
				t.Fatalf("read %v, error %v", desired, err)
			}
		})
	}
}

// schema is what the test needs of docs/schema/target.schema.json.
type schema struct {
	Properties map[string]any `json:"properties"`
	Required   []string       `json:"required"`
	Closed     any            `json:"additionalProperties"`
	Defs       map[string]struct {
		Properties map[string]struct {
			Pattern string `json:"pattern"`
		} `json:"properties"`
		Closed any `json:"additionalProperties"`
	} `json:"$defs"`
	Examples []any `json:"examples"`
}

func readSchema(t *testing.T) schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "schema", "target.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func names[V any](of map[string]V) []string {
	list := []string{}
	for name := range of {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func TestTheSchemaAndTheReaderAgree(t *testing.T) {
	s := readSchema(t)
	file, protector := plan.TargetFields()
	if diff := cmp.Diff(names(s.Properties), file); diff != "" {
		t.Errorf("fields of the file (-schema +reader): %s", diff)
	}
	if diff := cmp.Diff(names(s.Defs["protector"].Properties), protector); diff != "" {
		t.Errorf("fields of a protector (-schema +reader): %s", diff)
	}
	if s.Closed != false || s.Defs["protector"].Closed != false || !slices.Equal(s.Required, []string{"protectors"}) {
		t.Error("the schema is not as strict as the reader")
	}
	for _, example := range s.Examples {
		text, err := yaml.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := plan.ReadDesired(text); err != nil {
			t.Errorf("the schema's example is refused: %v", err)
		}
	}
	pattern := regexp.MustCompile(s.Defs["protector"].Properties["key"].Pattern)
	for _, id := range []string{tdetest.Tey, tdetest.Tey + "/", "https://v.vault.azure.net:443/keys/k/1", "http://v.vault.azure.net/keys/k/1", "https://v/keys/k/1", "https://v.vault.azure.net/keys/k/1/2", "https://v.vault.azure.net/keys/k/1?x", "https://v.vault.azure.net/secrets/k/1"} {
		if _, err := tde.ParseKeyID(id); pattern.MatchString(id) != (err == nil) {
			t.Errorf("%s: the schema says %v, the reader %v", id, pattern.MatchString(id), err)
		}
	}
}

func FuzzReadDesired(f *testing.F) {
	f.Add([]byte(targets))
	f.Add([]byte("protectors: {a: {serviceManaged: true}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("protectors: &p\n  a: {key: https://v.vault.azure.net/keys/k/1}\n  <<: *p\n"))
	f.Add([]byte("---\n...\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, desired, err := plan.ReadDesired(text)
		if err != nil {
			var file *plan.FileError
			if !errors.As(err, &file) || desired != nil {
				t.Fatalf("%v, %v", desired, err)
			}
			return
		}
		if len(desired) == 0 {
			t.Fatal("nothing is desired")
		}
		for name, d := range desired {
			if name == "" || (d.Key.IsZero() && d.AutoRotation != nil) {
				t.Fatalf("%q: %+v", name, d)
			}
		}
	})
}
