package sqlserver

import (
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/tde"
)

// parseKeyURI checks a key URI as Azure SQL does and gives it in its normal
// form with the server key's name.
func parseKeyURI(uri string) (tde.KeyID, error) {
	if strings.TrimSpace(uri) == "" {
		return tde.KeyID{}, arm.Refuse(http.StatusBadRequest, "SecurityAzureKeyVaultUrlNullOrEmpty", "The operation could not be completed because the Azure Key Vault Uri is null or empty.")
	}
	id, err := tde.ParseKeyID(uri)
	if err != nil || id.Versionless() || !isVaultHost(id.Host) {
		return tde.KeyID{}, arm.Refuse(http.StatusBadRequest, "AzureKeyVaultMalformedVaultUri",
			"The provided Key Vault uri '%s' is not valid. Please ensure the uri contains the vault, key, and key version information. An example valid uri looks like 'https://YOUR_VAULT_NAME.vault.azure.net/keys/YOUR_KEY_NAME/YOUR_KEY_VERSION'. Please ensure the vault belongs to an endpoint from the list of supported endpoints available at: https://aka.ms/sqltdebyoktenantid.", uri)
	}
	if len(id.Vault())+len(id.Name) > tde.MaxServerKeyNameLength {
		return tde.KeyID{}, invalidKeyName(id.ServerKeyName())
	}
	return id, nil
}

func invalidKeyName(name string) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "SecurityAzureKeyVaultInvalidKeyName",
		"The operation could not be completed because '%s' is an invalid Server Key name. Please provide a key name in the format of 'vault_key_version'. For example, if the keyId is https://YourVaultName.vault.azure.net/keys/YourKeyName/01234567890123456789012345678901, then the Server Key Name should be formatted as: YourVaultName_YourKeyName_01234567890123456789012345678901.", name)
}

// isVaultHost reports whether the host belongs to Key Vault in one of the
// clouds.
func isVaultHost(host string) bool {
	_, domain, _ := strings.Cut(host, ".")
	switch domain {
	case "vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net", "managedhsm.azure.net":
		return true
	}
	return false
}
