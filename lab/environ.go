package lab

import (
	"os"
	"path/filepath"
	"strings"
)

// BaseURL is the lab's own address, https://localhost:PORT: ARM, sign-in,
// metadata and Graph of a custom cloud.
func (l *Lab) BaseURL() string { return l.gateway.BaseURL() }

// ProxyURL is the address of the CONNECT proxy through which unmodified
// clients reach the lab under Azure's own names.
func (l *Lab) ProxyURL() string { return l.gateway.ProxyURL() }

// ControlURL is where the lab's own calls are answered.
func (l *Lab) ControlURL() string { return l.BaseURL() + "/_lab" }

// CAFile is the path of the lab's certificate authority, in PEM.
func (l *Lab) CAFile() string { return l.ca.Path() }

// Dir is the lab's state folder.
func (l *Lab) Dir() string { return l.dir }

// ClientSecret is the operator application's secret.
func (l *Lab) ClientSecret() string { return l.secret }

// ControlToken opens the control endpoint.
func (l *Lab) ControlToken() string { return l.control }

// Access is how a client outside the lab's process reaches it.
type Access struct {
	PID          int    `json:"pid"`
	Dir          string `json:"dir"`
	BaseURL      string `json:"baseUrl"`
	ProxyURL     string `json:"proxyUrl"`
	SQLAddr      string `json:"sqlAddr"`
	CAFile       string `json:"caFile"`
	ClientSecret string `json:"clientSecret"`
	SQLPassword  string `json:"sqlPassword"` // of the seeded servers' SQLLogin
	ControlToken string `json:"controlToken"`
}

// Access gives the lab's own access data. They hold secrets: a file of them
// is for its owner alone.
func (l *Lab) Access() Access {
	return Access{
		PID: os.Getpid(), Dir: l.dir, BaseURL: l.BaseURL(), ProxyURL: l.ProxyURL(), SQLAddr: l.SQLAddr(), CAFile: l.CAFile(),
		ClientSecret: l.secret, SQLPassword: l.sqlPassword, ControlToken: l.control,
	}
}

// Variable is one environment variable; an empty Value unsets it.
type Variable struct{ Name, Value string }

// Environ gives the variables that send any client into the lab: the proxy,
// the certificate authority in the form of each runtime, and credentials in
// the form of each tool. The subscription's real Azure cannot be reached with
// them set.
func (a Access) Environ() []Variable {
	base, ca := strings.TrimSuffix(a.BaseURL, "/"), a.CAFile
	return []Variable{
		// The proxy. Upper and lower case, since clients differ.
		{"HTTPS_PROXY", a.ProxyURL}, {"https_proxy", a.ProxyURL}, {"HTTP_PROXY", a.ProxyURL}, {"http_proxy", a.ProxyURL},
		{"ALL_PROXY", ""}, {"all_proxy", ""}, {"NO_PROXY", "localhost,127.0.0.1"}, {"no_proxy", "localhost,127.0.0.1"},
		// The certificate authority: Go, Python, curl, Node, git, Java.
		{"SSL_CERT_FILE", ca}, {"SSL_CERT_DIR", filepath.Join(a.Dir, "no-certificates")}, {"REQUESTS_CA_BUNDLE", ca}, {"CURL_CA_BUNDLE", ca},
		{"NODE_EXTRA_CA_CERTS", ca}, {"GIT_SSL_CAINFO", ca}, {"NODE_USE_ENV_PROXY", "1"},
		{"JAVA_TOOL_OPTIONS", javaOptions(a)},
		// azidentity and its sisters.
		{"AZURE_TENANT_ID", TenantID}, {"AZURE_CLIENT_ID", ClientID}, {"AZURE_CLIENT_SECRET", a.ClientSecret}, {"AZURE_SUBSCRIPTION_ID", SubscriptionID},
		{"AZURE_CLIENT_CERTIFICATE_PATH", ""}, {"AZURE_FEDERATED_TOKEN_FILE", ""}, {"AZURE_AUTHORITY_HOST", ""},
		// The az CLI.
		{"AZURE_CONFIG_DIR", filepath.Join(a.Dir, "azure-cli")}, {"AZURE_CORE_COLLECT_TELEMETRY", "false"}, {"AZURE_CORE_ERROR_RECOMMENDATION", "off"},
		{"AZURE_CORE_SURVEY_MESSAGE", "false"}, {"AZURE_EXTENSION_USE_DYNAMIC_INSTALL", "no"}, {"AZURE_CORE_INSTANCE_DISCOVERY", "false"},
		// Terraform's azurerm provider.
		{"ARM_METADATA_HOSTNAME", strings.TrimPrefix(base, "https://")}, {"ARM_TENANT_ID", TenantID}, {"ARM_CLIENT_ID", ClientID},
		{"ARM_CLIENT_SECRET", a.ClientSecret}, {"ARM_SUBSCRIPTION_ID", SubscriptionID}, {"ARM_RESOURCE_PROVIDER_REGISTRATIONS", "none"},
		{"ARM_USE_CLI", "false"}, {"VAULT_PROXY", a.ProxyURL}, {"CHECKPOINT_DISABLE", "1"},
		// The az script of e2e/az.
		{"ARM_ENDPOINT", base}, {"AUTHORITY", base + "/adfs"}, {"AUDIENCE", base}, {"GRAPH_ENDPOINT", base}, {"VAULT_DNS_SUFFIX", ".vault.azure.net"},
		{"EMU_PROXY", a.ProxyURL}, {"CA_FILE", ca}, {"CLIENT_ID", ClientID}, {"CLIENT_SECRET", a.ClientSecret}, {"TENANT_ID", TenantID},
		// SQL clients that have no proxy: sqlcmd, FreeTDS, and e2e/sql. They say the server's name in the login.
		{"SQLCMDSERVER", "tcp:" + strings.Replace(a.SQLAddr, ":", ",", 1)}, {"TDSHOST", host(a.SQLAddr)}, {"TDSPORT", port(a.SQLAddr)},
		{"SQL_ADDR", a.SQLAddr}, {"SQL_LOGIN", SQLLogin}, {"SQL_PASSWORD", a.SQLPassword},
		// crosskeys itself.
		{"CROSSKEYS_LAB_DIR", a.Dir},
	}
}

// host and port are the halves of an address.
func host(address string) string { host, _, _ := strings.Cut(address, ":"); return host }
func port(address string) string { _, port, _ := strings.Cut(address, ":"); return port }

func javaOptions(a Access) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(a.ProxyURL, "http://"), ":")
	return "-Dhttps.proxyHost=" + host + " -Dhttps.proxyPort=" + port + " -Dhttp.nonProxyHosts=localhost|127.0.0.1" +
		" -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=" + trustStorePassword + " -Djavax.net.ssl.trustStore=" + filepath.Join(a.Dir, trustStoreFile)
}
