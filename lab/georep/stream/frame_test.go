package stream_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

func encode(t testing.TB, payloads ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stream.NewWriter(&b, "TEST")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range payloads {
		if err := w.Write(stream.Kind(i%3+1), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// decode reads to the end; the frames before an error come back too.
func decode(from io.Reader) (frames []stream.Frame, err error) {
	r, err := stream.NewReader(from, "TEST")
	if err != nil {
		return nil, err
	}
	for {
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, stream.Frame{Kind: f.Kind, Payload: bytes.Clone(f.Payload)})
	}
}

func TestFrames(t *testing.T) {
	payloads := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), stream.MaxPayload), []byte("four")}
	whole := encode(t, payloads...)

	t.Run("what is written is read back in its order", func(t *testing.T) {
		frames, err := decode(bytes.NewReader(whole))
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames {
			if f.Kind != stream.Kind(i%3+1) || !bytes.Equal(f.Payload, payloads[i]) {
				t.Errorf("frame %d: kind %d, %d bytes", i, f.Kind, len(f.Payload))
			}
		}
		if len(frames) != len(payloads) {
			t.Errorf("%d frames, want %d", len(frames), len(payloads))
		}
	})
	t.Run("a payload over the limit is refused when written", func(t *testing.T) {
		w, err := stream.NewWriter(io.Discard, "TEST")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(1, make([]byte, stream.MaxPayload+1)); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("a stream for another purpose is refused", func(t *testing.T) {
		if _, err := stream.NewReader(bytes.NewReader(whole), "BACK"); !errors.Is(err, stream.ErrDamaged) {
			t.Errorf("error %v, want ErrDamaged", err)
		}
	})
	t.Run("a transport's own error stays what it is", func(t *testing.T) {
		broken := errors.New("cable cut")
		_, err := decode(io.MultiReader(bytes.NewReader(whole[:40]), failingReader{broken}))
		if !errors.Is(err, broken) || errors.Is(err, stream.ErrDamaged) {
			t.Errorf("error %v, want the transport's", err)
		}
	})
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func TestDamage(t *testing.T) {
	payloads := [][]byte{[]byte("first"), []byte("second, longer"), {}, []byte("last")}
	whole := encode(t, payloads...)
	want, err := decode(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}

	t.Run("every flipped bit is an error, and only true frames come before it", func(t *testing.T) {
		for bit := range len(whole) * 8 {
			bad := bytes.Clone(whole)
			bad[bit/8] ^= 1 << (bit % 8)
			got, err := decode(bytes.NewReader(bad))
			if !errors.Is(err, stream.ErrDamaged) {
				t.Fatalf("bit %d: error %v, want ErrDamaged", bit, err)
			}
			if diff := cmp.Diff(want[:len(got)], got); diff != "" && len(got) > 0 {
				t.Fatalf("bit %d: a false frame was given (-want +got):\n%s", bit, diff)
			}
		}
	})
	t.Run("every cut within a frame is an error", func(t *testing.T) {
		ends := map[int]bool{}
		at := 12
		for _, p := range payloads {
			ends[at] = true
			at += 13 + len(p) + 4
		}
		ends[at] = true
		for n := range whole {
			_, err := decode(bytes.NewReader(whole[:n]))
			if got := errors.Is(err, stream.ErrDamaged); got == ends[n] {
				t.Errorf("cut after %d bytes: error %v", n, err)
			}
		}
	})
	t.Run("a lost, doubled or swapped frame is an error", func(t *testing.T) {
		first, second := whole[12:12+22], whole[34:34+31]
		for name, body := range map[string][]byte{
			"lost":    second,
			"doubled": append(bytes.Clone(first), first...),
			"swapped": append(bytes.Clone(second), first...),
		} {
			_, err := decode(bytes.NewReader(append(bytes.Clone(whole[:12]), body...)))
			if !errors.Is(err, stream.ErrDamaged) {
				t.Errorf("%s: error %v, want ErrDamaged", name, err)
			}
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add(encode(f))
	f.Add(encode(f, []byte("one"), nil, bytes.Repeat([]byte{7}, 5000)))
	f.Add([]byte("CKST"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frames, err := decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		// What was accepted whole must be exactly what a Writer writes.
		var b bytes.Buffer
		w, err := stream.NewWriter(&b, "TEST")
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range frames {
			if err := w.Write(frame.Kind, frame.Payload); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), data) {
			t.Errorf("accepted %d bytes that are not a stream's own", len(data))
		}
	})
}

func TestMessages(t *testing.T) {
	const limit = 5 << 20
	var b bytes.Buffer
	w, err := stream.NewWriter(&b, "TEST")
	if err != nil {
		t.Fatal(err)
	}
	values := [][]byte{nil, []byte("short"), bytes.Repeat([]byte("0123456789"), 300_000), make([]byte, stream.MaxPayload), make([]byte, stream.MaxPayload*2)}
	for i, v := range values {
		if err := w.WriteMessage(stream.Kind(i+1), v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Run("a message of any length arrives as it was sent", func(t *testing.T) {
		r, err := stream.NewReader(bytes.NewReader(b.Bytes()), "TEST")
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			f, err := r.ReadMessage(limit)
			if err != nil || f.Kind != stream.Kind(i+1) || !bytes.Equal(f.Payload, v) {
				t.Fatalf("message %d: kind %d, %d bytes, %v", i, f.Kind, len(f.Payload), err)
			}
		}
		if _, err := r.ReadMessage(limit); !errors.Is(err, io.EOF) {
			t.Errorf("error %v, want io.EOF", err)
		}
	})
	t.Run("a message over the reader's limit, or cut between its frames, is an error", func(t *testing.T) {
		var long bytes.Buffer
		w, err := stream.NewWriter(&long, "TEST")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.WriteMessage(1, make([]byte, 3*stream.MaxPayload)), w.Flush()); err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string][]byte{"long": long.Bytes(), "cut": long.Bytes()[:12+13+stream.MaxPayload+4]} {
			r, err := stream.NewReader(bytes.NewReader(from), "TEST")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.ReadMessage(2 * stream.MaxPayload); !errors.Is(err, stream.ErrDamaged) {
				t.Errorf("%s: error %v, want ErrDamaged", name, err)
			}
		}
	})
}
