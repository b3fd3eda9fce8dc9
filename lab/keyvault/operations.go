package keyvault

// The operations of the data plane. The cryptographic ones are named as their
// path's last word.
const (
	opList              = "list"
	opGet               = "get"
	opVersions          = "versions"
	opCreate            = "create"
	opImport            = "import"
	opUpdate            = "update"
	opDelete            = "delete"
	opListDeleted       = "listdeleted"
	opGetDeleted        = "getdeleted"
	opRecover           = "recover"
	opPurge             = "purge"
	opBackup            = "backup"
	opRestore           = "restore"
	opRotate            = "rotate"
	opGetRotationPolicy = "getrotationpolicy"
	opSetRotationPolicy = "setrotationpolicy"
	opEncrypt           = "encrypt"
	opDecrypt           = "decrypt"
	opSign              = "sign"
	opVerify            = "verify"
	opWrap              = "wrapkey"
	opUnwrap            = "unwrapkey"
	opContacts          = "contacts"
	opUnsupported       = "unsupported"
)

// operation says what permission an operation asks for, and does it.
type operation struct {
	permission string // in access policies; empty for none
	dataAction string // in role definitions
	run        func(*Service, *call) (any, error)
}

// dataOperations are the operations by name.
// Sources: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#key-access-control,
// https://learn.microsoft.com/azure/role-based-access-control/permissions/security#microsoftkeyvault
func dataOperations() map[string]operation {
	const keys = "Microsoft.KeyVault/vaults/keys/"
	const policies = "Microsoft.KeyVault/vaults/keyrotationpolicies/"
	return map[string]operation{
		opList:              {"list", keys + "read", (*Service).listKeys},
		opGet:               {"get", keys + "read", (*Service).getKey},
		opVersions:          {"list", keys + "read", (*Service).listVersions},
		opCreate:            {"create", keys + "create/action", (*Service).createKey},
		opImport:            {"import", keys + "import/action", (*Service).importKey},
		opUpdate:            {"update", keys + "update/action", (*Service).updateKey},
		opDelete:            {"delete", keys + "delete", (*Service).deleteKey},
		opListDeleted:       {"list", keys + "read", (*Service).listDeletedKeys},
		opGetDeleted:        {"get", keys + "read", (*Service).getDeletedKey},
		opRecover:           {"recover", keys + "recover/action", (*Service).recoverKey},
		opPurge:             {"purge", keys + "purge/action", (*Service).purgeKey},
		opBackup:            {"backup", keys + "backup/action", (*Service).backupKey},
		opRestore:           {"restore", keys + "restore/action", (*Service).restoreKey},
		opRotate:            {"rotate", keys + "rotate/action", (*Service).rotateKey},
		opGetRotationPolicy: {"getrotationpolicy", policies + "read", (*Service).getRotationPolicy},
		opSetRotationPolicy: {"setrotationpolicy", policies + "write", (*Service).setRotationPolicy},
		opEncrypt:           {"encrypt", keys + "encrypt/action", (*Service).encrypt},
		opDecrypt:           {"decrypt", keys + "decrypt/action", (*Service).decrypt},
		opSign:              {"sign", keys + "sign/action", (*Service).sign},
		opVerify:            {"verify", keys + "verify/action", (*Service).verify},
		opWrap:              {"wrapKey", keys + "wrap/action", (*Service).encrypt},
		opUnwrap:            {"unwrapKey", keys + "unwrap/action", (*Service).decrypt},
		opContacts:          {"", "", (*Service).getContacts},
		opUnsupported:       {"", "", (*Service).refuseUnsupported},
	}
}

// dataVersions are the data plane's api-versions.
// Source: https://github.com/Azure/azure-rest-api-specs/tree/main/specification/keyvault/data-plane
func dataVersions() []string {
	return []string{
		"2015-06-01", "2016-10-01", "7.0", "7.0-preview", "7.1", "7.1-preview", "7.2", "7.2-preview", "7.3", "7.3-preview", "7.4", "7.4-preview.1",
		"7.5", "7.5-preview.1", "7.6", "7.6-preview.1", "7.6-preview.2", "2025-06-01-preview", "2025-07-01", "2026-01-01-preview",
	}
}

// latestVersion is the newest of them that is not a preview.
const latestVersion = "2025-07-01"
