package tds

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// tedious reads the answer that it has begun to read to its end, and then looks for the
// acknowledgement in a message of its own.
func TestAttentionIsAcknowledgedInAMessageOfItsOwn(t *testing.T) {
	for name, begun := range map[string]bool{"before the first row": false, "in the middle of rows": true} {
		t.Run(name, func(t *testing.T) {
			var wire bytes.Buffer
			r := &reply{out: newPacketWriter(&wire, packetReply, minPacketSize), cancelled: func() error { return ErrAttention }}
			if begun {
				r.cancelled = func() error { return nil }
				if err := r.Columns([]sqltype.Column{{Name: "a", Type: sqltype.Type{Kind: sqltype.Int}}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.attend(); err != nil {
				t.Fatal(err)
			}
			reader := packetReader{r: &wire, limit: 1 << 16}
			var last []uint16
			for wire.Len() > 0 {
				m, err := reader.next()
				if err != nil {
					t.Fatal(err)
				}
				done := m.body[len(m.body)-13:]
				if done[0] != tokenDone {
					t.Fatalf("a message ends in % x", done)
				}
				last = append(last, binary.LittleEndian.Uint16(done[1:]))
			}
			if len(last) != 2 || last[0]&(doneAttention|doneMore) != 0 || last[1] != doneAttention {
				t.Errorf("the messages end in DONE with %x", last)
			}
		})
	}
}
