package plan_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func encoded(t testing.TB) (plan.Plan, []byte) {
	t.Helper()
	w := tdetest.Article()
	w.Revoke(first, "testanu2")
	expires := tdetest.Now().AddDate(0, 0, 3)
	w.AtKey(key(tdetest.Tey)).Expires = &expires
	p, err := plan.Make(w.Topology, onePerRegion(), plan.Options{Grant: true, Drill: true, Failback: true, Now: tdetest.Now()})
	if err != nil {
		t.Fatal(err)
	}
	text, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return p, text
}

func TestAPlanFileIsReadAsItWasWritten(t *testing.T) {
	p, text := encoded(t)
	got, err := plan.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Fatal(diff)
	}
	again, err := plan.Encode(got)
	if err != nil || !bytes.Equal(again, text) {
		t.Fatalf("written again it differs, %v", err)
	}
}

func TestAnEmptyPlanIsWrittenAndRead(t *testing.T) {
	p := mustMake(t, tdetest.Article(), nil, plan.Options{})
	text, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"steps": []`) {
		t.Errorf("no steps are written as %s", text)
	}
	if got, err := plan.Decode(text); err != nil || !got.Empty() {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	_, text := encoded(t)
	replace := func(old, with string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, with, 1) }
	}
	tests := []struct {
		name   string
		change func(string) string
		what   string
	}{
		{"a changed key", replace("29497babb0cb4af58a773104a5dd61e5", "00000000000000000000000000000000"), "changed since it was written"},
		{"a changed server", replace(`"server": "tdesecondarytest"`, `"server": "tdeprimarytest"`), "changed since it was written"},
		{"a finding that was taken out", replace(`"severity": "warning"`, `"severity": "note"`), "changed since it was written"},
		{"a changed hash", replace(`"planHash": "`, `"planHash": "0`), "changed since it was written"},
		{"no hash", func(s string) string {
			before, _, _ := strings.Cut(s, `"planHash"`)
			return before + `"planHash": ""}`
		}, "changed since it was written"},
		{"an unknown field", replace(`"steps"`, `"extra": 1, "steps"`), "cannot be read"},
		{"a key that is none", replace("https://testanu2", "http://testanu2"), "cannot be read"},
		{"a newer schema", replace(`"schemaVersion": 1`, `"schemaVersion": 2`), "schema version 2"},
		{"no schema", replace(`"schemaVersion": 1,`, ``), "no schemaVersion"},
		{"half a file", func(s string) string { return s[:len(s)/2] }, "not JSON"},
		{"two plans", func(s string) string { return s + s }, "not JSON"},
		{"nothing", func(string) string { return "" }, "not JSON"},
		{"a list", func(string) string { return "[]" }, "not JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := tt.change(string(text))
			if changed == string(text) {
				t.Fatal("the test changes nothing")
			}
			_, err := plan.Decode([]byte(changed))
			var file *plan.FileError
			if !errors.As(err, &file) || !strings.Contains(err.Error(), tt.what) || file.Hint == "" {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestWhiteSpaceIsNoChange(t *testing.T) {
	p, text := encoded(t)
	got, err := plan.Decode(bytes.ReplaceAll(text, []byte("\n  "), []byte("\n\t")))
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Fatal(err)
	}
}

func TestDecodeRefusesStepsThatMakeNoSense(t *testing.T) {
	tests := []struct {
		name   string
		change func(steps []plan.Step)
	}{
		{"a gap in the numbers", func(s []plan.Step) { s[1].Number = 7 }},
		{"an unknown kind", func(s []plan.Step) { s[1].Kind = "Delete" }},
		{"a step that waits for itself", func(s []plan.Step) { s[1].DependsOn = []int{2} }},
		{"a step that waits for step 0", func(s []plan.Step) { s[1].DependsOn = []int{0} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := encoded(t)
			tt.change(p.Steps)
			text, err := plan.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := plan.Decode(text); err == nil || !strings.Contains(err.Error(), "make no sense") {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestPlanDesiredGivesTheTargetsBack(t *testing.T) {
	p := mustMake(t, tdetest.Article(), plan.Desired{first: to(tdetest.Subham), second: {}}, plan.Options{})
	want := plan.Desired{first: {Key: key(tdetest.Subham), AutoRotation: flag(false)}, second: {}}
	if diff := cmp.Diff(want, p.Desired()); diff != "" {
		t.Fatal(diff)
	}
}

func FuzzDecode(f *testing.F) {
	empty, err := plan.Make(tdetest.Article().Topology, nil, plan.Options{Now: tdetest.Now()})
	if err != nil {
		f.Fatal(err)
	}
	text, err := plan.Encode(empty)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"schemaVersion":1,"planHash":""}`))
	f.Add([]byte(`{"schemaVersion":1,"steps":[{"number":1,"kind":"Grant","dependsOn":[0]}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := plan.Decode(text)
		if err != nil {
			var file *plan.FileError
			if !errors.As(err, &file) {
				t.Fatalf("not a FileError: %v", err)
			}
			return
		}
		again, err := plan.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := plan.Decode(again)
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("read again: %v", err)
		}
	})
}

// FuzzDecodeContent reaches behind the hash: whatever a plan says, it survives
// being written and read.
func FuzzDecodeContent(f *testing.F) {
	f.Add("tdeprimarytest", "some \x00 words", tdetest.Tey, 3, true)
	f.Add("no UTF-8", "\x8d", "", 0, false)
	f.Fuzz(func(t *testing.T, server, words, id string, number int, on bool) {
		k, err := tde.ParseKeyID(id)
		if err != nil {
			k = tde.KeyID{}
		}
		p := plan.Plan{
			SchemaVersion: plan.SchemaVersion, CreatedAt: tdetest.Now(), Effects: []string{words},
			Steps: []plan.Step{{Number: 1, Kind: plan.Register, Server: server, Key: k, Reason: words, WayBack: on, DependsOn: []int{number}}},
		}
		text, err := plan.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := plan.Decode(text)
		if err == nil {
			t.Fatalf("a first step that waits for step %d was taken: %+v", number, q)
		}
		p.Steps[0].DependsOn = nil
		if text, err = plan.Encode(p); err != nil {
			t.Fatal(err)
		}
		if q, err = plan.Decode(text); err != nil {
			t.Fatal(err)
		}
		if q.Steps[0].Key != k || q.Steps[0].WayBack != on {
			t.Fatalf("%+v", q.Steps[0])
		}
	})
}
