package azure

import "net/http"

// hintFor says what a person can do about a refusal.
// Source: https://learn.microsoft.com/sql/relational-databases/security/encryption/troubleshoot-tde
func hintFor(code string, status int) string {
	if hint, known := hints()[code]; known {
		return hint
	}
	switch {
	case status == http.StatusUnauthorized:
		return "sign in again (az login), or check AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
	case status == http.StatusForbidden:
		return "the signed-in identity lacks a permission: docs/permissions.md lists what is needed"
	case status == http.StatusNotFound:
		return "check the names, the resource group and --subscription"
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return "try again later"
	}
	return "nothing more was called; look with crosskeys inspect, and plan again"
}

func hints() map[string]string {
	const (
		registerFirst = "register the key on every geo-linked server first; crosskeys plan does it in the right order"
		grant         = "grant the server's identity get, wrapKey and unwrapKey on the key's vault; a grant takes about ten minutes. crosskeys plan --grant plans it"
		later         = "another change is running; try again when it has ended"
		reachVault    = "check that the vault stands, its name resolves, and its firewall lets trusted Microsoft services through"
	)
	return map[string]string{
		"SameKeyMaterialNotFoundOnRemoteServer":     registerFirst,
		"KeyMaterialNotFoundOnRemoteServer":         "a geo-linked server cannot use the key: " + grant,
		"SameKeyUriNotFoundOnRemoteServer":          "auto-rotation asks for the same key of the same vault on the partner: register it there, or turn auto-rotation off",
		"ServerKeyNotFound":                         registerFirst,
		"ServerKeyDoesNotExists":                    registerFirst,
		"AzureKeyVaultMissingPermissions":           grant,
		"UmiMissingAkvPermissions":                  grant,
		"AzureKeyVaultNoServerIdentity":             "assign an identity to the server: az sql server update --assign-identity",
		"AzureKeyVaultKeyDisabled":                  "enable the key: az keyvault key set-attributes --enabled true",
		"AzureKeyVaultInvalidExpirationDate":        "the key has expired: give it a later date, or make a new version and plan for that",
		"AzureKeyVaultRsaKeyNotSupported":           "use an RSA or RSA-HSM key of 2048 or 3072 bits",
		"SecurityInvalidAzureKeyVaultRecoveryLevel": "turn purge protection on: az keyvault update --enable-purge-protection true (it cannot be turned off again)",
		"OldGenerationOfAKVKeyBeingUsedError":       "a protector cannot go to an older version of its key: plan for the newest version, or for another key",
		"AzureKeyVaultKeyInUse":                     "the key is the protector or still wraps a database's key: leave it registered",
		"AzureKeyVaultKeyUsedOnGeoPrimary":          "the key protects the geo-primary of this server's replicas: leave it registered",
		"CMKOperationNotAllowed":                    "the server cannot use its present protector: give it back its access to that key first, then revalidate",
		"EncryptionProtectorChangeInProgress":       later,
		"FailoverGroupBusy":                         later,
		"AzureKeyVaultConnectionFailed":             reachVault,
		"AzureKeyVaultGenericConnectionError":       reachVault,
		"AkvHostNotResolvingFromNode":               reachVault,
		"AkvEndpointNotReachableFromNode":           reachVault,
		"FailoverGroupFailoverRequestOnPrimary":     "a failover is asked of the secondary; the roles have changed, so plan again",
		"FailoverGroupNotSecondary":                 "a failover is asked of the secondary; the roles have changed, so plan again",
		"PlannedFailoverTimedOutForDatabase":        "the failover was rolled back and the roles are as before: check replication and that the partner can open every database",
		"PlannedFailoverTimedOut":                   "the failover was rolled back and the roles are as before: the partner could not be reached",
		"AuthorizationFailed":                       "the signed-in identity lacks a permission: docs/permissions.md lists what is needed",
		"SubscriptionNotFound":                      "check --subscription; az account list shows what the signed-in identity sees",
		"ResourceGroupNotFound":                     "check --resource-group",
	}
}
