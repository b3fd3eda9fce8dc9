package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// A plan comes with its proof, the file keeps it, and apply proves the rest of
// the plan again from what it finds.
func TestPlansAreProvedWhenTheyAreMadeAndWhenTheyAreCarriedOut(t *testing.T) {
	c, _ := onLab(t, lab.Options{}, lab.SeedOptions{})
	c.expect(exitOK, c.plan()...)
	if !strings.Contains(c.out.String(), "proved:") {
		t.Errorf("no proof is told:\n%s", c.out.String())
	}
	c.expect(exitOK, c.plan("--json")...)
	made, err := plan.Decode([]byte(c.out.String()))
	if err != nil || made.Proof == nil || !made.Proof.Proved || made.Proof.States < 10 {
		t.Fatalf("%+v %v", made.Proof, err)
	}
	c.expect(exitOK, "apply", "@plan.json", "--yes", "--json")
	var result struct {
		Proof *plan.Proof `json:"proof"`
	}
	if err := json.Unmarshal([]byte(c.out.String()), &result); err != nil {
		t.Fatal(err)
	}
	if result.Proof == nil || !result.Proof.Proved {
		t.Errorf("apply tells no proof:\n%s", c.out.String())
	}
}

func TestExplainSaysWhatWouldGoWrongAnywhereElse(t *testing.T) {
	c, _ := onLab(t, lab.Options{}, lab.SeedOptions{})
	c.expect(exitOK, c.plan("--explain", "5")...)
	for _, want := range []string{"Step 5", "before step 1", "goes wrong (Unrefused)", "left out"} {
		if !strings.Contains(c.out.String(), want) {
			t.Errorf("%q is not told:\n%s", want, c.out.String())
		}
	}
	c.expect(exitUsage, c.plan("--explain", "99")...)
}

// A plan file that somebody's program has put together in an unsafe order is
// not begun, however well it hashes.
func TestApplyRefusesAPlanThatIsNotSafe(t *testing.T) {
	c, _ := onLab(t, lab.Options{}, lab.SeedOptions{})
	c.expect(exitOK, c.plan("--json")...)
	made, err := plan.Decode([]byte(c.out.String()))
	if err != nil {
		t.Fatal(err)
	}
	unsafe := made
	unsafe.Steps = nil
	for _, s := range made.Steps {
		if s.Kind == plan.Register {
			continue
		}
		s.Number, s.DependsOn = len(unsafe.Steps)+1, nil
		for n := 1; n < s.Number; n++ {
			s.DependsOn = append(s.DependsOn, n)
		}
		unsafe.Steps = append(unsafe.Steps, s)
	}
	text, err := plan.Encode(unsafe)
	if err != nil {
		t.Fatal(err)
	}
	path := c.folder + "/unsafe.json"
	if err := writeFile(path, text); err != nil {
		t.Fatal(err)
	}
	c.expect(exitRefused, "apply", path, "--yes")
	if !strings.Contains(c.talk.String(), "not safe") && !strings.Contains(c.talk.String(), "not registered") {
		t.Errorf("%s\n%s", c.out.String(), c.talk.String())
	}
	store, err := journal.OpenStore(t.Context(), c.folder+"/crosskeys", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	runs, err := store.Runs(t.Context())
	if err != nil || len(runs) == 0 {
		t.Fatal(runs, err)
	}
	for _, r := range runs {
		log, err := store.Read(t.Context(), r.Run)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range log.Records {
			if r.Kind == journal.Intent {
				t.Errorf("a call was intended: %+v", r)
			}
		}
	}
}

// The way back is a plan like any other, from wherever the way forth stopped;
// where Azure allows none, it is refused and says so.
func TestRollback(t *testing.T) {
	t.Run("from the middle of a move", func(t *testing.T) {
		c, _ := onLab(t, lab.Options{}, lab.SeedOptions{})
		c.expect(exitOK, c.plan()...)
		c.expect(exitPaused, "apply", "@plan.json", "--yes", "--until", "5")
		c.expect(exitOK, "rollback", "@plan.json", "-o", "@back.json")
		if !strings.Contains(c.out.String(), "proved:") || strings.Contains(c.out.String(), "protector of tdeprimarytest:") {
			t.Errorf("the way back:\n%s", c.out.String())
		}
		c.expect(exitOK, "apply", "@back.json", "--yes")
		c.expect(exitOK, "rollback", "@plan.json")
		if !strings.Contains(c.out.String(), "nothing to do") {
			t.Errorf("after the way back there is more to do:\n%s", c.out.String())
		}
	})
	t.Run("to an older version of a key", func(t *testing.T) {
		c, l := onLab(t, lab.Options{}, lab.SeedOptions{})
		c.expect(exitOK, c.plan()...)
		c.expect(exitOK, "apply", "@plan.json", "--yes")
		rotateKey(t, l, lab.ArticleSharedKey)
		c.expect(exitRefused, "rollback", "@plan.json")
		if !strings.Contains(c.out.String(), "newest version") {
			t.Errorf("%s", c.out.String())
		}
	})
}

// rotateKey makes a new version of a key, as its owner would.
func rotateKey(t *testing.T, l *lab.Lab, id string) {
	t.Helper()
	key, err := tde.ParseKeyID(id)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := l.Credential(sdkcloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	options := l.ClientOptions(sdkcloud.AzurePublic)
	client, err := azkeys.NewClient("https://"+key.Host, credential, &azkeys.ClientOptions{ClientOptions: options.ClientOptions})
	if err == nil {
		_, err = client.RotateKey(t.Context(), key.Name, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
