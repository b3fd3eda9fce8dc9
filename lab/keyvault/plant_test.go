package keyvault_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab/latency"
)

func TestPlantedKeyHasTheVersionGiven(t *testing.T) {
	const version = "e0637ed7e3734f989b928101c79ca565"
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-plant", nil)
	for range 2 { // planting again changes nothing
		if err := w.service.PlantKey("kv-plant", "k", version); err != nil {
			t.Fatal(err)
		}
	}
	client := w.keys(t, "kv-plant")
	got := must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "k", "", nil))
	if got.Key.KID.Version() != version || w.versions(t, "kv-plant") != 1 {
		t.Errorf("planted as %s", *got.Key.KID)
	}
	must[azkeys.WrapKeyResponse](t)(client.WrapKey(t.Context(), "k", version, azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP), Value: []byte("dek")}, nil))
	if err := w.service.PlantKey("kv-none", "k", version); err == nil {
		t.Error("a key was planted in a vault that there is not")
	}
}
