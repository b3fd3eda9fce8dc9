package lab

import (
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/store"
)

// SQL gives the tests the provider that the SQL endpoint works on.
func (l *Lab) SQL() *sqlserver.Service { return l.sql }

// Unwatched gives options of a lab without a monitor.
func Unwatched(o Options) Options {
	o.unwatched = true
	return o
}

// Records gives the tests the databases and servers as they really are.
func (l *Lab) Records() (truth sqlserver.Truth, err error) {
	err = l.store.View(func(tx *store.Tx) error {
		truth, err = l.sql.Truth(tx)
		return err
	})
	return truth, err
}

// RunningOperations gives the tests what has not ended.
func (l *Lab) RunningOperations() (running []arm.Operation, err error) {
	err = l.store.View(func(tx *store.Tx) error {
		running, err = l.operations.Running(tx)
		return err
	})
	return running, err
}

// LookedForVersions reports whether newer versions of all protectors with
// automatic rotation have been looked for since a moment.
func (l *Lab) LookedForVersions(since time.Time) (looked bool, err error) {
	looked = true
	err = l.store.View(func(tx *store.Tx) error {
		servers, err := store.NewTable[sqlserver.Server]("sql/servers").Scan(tx, "")
		for _, entry := range servers {
			looked = looked && (!entry.Record.Protector.AutoRotation || !entry.Record.LookedAt.Before(since))
		}
		return err
	})
	return looked, err
}

// OperatorObject is the object id of the operator application.
const OperatorObject = operatorObject
