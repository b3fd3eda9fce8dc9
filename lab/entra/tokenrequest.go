package entra

import (
	"encoding/base64"
	"mime"
	"net/url"
	"strings"
)

// maxFormLen bounds a token request's body, in bytes.
const maxFormLen = 64 << 10

// grantClientCredentials is the one grant that the lab gives tokens for.
const grantClientCredentials = "client_credentials"

// tokenRequest is what a client asks of a token endpoint.
type tokenRequest struct {
	Grant, ClientID, Secret, Assertion, Scope, Resource string
}

// readTokenRequest reads a form with client_secret_post, or with the client's
// id and secret in a Basic header. A body of another type is an empty form, as
// with Entra, which then misses the grant_type.
// Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func readTokenRequest(contentType, authorization string, body []byte) tokenRequest {
	form := url.Values{}
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == "application/x-www-form-urlencoded" {
		if parsed, err := url.ParseQuery(string(body)); err == nil {
			form = parsed
		}
	}
	request := tokenRequest{
		Grant: form.Get("grant_type"), ClientID: form.Get("client_id"), Secret: form.Get("client_secret"),
		Assertion: form.Get("client_assertion"), Scope: form.Get("scope"), Resource: form.Get("resource"),
	}
	if id, secret, ok := basicCredentials(authorization); ok {
		if request.ClientID == "" {
			request.ClientID = id
		}
		if request.Secret == "" && request.ClientID == id {
			request.Secret = secret
		}
	}
	return request
}

// basicCredentials reads a Basic header; id and secret are form-encoded in it.
// Source: https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1
func basicCredentials(authorization string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	user, password, colon := strings.Cut(string(text), ":")
	if !colon {
		return "", "", false
	}
	id, err = url.QueryUnescape(user)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(password)
	return id, secret, err == nil
}

// resourceOfScope gives the resource whose permissions a scope asks for: in
// this grant all of one resource's, RESOURCE/.default. Scopes of OpenID
// Connect beside it say nothing of resources.
// Source: https://learn.microsoft.com/entra/identity-platform/scopes-oidc#the-default-scope
func resourceOfScope(scope string) (string, error) {
	resource := ""
	for _, each := range strings.Fields(scope) {
		switch each {
		case "openid", "profile", "email", "offline_access":
			continue
		}
		named, isDefault := strings.CutSuffix(each, "/.default")
		if !isDefault {
			return "", notDefaultScope(each)
		}
		if named == "" || (resource != "" && resource != named) {
			return "", invalidScope(scope)
		}
		resource = named
	}
	if resource == "" {
		return "", invalidScope(scope)
	}
	return resource, nil
}
