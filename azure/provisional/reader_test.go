package provisional

import "testing"

func TestRowIsRead(t *testing.T) {
	row, err := parse([]byte(`{"encryption_state":3,"encryptor_type":"ASYMMETRIC KEY","encryptor_thumbprint":"0xab","key_algorithm":"AES","key_length":256}`))
	if err != nil || row.State != 3 || row.Thumbprint != "AB" || row.KeyLength != 256 {
		t.Fatalf("%+v %v", row, err)
	}
	if _, err := parse([]byte("not JSON")); err == nil {
		t.Fatal("what is no JSON was read")
	}
}

// Whatever the endpoint answers is read or refused.
func FuzzRow(f *testing.F) {
	f.Add([]byte(`{"encryption_state":3}`))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parse(text) })
}
