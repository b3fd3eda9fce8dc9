package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// pageFile is the page file of an open database, with the sum of each page in it: a page whose slot has another sum is not
// the one that was last written there.
type pageFile struct {
	file *os.File
	mu   sync.RWMutex
	sums []uint64
}

func openPageFile(dir string, flag int) (*pageFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, dataName), os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening page file: %w", err)
	}
	return &pageFile{file: f}, nil
}

func (p *pageFile) sum(number uint32) uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if number == 0 || int(number) > len(p.sums) {
		return 0
	}
	return p.sums[number-1]
}

// loadSums reads the headers and seals of the first pages. A slot past the file's end counts as 0.
func (p *pageFile) loadSums(pages uint32) error {
	p.sums = make([]uint64, pages)
	var between [tagSize + slotHeader]byte
	header := make([]byte, slotHeader)
	if _, err := p.file.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading page file: %w", err)
	}
	for i := range p.sums {
		n, err := p.file.ReadAt(between[:], int64(i+1)*slotSize-tagSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading page file: %w", err)
		}
		if n < tagSize {
			break
		}
		p.sums[i] = slotSum(header, between[:tagSize])
		copy(header, between[tagSize:])
	}
	return nil
}

// read fills slot with a page's slot.
func (p *pageFile) read(number uint32, slot []byte) error {
	if _, err := p.file.ReadAt(slot[:slotSize], int64(number-1)*slotSize); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("page %d: page file ends before it: %w", number, ErrCorrupt)
		}
		return fmt.Errorf("page %d: reading page file: %w", number, err)
	}
	return nil
}

// slotWriter writes slots in ascending order, neighbours together.
type slotWriter struct {
	file  *os.File
	first uint32
	buf   []byte
}

const slotRun = 64

// next gives the slot to fill for a page.
func (w *slotWriter) next(number uint32) ([]byte, error) {
	if n := uint32(len(w.buf) / slotSize); n == slotRun || n > 0 && number != w.first+n {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	if len(w.buf) == 0 {
		w.first = number
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, slotRun*slotSize)
	}
	w.buf = w.buf[:len(w.buf)+slotSize]
	return w.buf[len(w.buf)-slotSize:], nil
}

func (w *slotWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(w.buf, int64(w.first-1)*slotSize); err != nil {
		return fmt.Errorf("writing page file: %w", err)
	}
	w.buf = w.buf[:0]
	return nil
}
