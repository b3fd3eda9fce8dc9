package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(childCode())
	}
	testscript.Main(m, map[string]func(){"crosskeys": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Nothing of the user's may be found or written.
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			return nil
		},
		RequireExplicitExec: true,
	})
}
