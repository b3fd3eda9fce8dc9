package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	bootName = "boot"
	dataName = "data.mdf"
	logName  = "log"
)

// bootRecord is what lies in the boot record.
type bootRecord struct {
	Boot
	// Checkpoint is what the page file holds: the log up to its LSN.
	Checkpoint checkpoint `json:"checkpoint"`
	// Current is the LSN up to which the log's changes of encryption are in this record.
	Current LSN `json:"current"`
	// Floor is an LSN that the log is known to have reached durably: a shorter log has lost records.
	Floor LSN `json:"floor"`
	// ScanNext is the page at which a scan goes on.
	ScanNext uint32 `json:"scanNext,omitempty"`
	// WipeBelow is the LSN at which a scan ended: VLFs up to it hold pages in the former format, and have to go.
	WipeBelow LSN `json:"wipeBelow,omitempty"`
	// Holds are what replicas and log backups still need the log after.
	Holds map[string]LSN `json:"holds,omitempty"`
}

// checkpoint is the state of a database at one LSN.
type checkpoint struct {
	LSN          LSN    `json:"lsn"`
	Checksum     uint64 `json:"checksum"`
	Pages        uint32 `json:"pages"`
	Transactions uint64 `json:"transactions"`
}

// ReadBoot reads the boot record of a database that need not be open, and may be one that cannot be opened.
func ReadBoot(dir string) (Boot, error) {
	b, err := readBoot(dir)
	b.PercentComplete = percent(b.State, b.ScanNext, b.Checkpoint.Pages)
	return b.Boot, err
}

// percent is the progress of a scan that goes on at page next of pages.
func percent(s State, next, pages uint32) float32 {
	if s != StateEncrypting && s != StateDecrypting || pages == 0 || next == 0 {
		return 0
	}
	return min(100, 100*float32(next-1)/float32(pages))
}

func readBoot(dir string) (bootRecord, error) {
	var b bootRecord
	data, err := os.ReadFile(filepath.Join(dir, bootName))
	if errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("%s: %w", dir, ErrNotFound)
	}
	if err != nil {
		return b, fmt.Errorf("reading boot record: %w", err)
	}
	sum, text, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(sum) != bootSum(text) {
		return b, fmt.Errorf("boot record: checksum does not match: %w", ErrCorrupt)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return b, fmt.Errorf("boot record: %w: %w", err, ErrCorrupt)
	}
	return b, nil
}

func bootSum(text []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) }

// writeBoot replaces the boot record as a whole: after a crash there is the old or the new one.
func writeBoot(dir string, b bootRecord, noSync bool) error {
	text, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encoding boot record: %w", err)
	}
	name := filepath.Join(dir, bootName)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing boot record: %w", err)
	}
	_, err = f.Write(append([]byte(bootSum(text)+"\n"), text...))
	if err == nil && !noSync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing boot record: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("writing boot record: %w", err)
	}
	return syncDir(dir, noSync)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string, noSync bool) error {
	if noSync {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing folder: %w", err)
	}
	return nil
}
