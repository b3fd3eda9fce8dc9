package backup

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

const (
	purpose     = "BACK"
	recordLimit = 1 << 30
	temporary   = ".new"
)

// The parts of a backup file, in this order.
const (
	partHeader stream.Kind = 1 // JSON of Backup
	partPage   stream.Kind = 2 // page number, then its slot
	partRecord stream.Kind = 3 // engine.Record's binary form
	partEnd    stream.Kind = 4 // JSON of ending
)

// ending closes a backup file: without it the file is incomplete.
type ending struct {
	Parts uint64 `json:"parts"`
}

// write makes a backup file: header, what fill adds, end. The file is there as
// a whole or not at all.
func write(path string, header Backup, noSync bool, fill func(add func(kind stream.Kind, data []byte) error) error) error {
	file, err := os.OpenFile(path+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = writeParts(file, header, fill)
	if err == nil && !noSync {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path+temporary))
	}
	if err := os.Rename(path+temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path), noSync)
}

func writeParts(to io.Writer, header Backup, fill func(add func(kind stream.Kind, data []byte) error) error) error {
	w, err := stream.NewWriter(to, purpose)
	if err != nil {
		return err
	}
	if err := writeJSON(w, partHeader, header); err != nil {
		return err
	}
	var end ending
	err = fill(func(kind stream.Kind, data []byte) error {
		end.Parts++
		return w.WriteMessage(kind, data)
	})
	if err != nil {
		return err
	}
	return errors.Join(writeJSON(w, partEnd, end), w.Flush())
}

func writeJSON(w *stream.Writer, kind stream.Kind, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.WriteMessage(kind, text)
}

func syncFolder(dir string, noSync bool) error {
	if noSync {
		return nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// reader reads one backup file.
type reader struct {
	Backup
	from  *stream.Reader
	parts uint64
	done  bool
}

// newReader reads the header.
func newReader(from io.Reader) (*reader, error) {
	in, err := stream.NewReader(from, purpose)
	if err != nil {
		return nil, damaged(err)
	}
	r := &reader{from: in}
	frame, err := in.ReadMessage(stream.MaxPayload)
	if err != nil {
		return nil, damaged(err)
	}
	if frame.Kind != partHeader {
		return nil, fmt.Errorf("part %d where the header is due: %w", frame.Kind, errors.Join(ErrDamaged, errFormat))
	}
	if err := json.Unmarshal(frame.Payload, &r.Backup); err != nil {
		return nil, fmt.Errorf("header: %w: %w", err, ErrDamaged)
	}
	if (r.Kind != Full || r.Source == nil) && r.Kind != Log {
		return nil, fmt.Errorf("backup of kind %q: %w", r.Kind, errors.Join(ErrDamaged, errFormat))
	}
	return r, nil
}

// next gives the next page or record, and io.EOF only after a proper end.
func (r *reader) next(want stream.Kind) ([]byte, error) {
	if r.done {
		return nil, io.EOF
	}
	frame, err := r.from.ReadMessage(recordLimit)
	if err != nil {
		return nil, damaged(err)
	}
	switch frame.Kind {
	case want:
		r.parts++
		return frame.Payload, nil
	case partEnd:
		var end ending
		if err := json.Unmarshal(frame.Payload, &end); err != nil || end.Parts != r.parts {
			return nil, fmt.Errorf("end after %d parts: %w", r.parts, errors.Join(err, ErrDamaged))
		}
		if _, err := r.from.Read(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("data after the end: %w", errors.Join(err, ErrDamaged))
		}
		r.done = true
		return nil, io.EOF
	default:
		return nil, fmt.Errorf("part %d where %d is due: %w", frame.Kind, want, errors.Join(ErrDamaged, errFormat))
	}
}

// damaged turns every way in which a file can be wrong into ErrDamaged; the
// disk's own errors stay. io.EOF is not in the chain: a file that ends between
// two frames must not look like one that came to its proper end.
func damaged(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("file ends before its end mark: %w", ErrDamaged)
	case errors.Is(err, stream.ErrDamaged):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return err
	}
}

// pages is the page source that a full backup is.
type pages struct{ *reader }

// Info tells what the pages are of.
func (p pages) Info() engine.SnapshotInfo { return *p.Source }

// Next gives the next page, io.EOF after the last.
func (p pages) Next(ctx context.Context) (engine.Page, error) {
	if err := ctx.Err(); err != nil {
		return engine.Page{}, err
	}
	data, err := p.next(partPage)
	if err != nil {
		return engine.Page{}, err
	}
	if len(data) < 4 {
		return engine.Page{}, fmt.Errorf("page of %d bytes: %w", len(data), ErrDamaged)
	}
	return engine.Page{Number: binary.LittleEndian.Uint32(data), Slot: data[4:]}, nil
}

// record gives the next record of a log backup, io.EOF after the last.
func (r *reader) record() (engine.Record, error) {
	data, err := r.next(partRecord)
	if err != nil {
		return engine.Record{}, err
	}
	record, err := engine.ParseRecord(data)
	if err != nil {
		return record, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return record, nil
}

// openFile opens a backup file for reading; the caller closes the file.
func openFile(path string) (*reader, *os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	r, err := newReader(bufio.NewReader(file))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("backup %s: %w", path, err), file.Close())
	}
	r.File = path
	if info, err := file.Stat(); err == nil {
		r.Size = info.Size()
	}
	return r, file, nil
}

// readHeader tells what a backup file holds, without reading it all.
func readHeader(path string) (Backup, error) {
	r, file, err := openFile(path)
	if err != nil {
		return Backup{}, err
	}
	return r.Backup, file.Close()
}

// Verify reads a backup file to its end. It gives ErrDamaged when it is not as
// it was written. The seals of pages and records need the DEK, so that only a
// restore checks them.
func Verify(b Backup) error {
	r, file, err := openFile(b.File)
	if err != nil {
		return err
	}
	want := partPage
	if r.Kind == Log {
		want = partRecord
	}
	for err == nil {
		_, err = r.next(want)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("backup %s: %w", b.File, err)
	}
	return errors.Join(err, file.Close())
}
