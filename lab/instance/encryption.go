package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// Rewrapping is the right to change the wrapping or the role of a database,
// held by one at a time.
type Rewrapping struct {
	instances *Instances
	d         *database
}

// Lock waits for the right to change a database's wrapping. The control
// plane holds it from reading what shall wrap until it is written, so that an
// older decision never overwrites a newer one. Its error is
// *UnavailableError.
func (i *Instances) Lock(ref Ref) (*Rewrapping, error) {
	d := i.find(ref)
	if d == nil {
		return nil, &UnavailableError{Ref: ref, Status: Missing}
	}
	d.wrapping.Lock()
	return &Rewrapping{instances: i, d: d}, nil
}

// Unlock gives the right back.
func (r *Rewrapping) Unlock() { r.d.wrapping.Unlock() }

// Rewrap writes a new wrapping of the same DEK into the boot record.
func (r *Rewrapping) Rewrap(ctx context.Context, w engine.WrappedDEK) error {
	db := r.d.current()
	if db == nil {
		return &UnavailableError{Ref: r.d.ref, Status: r.d.status}
	}
	if err := db.Rewrap(ctx, w); err != nil {
		return fmt.Errorf("rewrap %s: %w", r.d.ref, err)
	}
	return nil
}

// SetEncryption turns TDE on, with a new DEK, or off (nil), and begins the
// scan. What is so already, or on its way there, stays as it is.
func (i *Instances) SetEncryption(ctx context.Context, ref Ref, dek *engine.PlainDEK) error {
	d := i.find(ref)
	if d == nil {
		return &UnavailableError{Ref: ref, Status: Missing}
	}
	db, err := i.Open(ref)
	if err != nil {
		return err
	}
	if on := db.Boot().State; (dek != nil) == (on == engine.StateEncrypted || on == engine.StateEncrypting || on == engine.StateProtectionChange) {
		i.takeUp(d)
		return nil
	}
	if err := db.SetEncryption(ctx, dek); err != nil {
		return fmt.Errorf("set encryption of %s: %w", ref, err)
	}
	i.takeUp(d)
	return nil
}

// SuspendScan makes a database's scan pause, or go on.
func (i *Instances) SuspendScan(ctx context.Context, ref Ref, suspend bool) error {
	db, err := i.Open(ref)
	if err != nil {
		return err
	}
	if suspend {
		return db.SuspendScan(ctx)
	}
	if err := db.ResumeScan(ctx); err != nil {
		return err
	}
	i.takeUp(i.find(ref))
	return nil
}

func (i *Instances) takeUp(d *database) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i.takeUpScan(d)
}

// takeUpScan runs the scan of a primary that has one to do. The caller holds
// the database's mu.
func (i *Instances) takeUpScan(d *database) {
	db := d.current()
	if db == nil || d.scan {
		return
	}
	boot := db.Boot()
	if boot.Role != engine.Primary || (boot.State != engine.StateEncrypting && boot.State != engine.StateDecrypting) {
		return
	}
	d.scan = true
	i.background(func(ctx context.Context) {
		err := db.Scan(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) {
			i.o.Log.Error("database.scan_failed", "server", d.ref.Server, "database", d.ref.Database, "error", err)
		}
		d.mu.Lock()
		d.scan = false
		d.mu.Unlock()
	})
}

// MakeInaccessible closes a database that lost its key: its sessions end,
// its DEK is forgotten. Its links wait for it.
func (i *Instances) MakeInaccessible(ref Ref, cause error) error {
	d := i.find(ref)
	if d == nil {
		return nil
	}
	d.mu.Lock()
	d.set(Inaccessible, cause)
	d.mu.Unlock()
	return d.shut(ErrInaccessible)
}

// MakeAccessible opens a database that has its key again; its links go on.
// One that is open stays so.
func (i *Instances) MakeAccessible(ctx context.Context, ref Ref) error {
	d := i.find(ref)
	if d == nil {
		return &UnavailableError{Ref: ref, Status: Missing}
	}
	return i.open(ctx, d)
}
