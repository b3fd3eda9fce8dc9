package backup

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

func sample(f *testing.F, header Backup, parts ...[]byte) []byte {
	f.Helper()
	kind := partPage
	if header.Kind == Log {
		kind = partRecord
	}
	var b bytes.Buffer
	err := writeParts(&b, header, func(add func(stream.Kind, []byte) error) error {
		for _, p := range parts {
			if err := add(kind, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

func FuzzBackup(f *testing.F) {
	record, err := engine.Record{LSN: 3, Epoch: 1, Kind: engine.RecordScanEnd, Time: time.Unix(1, 0), Seal: make([]byte, 4)}.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample(f, Backup{Kind: Full, Source: &engine.SnapshotInfo{Pages: 1}}, append([]byte{1, 0, 0, 0}, make([]byte, engine.PageSize)...)))
	f.Add(sample(f, Backup{Kind: Log, From: 2, To: 3}, record))
	f.Add(sample(f, Backup{Kind: Log, From: 2, To: 2}))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := newReader(bytes.NewReader(data))
		if err == nil && r.Kind == Full {
			for err == nil {
				_, err = pages{r}.Next(t.Context())
			}
		}
		if err == nil && r.Kind == Log {
			for err == nil {
				_, err = r.record()
			}
		}
		ended := r != nil && r.done
		if errors.Is(err, io.EOF) != ended || errors.Is(err, ErrDamaged) == ended {
			t.Errorf("error %v, and the end mark was read: %v", err, ended)
		}
	})
}
