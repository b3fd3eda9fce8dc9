package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

// principalOf is the object id with which the server reaches its vaults.
func (s *Service) principalOf(server Server) (string, error) {
	if server.Identity.Primary != "" {
		var identity UserAssignedIdentity
		found := false
		err := s.Store.View(func(tx *store.Tx) (err error) {
			identity, found, err = s.Identities.FindIdentity(tx, server.Identity.Primary)
			return err
		})
		if err != nil {
			return "", err
		}
		if found {
			return identity.PrincipalID, nil
		}
	}
	if server.Identity.PrincipalID == "" {
		return "", noServerIdentity(server)
	}
	return server.Identity.PrincipalID, nil
}

func noServerIdentity(server Server) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultNoServerIdentity",
		`The server identity is not correctly configured on server '%s'. Follow the steps in "Assign an Azure AD identity to your server" (https://aka.ms/sqltdebyoksetup)`, server.Name)
}

func serverKeyMissing(server Server, key string) *arm.Error {
	return arm.Refuse(http.StatusConflict, "ServerKeyDoesNotExists", "Server key '%s' does not exist on server '%s'. Make sure that the server key name is entered correctly.", key, server.Name)
}

// neededPermissions are what TDE asks of a vault.
const neededPermissions = "Get, WrapKey, UnwrapKey"

// keyRefusal says a vault's refusal in Azure SQL's words.
// Source: https://learn.microsoft.com/sql/relational-databases/security/encryption/troubleshoot-tde
func (s *Service) keyRefusal(server Server, uri string, err error) error {
	failure, ok := errors.AsType[*VaultError](err)
	if !ok {
		return err
	}
	switch {
	case failure.Code == "KeyDisabled":
		return keyDisabled(server, uri)
	case failure.Code == "VaultNotFound":
		return arm.Refuse(http.StatusBadRequest, "AkvHostNotResolvingFromNode", "AKV host '%s' is not resolvable from SQL, on server '%s'.", hostOf(uri), server.Name)
	case failure.Status == http.StatusNotFound:
		return arm.Refuse(http.StatusConflict, "AzureKeyVaultKeyNameNotFound", "The operation could not be completed because the Azure Key Vault Key name '%s' does not exist.", keyNameOf(uri))
	case failure.Status == http.StatusUnauthorized, failure.Status == http.StatusForbidden, failure.Status == http.StatusBadRequest:
		return s.missingPermissions(server, uri)
	}
	return arm.Refuse(http.StatusServiceUnavailable, "AzureKeyVaultConnectionFailed",
		"The operation could not be completed on server '%s' because attempts to connect to Azure Key Vault '%s' have failed", server.Name, uri)
}

func keyDisabled(server Server, uri string) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultKeyDisabled",
		"The operation could not be completed on server '%s' because the Azure Key Vault key '%s' is disabled.", server.Name, uri)
}

func (s *Service) missingPermissions(server Server, uri string) error {
	principal, err := s.principalOf(server)
	if err != nil {
		return err
	}
	if server.Identity.Primary != "" {
		return arm.Refuse(http.StatusBadRequest, "UmiMissingAkvPermissions",
			"The managed identity with ID '%s' requires the following Azure Key Vault permissions: '%s' to the key '%s'. Please grant the missing permissions to the identity. (https://aka.ms/sqltdebyokcreateserver)",
			principal, neededPermissions, uri)
	}
	return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultMissingPermissions",
		"The server '%s' requires the following Azure Key Vault permissions: '%s'. Please grant the missing permissions to the service principal with ID '%s'. (https://aka.ms/sqltdebyoksetup)",
		server.Name, neededPermissions, principal)
}

func hostOf(uri string) string {
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return uri
	}
	return key.Host
}

func keyNameOf(uri string) string {
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return uri
	}
	return key.ServerKeyName()
}

// examineKey reads a key as the server's identity and refuses one that Azure
// SQL would not take: kind, size, state, dates, recovery level, permissions.
// It ends with a real wrap and unwrap.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (s *Service) examineKey(ctx context.Context, server Server, uri string) (KeyInfo, error) {
	principal, err := s.principalOf(server)
	if err != nil {
		return KeyInfo{}, err
	}
	info, err := s.Vault.Get(ctx, principal, uri)
	if err != nil {
		return KeyInfo{}, s.keyRefusal(server, uri, err)
	}
	if err := s.judgeKey(server, uri, info); err != nil {
		return KeyInfo{}, err
	}
	return info, s.probeKey(ctx, server, uri)
}

func (s *Service) judgeKey(server Server, uri string, info KeyInfo) error {
	now := s.Clock.Now()
	switch {
	case info.Kty != "RSA" && info.Kty != "RSA-HSM", info.Bits != 2048 && info.Bits != 3072:
		return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultRsaKeyNotSupported",
			"The operation could not be completed because the Azure Key Vault key '%s' is not supported. The supported RSA key size is 2048 or 3072 and Key Type is RSA or RSA-HSM.", uri)
	case info.Exponent != 65537:
		return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultRsaKeyNotSupported",
			"The provided Azure Key Vault key '%s' uses unsupported RSA Key Exponent. Exponent value: '%d'.", uri, info.Exponent)
	case !info.Enabled:
		return keyDisabled(server, uri)
	case !info.Expires.IsZero() && !info.Expires.After(now):
		return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultInvalidExpirationDate",
			"The operation could not be completed on server '%s' because the Azure Key Vault key '%s' expiration date is invalid.", server.Name, uri)
	case info.NotBefore.After(now):
		return s.missingPermissions(server, uri)
	case !strings.HasPrefix(info.RecoveryLevel, "Recoverable") && !strings.HasPrefix(info.RecoveryLevel, "CustomizedRecoverable"), strings.Contains(info.RecoveryLevel, "Purgeable"):
		return arm.Refuse(http.StatusBadRequest, "SecurityInvalidAzureKeyVaultRecoveryLevel",
			"The provided Key Vault uri '%s' is not valid. Please ensure the key vault has been configured with soft-delete and purge protection. (https://aka.ms/sqltdebyoksoftdelete)", uri)
	}
	return nil
}

// probeKey wraps and unwraps a value of no meaning, as the server's identity.
func (s *Service) probeKey(ctx context.Context, server Server, uri string) error {
	principal, err := s.principalOf(server)
	if err != nil {
		return err
	}
	probe := []byte("probe of the TDE protector's use")
	wrapped, err := s.Vault.Wrap(ctx, principal, uri, probe)
	if err != nil {
		return s.keyRefusal(server, uri, err)
	}
	opened, err := s.Vault.Unwrap(ctx, principal, uri, wrapped)
	if err != nil {
		return s.keyRefusal(server, uri, err)
	}
	if string(opened) != string(probe) {
		return fmt.Errorf("probe of %s as %s: the vault gave back another value", uri, server.Name)
	}
	return nil
}

// requireCurrentAccess refuses a change of the server's keys while it cannot
// use its present protector.
func (s *Service) requireCurrentAccess(ctx context.Context, server Server) error {
	if server.Protector.URI == "" {
		return nil
	}
	err := s.probeKey(ctx, server, server.Protector.URI)
	refusal, refused := errors.AsType[*arm.Error](err)
	if err == nil || !refused || refusal.Status >= http.StatusInternalServerError {
		return err
	}
	return arm.Refuse(http.StatusBadRequest, "CMKOperationNotAllowed",
		"The server %s no longer has access to the Azure Key Vault required for the current TDE configuration. In order to change the encryption setting for the server you must first re-establish access to the Key Vault. (https://aka.ms/sqltdebyoksetup)", server.Name)
}
