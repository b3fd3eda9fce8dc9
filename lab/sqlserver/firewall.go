package sqlserver

import (
	"context"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// FirewallRule is a server-level firewall rule: a closed range of IPv4
// addresses.
// Source: https://learn.microsoft.com/azure/azure-sql/database/firewall-configure
type FirewallRule struct {
	Server string `json:"server"`
	Name   string `json:"name"`
	Start  string `json:"start"`
	End    string `json:"end"`
}

func (s *Service) firewallRoutes() []arm.Route {
	const path = serverPath + "/firewallRules"
	const one = path + "/{firewallRuleName}"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: path, Handle: s.listFirewallRules},
		{Method: http.MethodGet, Pattern: one, Handle: s.getFirewallRule},
		{Method: http.MethodPut, Pattern: one, Handle: s.putFirewallRule},
		{Method: http.MethodDelete, Pattern: one, Handle: s.deleteFirewallRule},
	}
}

type firewallBody struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Properties firewallProperties `json:"properties"`
}

type firewallProperties struct {
	Start string `json:"startIpAddress"`
	End   string `json:"endIpAddress"`
}

func firewallView(server Server, rule FirewallRule) firewallBody {
	return firewallBody{
		ID: server.ID() + "/firewallRules/" + rule.Name, Name: rule.Name, Type: "Microsoft.Sql/servers/firewallRules",
		Properties: firewallProperties{Start: rule.Start, End: rule.End},
	}
}

// rulesOf lists a server's firewall rules by name.
func (s *Service) rulesOf(tx *store.Tx, server string) ([]FirewallRule, error) {
	entries, err := s.firewall.Scan(tx, strings.ToLower(server)+"/")
	if err != nil {
		return nil, err
	}
	rules := make([]FirewallRule, 0, len(entries))
	for _, entry := range entries {
		rules = append(rules, entry.Record)
	}
	return rules, nil
}

func (s *Service) listFirewallRules(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []firewallBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		rules, err := s.rulesOf(tx, server.Name)
		for _, rule := range rules {
			views = append(views, firewallView(server, rule))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf(views)), nil
}

func (s *Service) getFirewallRule(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var view firewallBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		rule, found, err := s.firewall.Get(tx, keyKey(server.Name, r.Param("firewallRuleName")))
		if err == nil && !found {
			err = notFound("Microsoft.Sql/servers/firewallRules", r.Param("firewallRuleName"))
		}
		view = firewallView(server, rule)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view), nil
}

// The characters that Azure SQL refuses in a firewall rule's name.
var ruleNamePattern = regexp.MustCompile(`^[^<>*%&:\\/?#\x00-\x1f]{0,127}[^<>*%&:\\/?#\x00-\x1f. ]$`)

// putFirewallRule writes a rule at once: Azure has no operation for it.
// Source: https://learn.microsoft.com/rest/api/sql/firewall-rules/create-or-update
func (s *Service) putFirewallRule(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var body struct {
		Properties *firewallProperties `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.Properties == nil || !ruleNamePattern.MatchString(r.Param("firewallRuleName")) {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidServerFirewallRuleResourceRequest", "Invalid server firewall rule resource request.")
	}
	start, startErr := netip.ParseAddr(body.Properties.Start)
	end, endErr := netip.ParseAddr(body.Properties.End)
	if startErr != nil || endErr != nil || !start.Is4() || !end.Is4() || end.Less(start) {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidServerFirewallRuleResourceParameters",
			"Invalid server firewall rule resource parameters: '%s' to '%s' is not a range of IPv4 addresses.", body.Properties.Start, body.Properties.End)
	}
	var view firewallBody
	there := false
	err := s.Store.Update(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		rule := FirewallRule{Server: server.Name, Name: r.Param("firewallRuleName"), Start: start.String(), End: end.String()}
		now, found, err := s.firewall.Get(tx, keyKey(server.Name, rule.Name))
		if err != nil {
			return err
		}
		if there = found; found {
			rule.Name = now.Name
		}
		view = firewallView(server, rule)
		return s.firewall.Put(tx, keyKey(server.Name, rule.Name), rule)
	})
	if err != nil {
		return nil, err
	}
	if there {
		return arm.OK(view), nil
	}
	return &arm.Response{Status: http.StatusCreated, Body: view}, nil
}

func (s *Service) deleteFirewallRule(_ context.Context, r *arm.Request) (*arm.Response, error) {
	status := http.StatusNoContent
	err := s.Store.Update(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		key := keyKey(server.Name, r.Param("firewallRuleName"))
		if _, found, err := s.firewall.Get(tx, key); err != nil || !found {
			return err
		}
		status = http.StatusOK
		return s.firewall.Delete(tx, key)
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status}, nil
}

func (s *Service) removeRules(tx *store.Tx, server Server) error {
	rules, err := s.rulesOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		if err := s.firewall.Delete(tx, keyKey(server.Name, rule.Name)); err != nil {
			return err
		}
	}
	return nil
}

// FirewallAllows decides whether a client's address may connect to a server:
// a rule's range holds it, and the server takes connections from the public
// network. The rule from 0.0.0.0 to 0.0.0.0 lets in Azure's own addresses,
// of which the lab has none.
// Source: https://learn.microsoft.com/azure/azure-sql/database/firewall-configure
func (s *Service) FirewallAllows(server string, address netip.Addr) (bool, error) {
	address = address.Unmap()
	allowed := false
	err := s.Store.View(func(tx *store.Tx) error {
		found, there, err := s.servers.Get(tx, strings.ToLower(server))
		if err != nil || !there || strings.EqualFold(found.PublicAccess, "Disabled") {
			return err
		}
		rules, err := s.rulesOf(tx, server)
		for _, rule := range rules {
			start, startErr := netip.ParseAddr(rule.Start)
			end, endErr := netip.ParseAddr(rule.End)
			if startErr == nil && endErr == nil && !address.Less(start) && !end.Less(address) {
				allowed = true
			}
		}
		return err
	})
	return allowed, err
}
