package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Named gives the configuration of a cloud by its name: public, usgov, china;
// or, for a custom one, the https address of its metadata endpoint or host.
func Named(ctx context.Context, name string, transport policy.Transporter) (cloud.Configuration, error) {
	switch strings.ToLower(name) {
	case "", "public", "azurecloud", "azurepubliccloud":
		return cloud.AzurePublic, nil
	case "usgov", "azureusgovernment":
		return cloud.AzureGovernment, nil
	case "china", "azurechinacloud":
		return cloud.AzureChina, nil
	}
	if !strings.HasPrefix(name, "https://") {
		return cloud.Configuration{}, &TargetError{What: fmt.Sprintf("there is no cloud %q", name), Hint: "use public, usgov, china, or the https address of a custom cloud's metadata"}
	}
	return custom(ctx, name, transport)
}

// metadataLimit bounds a metadata document, in bytes.
const metadataLimit = 1 << 20

// custom reads a custom cloud's metadata document.
// Source: https://learn.microsoft.com/cli/azure/manage-clouds-azure-cli
func custom(ctx context.Context, address string, transport policy.Transporter) (cloud.Configuration, error) {
	if !strings.Contains(strings.TrimPrefix(address, "https://"), "/") {
		address += "/metadata/endpoints?api-version=2022-09-01"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return cloud.Configuration{}, fmt.Errorf("cloud metadata: %w", err)
	}
	if transport == nil {
		transport = http.DefaultClient
	}
	answer, err := transport.Do(request)
	if err != nil {
		return cloud.Configuration{}, fmt.Errorf("cloud metadata: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, metadataLimit))
	if err != nil {
		return cloud.Configuration{}, fmt.Errorf("cloud metadata: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return cloud.Configuration{}, fmt.Errorf("cloud metadata: %s answered %s", address, answer.Status)
	}
	return parseMetadata(text)
}

// parseMetadata reads a metadata document of api-version 2022-09-01.
func parseMetadata(text []byte) (cloud.Configuration, error) {
	var document struct {
		ResourceManager string `json:"resourceManager"`
		Authentication  struct {
			LoginEndpoint string   `json:"loginEndpoint"`
			Audiences     []string `json:"audiences"`
		} `json:"authentication"`
		Suffixes struct {
			SQLServer string `json:"sqlServerHostname"`
		} `json:"suffixes"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return cloud.Configuration{}, fmt.Errorf("cloud metadata: %w", err)
	}
	endpoint := strings.TrimRight(document.ResourceManager, "/")
	if !strings.HasPrefix(endpoint, "https://") || !strings.HasPrefix(document.Authentication.LoginEndpoint, "https://") {
		return cloud.Configuration{}, fmt.Errorf("cloud metadata: resourceManager %q and loginEndpoint %q must be https addresses", document.ResourceManager, document.Authentication.LoginEndpoint)
	}
	audience := endpoint
	if len(document.Authentication.Audiences) > 0 {
		audience = strings.TrimRight(document.Authentication.Audiences[0], "/")
	}
	services := map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: endpoint, Audience: audience}}
	if suffix := strings.Trim(document.Suffixes.SQLServer, "."); suffix != "" {
		services[SQLDatabase] = cloud.ServiceConfiguration{Audience: "https://" + suffix}
	}
	return cloud.Configuration{ActiveDirectoryAuthorityHost: strings.TrimRight(document.Authentication.LoginEndpoint, "/") + "/", Services: services}, nil
}

// SQLDatabase is the service name under which a cloud's configuration holds the
// audience of its databases' access tokens.
const SQLDatabase cloud.ServiceName = "sqlDatabase"

// databaseAudience is the audience of access tokens for a cloud's databases;
// the public cloud's where a custom one says nothing.
// Source: https://learn.microsoft.com/azure/azure-sql/database/authentication-aad-overview
// Source: https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure#guidance-for-developers
// Source: https://learn.microsoft.com/azure/china/resources-developer-guide
func databaseAudience(c cloud.Configuration) string {
	if service, named := c.Services[SQLDatabase]; named {
		return service.Audience
	}
	switch c.ActiveDirectoryAuthorityHost {
	case cloud.AzureGovernment.ActiveDirectoryAuthorityHost:
		return "https://database.usgovcloudapi.net"
	case cloud.AzureChina.ActiveDirectoryAuthorityHost:
		return "https://database.chinacloudapi.cn"
	}
	return "https://database.windows.net"
}
