package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/entra"
)

// Request is one ARM call that has passed the front's checks.
type Request struct {
	HTTP       *http.Request
	Body       []byte
	APIVersion string
	Caller     entra.Claims
	// Path is the request's path without doubled or trailing slashes, in the
	// client's own case.
	Path   string
	params map[string]string
}

// Param is the value of a {placeholder} of the route's pattern, in the
// client's own case. Asking for one that the pattern has not is a mistake in
// the lab, and panics.
func (r *Request) Param(name string) string {
	value, ok := r.params[name]
	if !ok {
		panic("route has no parameter " + name)
	}
	return value
}

// Decode reads the body as JSON into v. A body that is missing or broken is
// Azure's InvalidRequestContent.
func (r *Request) Decode(v any) error {
	if len(strings.TrimSpace(string(r.Body))) == 0 {
		return Refuse(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: the request body is empty.")
	}
	if err := json.Unmarshal(r.Body, v); err != nil {
		return Refuse(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	return nil
}

// Response is what a handler answers. A nil Body is an empty one.
type Response struct {
	Status int
	Body   any
	Header http.Header
}

// OK is 200 with a body.
func OK(body any) *Response { return &Response{Status: http.StatusOK, Body: body} }

// Handler answers one request. It returns an *Error to refuse; any other
// error is logged and answered as Azure's internal error.
type Handler func(ctx context.Context, r *Request) (*Response, error)

// Route is one operation of a resource provider.
type Route struct {
	Method string
	// Pattern is the path with {placeholders}, as in Azure's specification,
	// such as /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Sql/servers/{serverName}.
	Pattern string
	// Action is the permission that the caller must hold at the path's scope,
	// such as Microsoft.Sql/servers/write. Empty: derived from the pattern and
	// the method as Azure does. "-" asks for no permission.
	Action string
	// Versions lists the api-versions served. Empty: the provider's.
	Versions []string
	Handle   Handler
}

// Provider is a resource provider: a namespace with its routes.
type Provider struct {
	Namespace string // such as Microsoft.Sql; empty for ARM's own routes
	Versions  []string
	Routes    []Route
}

// table finds the route of a path. Literals are compared without regard to
// case; a literal wins over a placeholder.
type table struct{ root node }

type node struct {
	literal map[string]*node
	param   *node
	routes  map[string]*match // by method
}

type match struct {
	route  Route
	names  []string // of the placeholders, in path order
	action string
	spaces string // the provider's namespace
	dates  []string
}

func (t *table) add(provider Provider, route Route) error {
	at, names := &t.root, []string(nil)
	for _, segment := range split(route.Pattern) {
		if strings.HasPrefix(segment, "{") {
			names = append(names, strings.Trim(segment, "{}"))
			if at.param == nil {
				at.param = &node{}
			}
			at = at.param
			continue
		}
		if at.literal == nil {
			at.literal = map[string]*node{}
		}
		key := strings.ToLower(segment)
		if at.literal[key] == nil {
			at.literal[key] = &node{}
		}
		at = at.literal[key]
	}
	if at.routes == nil {
		at.routes = map[string]*match{}
	}
	if at.routes[route.Method] != nil {
		return fmt.Errorf("route %s %s is there twice", route.Method, route.Pattern)
	}
	m := &match{route: route, names: names, action: route.Action, spaces: provider.Namespace, dates: route.Versions}
	if m.action == "" {
		m.action = ActionOf(route.Method, route.Pattern)
	}
	if len(m.dates) == 0 {
		m.dates = provider.Versions
	}
	at.routes[route.Method] = m
	return nil
}

// find gives the route and its parameters; found is the node's other methods
// when only the method is unknown.
func (t *table) find(method, path string) (m *match, params map[string]string, pathKnown bool) {
	at, values := walk(&t.root, split(path), nil, method)
	if at == nil {
		return nil, nil, false
	}
	m = at.routes[method]
	if m == nil {
		return nil, nil, true
	}
	params = make(map[string]string, len(values))
	for i, name := range m.names {
		params[name] = values[i]
	}
	return m, params, true
}

func walk(at *node, segments, values []string, method string) (*node, []string) {
	if len(segments) == 0 {
		if len(at.routes) == 0 {
			return nil, nil
		}
		return at, values
	}
	var fallback *node
	var fallbackValues []string
	if next := at.literal[strings.ToLower(segments[0])]; next != nil {
		end, found := walk(next, segments[1:], values, method)
		if end != nil && end.routes[method] != nil {
			return end, found
		}
		fallback, fallbackValues = end, found
	}
	if at.param != nil {
		if end, found := walk(at.param, segments[1:], append(values[:len(values):len(values)], segments[0]), method); end != nil {
			return end, found
		}
	}
	return fallback, fallbackValues
}

// split gives the path's segments, with empty ones left out: clients double
// slashes and end with one.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// ActionOf derives the permission that Azure asks for an operation: the
// resource type behind the last /providers/ with read, write or delete, or
// action behind the name of a POST.
// Source: https://learn.microsoft.com/azure/role-based-access-control/role-definitions#actions
func ActionOf(method, pattern string) string {
	segments := split(pattern)
	start := -1
	for i, segment := range segments {
		if strings.EqualFold(segment, "providers") {
			start = i + 1
		}
	}
	var kind []string
	switch {
	case start >= 0 && start < len(segments):
		kind = append(kind, segments[start])
		segments = segments[start+1:]
	default:
		kind = append(kind, "Microsoft.Resources")
		if len(segments) >= 4 {
			segments = segments[2:] // subscriptions/{id}/resourceGroups/…
			segments[0] = "subscriptions/" + segments[0]
		}
	}
	for _, segment := range segments {
		if !strings.HasPrefix(segment, "{") {
			kind = append(kind, segment)
		}
	}
	return strings.Join(kind, "/") + "/" + verbOf(method)
}

func verbOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "read"
	case http.MethodPost:
		return "action"
	case http.MethodDelete:
		return "delete"
	}
	return "write"
}
