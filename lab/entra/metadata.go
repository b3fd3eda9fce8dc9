package entra

import (
	"net"
	"net/http"
	"strings"
)

// The versions of /metadata/endpoints: one object of few fields, then an array
// of clouds, then one cloud.
const (
	metadata2015 = "2015-01-01"
	metadata2019 = "2019-05-01"
	metadata2022 = "2022-09-01"
)

// cloudNames are a cloud's own names, from which its metadata are made.
type cloudNames struct {
	name, portal                string
	resourceManager, management string
	login, graph                string
	vaultSuffix, hsmSuffix      string
	sqlSuffix, storageSuffix    string
	others                      string // stands for services that the lab has not; empty leaves them out
}

// publicClouds are Microsoft's own.
// Source: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-base-url
func publicClouds() []cloudNames {
	return []cloudNames{
		{
			name: "AzureCloud", portal: "https://portal.azure.com",
			resourceManager: "https://management.azure.com/", management: "https://management.core.windows.net/",
			login: "https://login.microsoftonline.com", graph: "https://graph.microsoft.com/",
			vaultSuffix: "vault.azure.net", hsmSuffix: "managedhsm.azure.net", sqlSuffix: "database.windows.net", storageSuffix: "core.windows.net",
		},
		{
			name: "AzureChinaCloud", portal: "https://portal.azure.cn",
			resourceManager: "https://management.chinacloudapi.cn", management: "https://management.core.chinacloudapi.cn",
			login: "https://login.chinacloudapi.cn", graph: "https://microsoftgraph.chinacloudapi.cn",
			vaultSuffix: "vault.azure.cn", hsmSuffix: "managedhsm.azure.cn", sqlSuffix: "database.chinacloudapi.cn", storageSuffix: "core.chinacloudapi.cn",
		},
		{
			name: "AzureUSGovernment", portal: "https://portal.azure.us",
			resourceManager: "https://management.usgovcloudapi.net", management: "https://management.core.usgovcloudapi.net",
			login: "https://login.microsoftonline.us", graph: "https://graph.microsoft.us",
			vaultSuffix: "vault.usgovcloudapi.net", hsmSuffix: "managedhsm.usgovcloudapi.net", sqlSuffix: "database.usgovcloudapi.net", storageSuffix: "core.usgovcloudapi.net",
		},
	}
}

// customCloud is the lab as a cloud of its own. Vaults keep their public
// names, by which clients tell keys. The name must be none that clients know:
// they would put their own endpoints in place of these.
func customCloud(base string) cloudNames {
	cloud := publicClouds()[0]
	cloud.name, cloud.portal, cloud.others = "CrosskeysLab", base, base
	cloud.resourceManager, cloud.management, cloud.login, cloud.graph = base, base, base, base
	return cloud
}

// cloudMetadata is one cloud as the versions from 2019 on describe it.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-deployment#environment
type cloudMetadata struct {
	Portal             string         `json:"portal"`
	Authentication     authentication `json:"authentication"`
	Media              string         `json:"media,omitempty"`
	GraphAudience      string         `json:"graphAudience"`
	Graph              string         `json:"graph"`
	Name               string         `json:"name"`
	Suffixes           suffixes       `json:"suffixes"`
	Batch              string         `json:"batch,omitempty"`
	ResourceManager    string         `json:"resourceManager"`
	ImageAliases       string         `json:"vmImageAliasDoc,omitempty"`
	DataLake           string         `json:"activeDirectoryDataLake,omitempty"`
	SQLManagement      string         `json:"sqlManagement,omitempty"`
	MicrosoftGraph     string         `json:"microsoftGraphResourceId"`
	AppInsights        string         `json:"appInsightsResourceId,omitempty"`
	AppInsightsChannel string         `json:"appInsightsTelemetryChannelResourceId,omitempty"`
	Attestation        string         `json:"attestationResourceId,omitempty"`
	Synapse            string         `json:"synapseAnalyticsResourceId,omitempty"`
	LogAnalytics       string         `json:"logAnalyticsResourceId,omitempty"`
	OSSDatabases       string         `json:"ossrdbmsResourceId,omitempty"`
	Gallery            string         `json:"gallery,omitempty"`
}

type authentication struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant,omitempty"`
	IdentityProvider string   `json:"identityProvider,omitempty"`
}

type suffixes struct {
	KeyVault   string `json:"keyVaultDns"`
	ManagedHSM string `json:"mhsmDns"`
	SQLServer  string `json:"sqlServerHostname"`
	Storage    string `json:"storage"`
}

// oneEndpoints is the answer of version 2015-01-01.
type oneEndpoints struct {
	Gallery        string         `json:"galleryEndpoint,omitempty"`
	Graph          string         `json:"graphEndpoint"`
	Portal         string         `json:"portalEndpoint"`
	Authentication authentication `json:"authentication"`
}

func (c cloudNames) metadata() cloudMetadata {
	others := c.others
	return cloudMetadata{
		Portal: c.portal, Name: c.name, ResourceManager: c.resourceManager,
		Authentication: authentication{LoginEndpoint: c.login, Audiences: []string{c.management, c.resourceManager}, Tenant: "common", IdentityProvider: "AAD"},
		Graph:          c.graph, GraphAudience: c.graph, MicrosoftGraph: c.graph,
		Suffixes: suffixes{KeyVault: c.vaultSuffix, ManagedHSM: c.hsmSuffix, SQLServer: c.sqlSuffix, Storage: c.storageSuffix},
		Media:    others, Batch: others, ImageAliases: others, DataLake: others, SQLManagement: others, AppInsights: others, AppInsightsChannel: others,
		Attestation: others, Synapse: others, LogAnalytics: others, OSSDatabases: others, Gallery: others,
	}
}

// MetadataHandler answers /metadata/endpoints, by which clients learn of a
// cloud: at a public name of Resource Manager with Microsoft's clouds, else
// with the lab's own at baseURL.
//
// The Azure CLI reads the versions before 2022 and takes an unknown authority
// without asking login.microsoftonline.com about it only when that ends in
// /adfs; Terraform reads 2022-09-01 and refuses /adfs as Azure Stack.
func (s *Service) MetadataHandler(baseURL func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writeARMError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '"+r.Method+"'.")
			return
		}
		clouds, custom := cloudsAt(r, baseURL)
		s.serveMetadata(w, r, clouds, custom)
	})
}

// cloudsAt gives the clouds that an address tells of, its own first.
func cloudsAt(r *http.Request, baseURL func(*http.Request) string) (clouds []cloudNames, custom bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	public := publicClouds()
	for i, cloud := range public {
		if strings.EqualFold("https://"+host, strings.TrimSuffix(cloud.resourceManager, "/")) {
			public[0], public[i] = public[i], public[0]
			return public, false
		}
	}
	return []cloudNames{customCloud(strings.TrimRight(baseURL(r), "/"))}, true
}

func (s *Service) serveMetadata(w http.ResponseWriter, r *http.Request, clouds []cloudNames, custom bool) {
	version := r.URL.Query().Get("api-version")
	if custom && version != metadata2022 {
		clouds[0].login += "/" + adfs
	}
	switch version {
	case "":
		writeARMError(w, http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case metadata2015:
		own := clouds[0].metadata()
		own.Authentication.Tenant, own.Authentication.IdentityProvider = "", ""
		writeJSON(w, http.StatusOK, oneEndpoints{Gallery: own.Gallery, Graph: own.Graph, Portal: own.Portal, Authentication: own.Authentication})
	case metadata2019:
		list := make([]cloudMetadata, 0, len(clouds))
		for _, cloud := range clouds {
			list = append(list, cloud.metadata())
		}
		writeJSON(w, http.StatusOK, list)
	case metadata2022:
		writeJSON(w, http.StatusOK, clouds[0].metadata())
	default:
		supported := strings.Join([]string{metadata2015, metadata2019, metadata2022}, ",")
		writeARMError(w, http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '"+version+"' is invalid. The supported versions are '"+supported+"'.")
	}
}

// writeARMError answers as Resource Manager does.
func writeARMError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
