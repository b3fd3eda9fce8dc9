package engine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A record in the log, in a stream and in a log backup:
//
//	 0  magic                    4 bytes
//	 4  length of the record     4
//	 8  LSN                      8
//	16  epoch                    8
//	24  time, Unix nanoseconds   8
//	32  checksum before, after  16
//	48  pages, scan position     8
//	56  kind                     1
//	57  length of the DEK's id   1
//	58  zero                     2
//	60  length of the body       4
//	64  DEK's id, body, seal
//
// The seal is a nonce and GCM's tag, or a CRC-32C for a plain record. It covers the header, the id, and the body: of a page
// set the slots' headers and seals, which in their turn cover the pages.
const (
	recordMagic  = 0x524c4b43
	recordHeader = 64
	maxRecord    = 1 << 31
	sealedSeal   = nonceSize + tagSize
	plainSeal    = crc32.Size
)

func sealLength(id string) int {
	if id == "" {
		return plainSeal
	}
	return sealedSeal
}

// size is the record's length in its binary form.
func (r *Record) size() int { return recordHeader + len(r.DEKID) + len(r.Body) + sealLength(r.DEKID) }

func (r *Record) putHeader(b []byte) {
	binary.LittleEndian.PutUint32(b, recordMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(r.size()))
	binary.LittleEndian.PutUint64(b[8:], uint64(r.LSN))
	binary.LittleEndian.PutUint64(b[16:], r.Epoch)
	binary.LittleEndian.PutUint64(b[24:], uint64(r.Time.UnixNano()))
	binary.LittleEndian.PutUint64(b[32:], r.Before)
	binary.LittleEndian.PutUint64(b[40:], r.After)
	binary.LittleEndian.PutUint32(b[48:], r.Pages)
	binary.LittleEndian.PutUint32(b[52:], r.Scan)
	b[56], b[57], b[58], b[59] = byte(r.Kind), byte(len(r.DEKID)), 0, 0
	binary.LittleEndian.PutUint32(b[60:], uint32(len(r.Body)))
	copy(b[recordHeader:], r.DEKID)
}

// paged says whether the body is a page set.
func (r *Record) paged() bool { return r.Kind == RecordTransaction || r.Kind == RecordScan }

// slots calls f with each slot of a page set.
func (r *Record) slots(f func(i int, slot []byte) error) error {
	if !r.paged() {
		return nil
	}
	for i := range len(r.Body) / slotSize {
		if err := f(i, r.Body[i*slotSize:(i+1)*slotSize]); err != nil {
			return err
		}
	}
	return nil
}

// covered is what the seal covers.
func (r *Record) covered() []byte {
	b := make([]byte, recordHeader+len(r.DEKID), recordHeader+len(r.DEKID)+(len(r.Body)/slotSize+1)*(slotHeader+tagSize))
	r.putHeader(b)
	if !r.paged() {
		return append(b, r.Body...)
	}
	for i := 0; i+slotSize <= len(r.Body); i += slotSize {
		b = append(b, r.Body[i:i+slotHeader]...)
		b = append(b, r.Body[i+slotSeal:i+slotSize]...)
	}
	return b
}

// seal fills Seal in; k is nil for a plain record.
func (r *Record) seal(k *dek, random io.Reader) error {
	if k == nil {
		r.Seal = binary.LittleEndian.AppendUint32(nil, crc32.Checksum(r.covered(), castagnoli))
		return nil
	}
	nonce := make([]byte, nonceSize, sealedSeal)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return fmt.Errorf("reading random bytes: %w", err)
	}
	r.Seal = k.aead.Seal(nonce, nonce, nil, r.covered())
	return nil
}

// verify checks the seal; k is the DEK of DEKID, nil for a plain record.
func (r *Record) verify(k *dek) error {
	if r.DEKID == "" {
		if len(r.Seal) != plainSeal || binary.LittleEndian.Uint32(r.Seal) != crc32.Checksum(r.covered(), castagnoli) {
			return fmt.Errorf("log record %d: checksum does not match: %w", r.LSN, ErrCorrupt)
		}
		return nil
	}
	if k == nil {
		return fmt.Errorf("log record %d: sealed under an unknown database encryption key: %w", r.LSN, ErrCorrupt)
	}
	if len(r.Seal) != sealedSeal {
		return fmt.Errorf("log record %d: seal has %d bytes: %w", r.LSN, len(r.Seal), ErrCorrupt)
	}
	if _, err := k.aead.Open(nil, r.Seal[:nonceSize], r.Seal[nonceSize:], r.covered()); err != nil {
		return fmt.Errorf("log record %d: seal is broken: %w", r.LSN, ErrCorrupt)
	}
	return nil
}

// AppendBinary appends the record in the form that it has in the log. ParseRecord reads it.
func (r Record) AppendBinary(b []byte) ([]byte, error) {
	if len(r.DEKID) > 255 || len(r.Seal) != sealLength(r.DEKID) || r.size() > maxRecord {
		return b, fmt.Errorf("log record %d is malformed: id of %d, seal of %d, body of %d bytes", r.LSN, len(r.DEKID), len(r.Seal), len(r.Body))
	}
	n := len(b)
	b = append(b, make([]byte, recordHeader+len(r.DEKID))...)
	r.putHeader(b[n:])
	b = append(b, r.Body...)
	return append(b, r.Seal...), nil
}

// ParseRecord reads one record, which must be all of b. It checks the form; Apply checks the seals. The record keeps no
// part of b.
func ParseRecord(b []byte) (Record, error) {
	r, err := parseRecord(b)
	if err != nil {
		return Record{}, err
	}
	r.Body = append([]byte(nil), r.Body...)
	r.Seal = append([]byte(nil), r.Seal...)
	return r, nil
}

// parseRecord is ParseRecord with Body and Seal parts of b.
func parseRecord(b []byte) (Record, error) {
	bad := func(what string) (Record, error) {
		return Record{}, fmt.Errorf("log record: %s: %w", what, ErrCorrupt)
	}
	switch {
	case len(b) < recordHeader:
		return bad("too short")
	case binary.LittleEndian.Uint32(b) != recordMagic:
		return bad("no record here")
	case uint64(binary.LittleEndian.Uint32(b[4:])) != uint64(len(b)):
		return bad("length does not match")
	case b[58] != 0 || b[59] != 0:
		return bad("reserved bytes are set")
	}
	r := Record{
		LSN: LSN(binary.LittleEndian.Uint64(b[8:])), Epoch: binary.LittleEndian.Uint64(b[16:]), Kind: RecordKind(b[56]),
		Time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[24:]))).UTC(),
		Before: binary.LittleEndian.Uint64(b[32:]), After: binary.LittleEndian.Uint64(b[40:]),
		Pages: binary.LittleEndian.Uint32(b[48:]), Scan: binary.LittleEndian.Uint32(b[52:]),
	}
	if r.Kind < RecordTransaction || r.Kind > RecordScanEnd {
		return bad("unknown kind")
	}
	idLength, bodyLength := int(b[57]), int(binary.LittleEndian.Uint32(b[60:]))
	b = b[recordHeader:]
	if idLength > len(b) {
		return bad("id does not fit")
	}
	r.DEKID = string(b[:idLength])
	b = b[idLength:]
	if bodyLength > len(b) || len(b)-bodyLength != sealLength(r.DEKID) {
		return bad("body does not fit")
	}
	if r.paged() && bodyLength%slotSize != 0 {
		return bad("body is no page set")
	}
	r.Body, r.Seal = b[:bodyLength:bodyLength], b[bodyLength:]
	return r, nil
}
