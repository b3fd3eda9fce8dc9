package lab_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/crosskeys/crosskeys/lab"
)

// raw sends an ARM call as it is and gives status and refusal code.
func (a *azure) raw(method, path, version, body string) (int, string, http.Header) {
	a.t.Helper()
	token, err := a.cred.GetToken(a.t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.rawAs(token.Token, method, path, version, body)
}

func (a *azure) rawAs(token, method, path, version, body string) (int, string, http.Header) {
	a.t.Helper()
	query := ""
	if version != "" {
		query = "?api-version=" + version
	}
	request, err := http.NewRequestWithContext(a.t.Context(), method, "https://management.azure.com"+path+query, bytes.NewBufferString(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := a.lab.HTTPClient().Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var refusal struct{ Error struct{ Code string } }
	_ = json.Unmarshal(text, &refusal) // an empty or other body has no code
	return response.StatusCode, refusal.Error.Code, response.Header
}

const (
	current    = "2023-08-01"
	serverBase = "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + lab.ArticleGroup + "/providers/Microsoft.Sql/servers/"
)

// Malformed and misplaced calls, each with the refusal of Azure's catalogue.
// Source: https://github.com/Azure/azure-rest-api-specs/tree/main/specification/sql/resource-manager/Microsoft.Sql
func TestCatalogueOfImmediateRefusals(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	const primary, secondary = serverBase + lab.ArticlePrimary, serverBase + lab.ArticleSecondary
	version := strings.Repeat("0", 32)
	longVault, longKey := strings.Repeat("v", 24), strings.Repeat("k", 71)
	group := func(properties string) string {
		return `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Manual"},"partnerServers":[{"id":"` + secondary + `"}]` + properties + `}}`
	}
	for _, each := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"server key without properties", "PUT", primary + "/keys/v_k_" + version, `{}`, 400, "InvalidKeyUpsertRequest"},
		{"service-managed key by a user", "PUT", primary + "/keys/ServiceManaged", `{"properties":{"serverKeyType":"ServiceManaged"}}`, 400, "InvalidUpsertKeyType"},
		{"unknown key type", "PUT", primary + "/keys/x", `{"properties":{"serverKeyType":"Paper"}}`, 400, "InvalidKeyType"},
		{"key without a URI", "PUT", primary + "/keys/v_k_" + version, `{"properties":{"serverKeyType":"AzureKeyVault","uri":""}}`, 400, "SecurityAzureKeyVaultUrlNullOrEmpty"},
		{"malformed URI", "PUT", primary + "/keys/v_k_" + version, `{"properties":{"serverKeyType":"AzureKeyVault","uri":"https://v.example.org/keys/k/` + version + `"}}`, 400, "AzureKeyVaultMalformedVaultUri"},
		{"versionless URI", "PUT", primary + "/keys/v_k", `{"properties":{"serverKeyType":"AzureKeyVault","uri":"https://v.vault.azure.net/keys/k"}}`, 400, "AzureKeyVaultMalformedVaultUri"},
		{"name that is not vault_key_version", "PUT", primary + "/keys/mine", `{"properties":{"serverKeyType":"AzureKeyVault","uri":"https://v.vault.azure.net/keys/k/` + version + `"}}`, 400, "SecurityAzureKeyVaultInvalidKeyName"},
		{"vault and key name of 95 characters", "PUT", primary + "/keys/" + longVault + "_" + longKey + "_" + version, `{"properties":{"serverKeyType":"AzureKeyVault","uri":"https://` + longVault + `.vault.azure.net/keys/` + longKey + `/` + version + `"}}`, 400, "SecurityAzureKeyVaultInvalidKeyName"},
		{"server key that is not there", "GET", primary + "/keys/v_k_" + version, "", 404, "ResourceNotFound"},
		{"protector of another name", "GET", primary + "/encryptionProtector/next", "", 400, "InvalidEncryptionProtectorName"},
		{"protector of an unknown type", "PUT", primary + "/encryptionProtector/current", `{"properties":{"serverKeyType":"Paper"}}`, 400, "InvalidKeyType"},
		{"keys of a server that is not there", "GET", serverBase + "nobody/keys", "", 404, "ParentResourceNotFound"},
		{"server that is not there", "GET", serverBase + "nobody", "", 404, "ResourceNotFound"},
		{"server with a bad name", "PUT", serverBase + "Not_A_Name", `{"location":"eastus","properties":{"administratorLogin":"a","administratorLoginPassword":"p"}}`, 400, "InvalidServerName"},
		{"server in no region", "PUT", serverBase + "nowhere", `{"location":"atlantis","properties":{"administratorLogin":"a","administratorLoginPassword":"p"}}`, 400, "LocationNotAvailableForResourceType"},
		{"keyId without a primary identity", "PATCH", primary, `{"properties":{"keyId":"` + lab.ArticlePrimaryKey + `"}}`, 400, "MissingPrimaryIdentity"},
		{"primary identity that is not assigned", "PATCH", primary, `{"properties":{"primaryUserAssignedIdentityId":"/subscriptions/x/y"}}`, 400, "InvalidPrimaryIdentityId"},
		{"body that is no JSON", "PUT", primary + "/failoverGroups/other", `{`, 400, "InvalidRequestContent"},
		{"group without properties", "PUT", primary + "/failoverGroups/other", `{}`, 400, "FailoverGroupCreateOrUpdateRequestInvalid"},
		{"group without endpoint", "PUT", primary + "/failoverGroups/other", `{"properties":{"partnerServers":[]}}`, 400, "FailoverGroupCreateOrUpdateRequestInvalidReadWriteEndpoint"},
		{"group of an unknown policy", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Sometimes"}}}`, 400, "FailoverGroupCreateOrUpdateRequestInvalidReadWriteFailoverPolicy"},
		{"manual policy with a grace period", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Manual","failoverWithDataLossGracePeriodMinutes":60}}}`, 400, "FailoverGroupCreateOrUpdateRequestInvalidReadWriteEndpointFieldsForManualPolicy"},
		{"automatic policy without a grace period", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Automatic"}}}`, 400, "FailoverGroupCreateOrUpdateRequestInvalidReadWriteEndpointFields"},
		{"grace period too short", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Automatic","failoverWithDataLossGracePeriodMinutes":59}}}`, 400, "FailoverGroupCreateOrUpdateRequestLessThanMinimumGracePeriodValues"},
		{"negative grace period", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Automatic","failoverWithDataLossGracePeriodMinutes":-1}}}`, 400, "FailoverGroupCreateOrUpdateRequestNegativeGracePeriodValues"},
		{"group without partners", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Manual"},"partnerServers":[]}}`, 400, "FailoverGroupCreateOrUpdateRequestInvalidPartner"},
		{"itself as partner", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Manual"},"partnerServers":[{"id":"` + primary + `"}]}}`, 400, "InvalidFailoverGroupRegion"},
		{"partner that is not there", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Manual"},"partnerServers":[{"id":"` + serverBase + `nobody"}]}}`, 404, "SubscriptionDoesNotHaveServer"},
		{"partner named twice", "PUT", primary + "/failoverGroups/other", `{"properties":{"readWriteEndpoint":{"failoverPolicy":"Manual"},"partnerServers":[{"id":"` + secondary + `"},{"id":"` + secondary + `"}]}}`, 400, "FailoverGroupCreateOrUpdateRequestDuplicatePartner"},
		{"database id that is none", "PUT", primary + "/failoverGroups/other", group(`,"databases":["orders"]`), 400, "FailoverGroupCreateOrUpdateRequestInvalidDatabases"},
		{"database of the partner", "PUT", primary + "/failoverGroups/other", group(`,"databases":["` + secondary + `/databases/orders"]`), 400, "FailoverGroupCreateOrUpdateRequestInvalidDatabaseServer"},
		{"database of another group", "PUT", primary + "/failoverGroups/other", group(`,"databases":["` + primary + `/databases/orders"]`), 409, "DatabaseBelongsToOtherFailoverGroup"},
		{"group with the name of a server", "PUT", primary + "/failoverGroups/" + lab.ArticleSecondary, group(""), 409, "FailoverGroupDnsRecordInUse"},
		{"group with a bad name", "PUT", primary + "/failoverGroups/Bad_Name", group(""), 409, "InvalidFailoverGroupName"},
		{"read-only target that is no partner", "PUT", primary + "/failoverGroups/other", group(`,"readOnlyEndpoint":{"failoverPolicy":"Enabled","targetServer":"` + serverBase + `nobody"}`), 400, "FailoverGroupCreateOrUpdateRequestInvalidReadOnlyEndpointTargetServer"},
		{"group that is not there", "GET", primary + "/failoverGroups/other", "", 404, "ResourceNotFound"},
		{"failover of a group that is not there", "POST", secondary + "/failoverGroups/other/failover", "", 400, "FailoverGroupDoesNotExist"},
		{"update on the secondary", "PUT", secondary + "/failoverGroups/" + lab.ArticleFailoverGroup, group(""), 400, "FailoverGroupUpdateOrDeleteRequestOnSecondary"},
		{"link that is no GUID", "GET", primary + "/databases/orders/replicationLinks/mine", "", 400, "ReplicationLinksReplicationLinkNameIsInvalid"},
		{"link that is not there", "GET", primary + "/databases/orders/replicationLinks/" + lab.ClientID, "", 404, "ResourceNotFound"},
		{"encryption turned off at the replica", "PUT", secondary + "/databases/orders/transparentDataEncryption/current", `{"properties":{"state":"Disabled"}}`, 400, "CanNotDropAlterOnMirror"},
		{"encryption of master", "PUT", primary + "/databases/master/transparentDataEncryption/current", `{"properties":{"state":"Enabled"}}`, 400, "AttemptedEncryptionOnSystemDatabase"},
		{"operation that is not there", "GET", strings.TrimSuffix(serverBase, "servers/") + "locations/eastus/serverKeyAzureAsyncOperation/" + lab.ClientID, "", 404, "OperationIdNotFound"},
		{"what the lab does not do, by name", "PUT", primary + "/databases/other", `{"location":"eastus","properties":{"createMode":"Recovery"}}`, 400, "NotSupportedByLab"},
	} {
		t.Run(each.name, func(t *testing.T) {
			status, code, _ := a.raw(each.method, each.path, current, each.body)
			if status != each.status || code != each.code {
				t.Errorf("%s %s: got %d %s, want %d %s", each.method, each.path, status, code, each.status, each.code)
			}
		})
	}
}

func TestFrontRefusesAsAzureDoes(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	const path = serverBase + lab.ArticlePrimary
	for _, each := range []struct {
		name, method, path, version string
		status                      int
		code                        string
	}{
		{"no api-version", "GET", path, "", 400, "MissingApiVersionParameter"},
		{"an api-version that never was", "GET", path, "2099-01-01", 400, "NoRegisteredProviderFound"},
		{"another case and doubled slashes", "GET", strings.ToUpper(path) + "//", current, 200, ""},
		{"a namespace that is none", "GET", "/subscriptions/" + lab.SubscriptionID + "/providers/Microsoft.Nothing/things", current, 404, "InvalidResourceNamespace"},
		{"a type that is none", "GET", path + "/nothings/x", current, 404, "InvalidResourceType"},
		{"a subscription that is none", "GET", "/subscriptions/" + lab.ClientID + "/resourceGroups", "2021-04-01", 404, "SubscriptionNotFound"},
		{"a resource group that is none", "GET", "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/none/providers/Microsoft.Sql/servers", current, 404, "ResourceGroupNotFound"},
	} {
		t.Run(each.name, func(t *testing.T) {
			status, code, header := a.raw(each.method, each.path, each.version, "")
			if status != each.status || code != each.code {
				t.Errorf("got %d %s, want %d %s", status, code, each.status, each.code)
			}
			for _, name := range []string{"X-Ms-Request-Id", "X-Ms-Correlation-Request-Id", "X-Ms-Ratelimit-Remaining-Subscription-Reads"} {
				if header.Get(name) == "" {
					t.Errorf("no header %s", name)
				}
			}
		})
	}
	t.Run("no token", func(t *testing.T) {
		status, code, header := a.rawAs("", "GET", path, current, "")
		if status != 401 || code != "AuthenticationFailed" || !strings.HasPrefix(header.Get("Www-Authenticate"), "Bearer authorization_uri=") {
			t.Errorf("got %d %s %q", status, code, header.Get("Www-Authenticate"))
		}
	})
	t.Run("a vault's token", func(t *testing.T) {
		token, err := a.cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		if err != nil {
			t.Fatal(err)
		}
		if status, code, _ := a.rawAs(token.Token, "GET", path, current, ""); status != 401 || code != "InvalidAuthenticationTokenAudience" {
			t.Errorf("got %d %s", status, code)
		}
	})
	t.Run("an expired token", func(t *testing.T) {
		token, err := a.cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.lab.Advance(48 * 3600 * 1e9); err != nil {
			t.Fatal(err)
		}
		if status, code, _ := a.rawAs(token.Token, "GET", path, current, ""); status != 401 || code != "ExpiredAuthenticationToken" {
			t.Errorf("got %d %s", status, code)
		}
	})
}
