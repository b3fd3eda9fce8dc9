package engine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// A slot is a page as it lies in the log and in the page file:
//
//	 0  LSN of the record that wrote it   8 bytes
//	 8  page number                       4
//	12  format: 1 plain, 2 sealed         1
//	13  zero                              3
//	16  nonce                            12
//	28  tag of the DEK, 0 for plain       4
//	32  the page                       8192
//	8224  GCM's tag, or CRC-32C and zeros 16
const (
	slotHeader = 32
	slotSeal   = slotHeader + PageSize
	slotSize   = slotSeal + tagSize

	formatPlain  = 1
	formatSealed = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func slotLSN(slot []byte) LSN       { return LSN(binary.LittleEndian.Uint64(slot)) }
func slotPage(slot []byte) uint32   { return binary.LittleEndian.Uint32(slot[8:]) }
func slotKeyTag(slot []byte) uint32 { return binary.LittleEndian.Uint32(slot[28:]) }

// slotSum is a page's share in the database's checksum. It is taken of the slot's header and seal: these bind number, LSN
// and contents, and no page has to be read again for it. It is not linear, so that exchanges do not cancel out when the
// shares are XORed.
func slotSum(header, seal []byte) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for i := 0; i < slotHeader; i += 8 {
		h = fold(h, binary.LittleEndian.Uint64(header[i:]))
	}
	h = fold(h, binary.LittleEndian.Uint64(seal))
	h = fold(h, binary.LittleEndian.Uint64(seal[8:]))
	return fold(h, slotSize)
}

func fold(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w^0xa0761d6478bd642f, 0xe7037ed1a0b428db^bits.RotateLeft64(h, 32))
	return hi ^ lo ^ w
}

func sumOf(slot []byte) uint64 { return slotSum(slot[:slotHeader], slot[slotSeal:slotSize]) }

// sealSlot fills a slot with a page; k is nil for a plain one. The nonce must not have been used with the key before.
func sealSlot(slot []byte, k *dek, lsn LSN, number uint32, page, nonce []byte) {
	binary.LittleEndian.PutUint64(slot, uint64(lsn))
	binary.LittleEndian.PutUint32(slot[8:], number)
	clear(slot[12:slotHeader])
	if k == nil {
		slot[12] = formatPlain
		copy(slot[slotHeader:slotSeal], page)
		clear(slot[slotSeal:slotSize])
		binary.LittleEndian.PutUint32(slot[slotSeal:], crc32.Checksum(slot[:slotSeal], castagnoli))
		return
	}
	slot[12] = formatSealed
	copy(slot[16:28], nonce)
	binary.LittleEndian.PutUint32(slot[28:], k.tag)
	var aad [slotHeader + 255]byte
	k.aead.Seal(slot[slotHeader:slotHeader], slot[16:28], page, slotAAD(aad[:0], slot, k))
}

// slotAAD is the additional data of a seal: the slot's header, which has the page number and the LSN, and the DEK's id.
func slotAAD(b, slot []byte, k *dek) []byte {
	return append(append(b, slot[:slotHeader]...), k.id...)
}

// openSlot checks a slot and gives its page: a part of the slot itself, which it decrypts in place.
func (r *keyring) openSlot(slot []byte, number uint32) ([]byte, error) {
	if got := slotPage(slot); got != number {
		return nil, fmt.Errorf("page %d: slot is of page %d: %w", number, got, ErrCorrupt)
	}
	switch slot[12] {
	case formatPlain:
		if err := checkPlain(slot); err != nil {
			return nil, fmt.Errorf("page %d: %w", number, err)
		}
		return slot[slotHeader:slotSeal], nil
	case formatSealed:
		k := r.byTag(slotKeyTag(slot))
		if k == nil {
			return nil, fmt.Errorf("page %d: sealed under an unknown database encryption key: %w", number, ErrCorrupt)
		}
		var aad [slotHeader + 255]byte
		page, err := k.aead.Open(slot[slotHeader:slotHeader], slot[16:28], slot[slotHeader:slotSize], slotAAD(aad[:0], slot, k))
		if err != nil {
			return nil, fmt.Errorf("page %d: seal is broken: %w", number, ErrCorrupt)
		}
		return page, nil
	default:
		return nil, fmt.Errorf("page %d: unknown format %d: %w", number, slot[12], ErrCorrupt)
	}
}

func checkPlain(slot []byte) error {
	seal := slot[slotSeal:slotSize]
	if binary.LittleEndian.Uint32(seal) != crc32.Checksum(slot[:slotSeal], castagnoli) {
		return fmt.Errorf("checksum does not match: %w", ErrCorrupt)
	}
	if binary.LittleEndian.Uint64(seal[4:])|uint64(binary.LittleEndian.Uint32(seal[12:])) != 0 {
		return fmt.Errorf("checksum is followed by other bytes: %w", ErrCorrupt)
	}
	return nil
}
