package georep

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

// message is one message of a conversation, for seeds.
type message struct {
	kind stream.Kind
	data []byte
}

func conversationBytes(f *testing.F, messages ...message) []byte {
	f.Helper()
	var b bytes.Buffer
	w, err := stream.NewWriter(&b, purpose)
	for _, m := range messages {
		err = errors.Join(err, w.WriteMessage(m.kind, m.data))
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

// FuzzStream gives each side of a connection bytes that its peer may not have
// written: every answer is a message of the protocol or an error.
func FuzzStream(f *testing.F) {
	record, err := engine.Record{LSN: 3, Epoch: 1, Kind: engine.RecordScanEnd, Time: time.Unix(1, 0), Seal: make([]byte, 4)}.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	page := append([]byte{1, 0, 0, 0}, make([]byte, engine.PageSize)...)
	f.Add(conversationBytes(f, message{kindHello, []byte(`{"link":"l","seeded":true,"epoch":1,"lsn":7}`)}, message{kindAck, appendAck(nil, position{lsn: 7, at: time.Unix(1, 0)})}))
	f.Add(conversationBytes(f, message{kindBegin, []byte(`{"epoch":1,"after":7}`)}, message{kindRecord, record}, message{kindRecord, record}))
	f.Add(conversationBytes(f, message{kindBegin, []byte(`{"seed":{"lsn":2,"pages":1},"epoch":1}`)}, message{kindPage, page}, message{kindSeedEnd, nil}))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzSecondary(t, data)
		fuzzPrimary(t, data)
	})
}

// fuzzSecondary reads as a secondary does.
func fuzzSecondary(t *testing.T, data []byte) {
	in, err := stream.NewReader(bytes.NewReader(data), purpose)
	if err != nil {
		return
	}
	var peer begin
	if readJSON(in, kindBegin, &peer) != nil {
		return
	}
	if peer.Seed != nil {
		pages := &receivedPages{in: in, info: *peer.Seed}
		for err == nil {
			_, err = pages.Next(t.Context())
		}
		if !errors.Is(err, io.EOF) {
			return
		}
	}
	for {
		records, err := receive(in)
		for _, r := range records {
			if _, err := r.AppendBinary(nil); err != nil {
				t.Errorf("a record was taken that has no form: %v", err)
			}
		}
		if err != nil {
			return
		}
	}
}

// fuzzPrimary reads as a primary does.
func fuzzPrimary(t *testing.T, data []byte) {
	in, err := stream.NewReader(bytes.NewReader(data), purpose)
	if err != nil {
		return
	}
	var peer hello
	if readJSON(in, kindHello, &peer) != nil {
		return
	}
	for {
		frame, err := in.ReadMessage(stream.MaxPayload)
		if err != nil {
			return
		}
		at, err := parseAck(frame)
		if err != nil {
			return
		}
		if again, err := parseAck(stream.Frame{Kind: kindAck, Payload: appendAck(nil, at)}); err != nil || again != at {
			t.Errorf("acknowledgement %+v is read as %+v (%v)", at, again, err)
		}
	}
}
