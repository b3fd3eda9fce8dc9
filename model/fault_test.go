package model_test

import (
	"testing"

	"github.com/crosskeys/crosskeys/model"
)

// group is a failover group of so many servers with one database, in which all
// servers have key 0 as their protector and can use every key; key 1 is
// registered on those that have it.
func group(servers int, have ...model.Server) (model.Component, model.State) {
	c := model.Component{Servers: servers, Keys: 3, Strict: true, Remember: true, Database: model.Database{Exists: true, Movable: true}}
	s := model.State{Latest: 0b111}
	for k := range model.Key(3) {
		c.Same[k], c.Successor[k] = model.Keys(0).With(k), k
	}
	for i := range model.Server(servers) {
		c.Database.Holders = c.Database.Holders.With(i)
		s.Registered[i], s.Usable[i] = 0b001, 0b111
		for j := range model.Server(servers) {
			if i != j {
				c.Partners[i] = c.Partners[i].With(j)
			}
		}
	}
	for _, at := range have {
		s.Registered[at] = s.Registered[at].With(1)
	}
	return c, s
}

func TestSomebodyElseSetsAProtectorWithinTheServicesGuards(t *testing.T) {
	flip := func(server model.Server) model.Action {
		return model.Action{Kind: model.FlipByOther, Server: server, Key: 1}
	}
	for _, tt := range []struct {
		name    string
		servers int
		have    []model.Server
		server  model.Server
		refused bool
	}{
		{"both servers have the key", 2, []model.Server{0, 1}, 0, false},
		{"the server itself has not registered it", 2, []model.Server{1}, 0, true},
		{"the partner has not", 2, []model.Server{0}, 0, true},
		{"the primary asks every secondary", 3, []model.Server{0, 1}, 0, true},
		{"a secondary asks the primary, not its fellow", 3, []model.Server{0, 1}, 1, false},
		{"a secondary asks the primary", 3, []model.Server{1, 2}, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := group(tt.servers, tt.have...)
			if got := c.Refused(&s, flip(tt.server)); got != tt.refused {
				t.Errorf("refused: %t", got)
			}
			if ours := (model.Action{Kind: model.Flip, Server: tt.server, Key: 1}); !c.Refused(&s, ours) && len(tt.have) < tt.servers {
				t.Error("of a plan the key is asked everywhere")
			}
		})
	}
}

func TestWhatSomebodyElsesProtectorLeadsToIsExplored(t *testing.T) {
	c, start := group(2, 0, 1)
	e := model.Exploration{Component: c, Start: start, Steps: []model.Step{
		{Action: model.Action{Kind: model.Register, Server: 0, Key: 2}},
		{Action: model.Action{Kind: model.Register, Server: 1, Key: 2}, After: 1},
		{Action: model.Action{Kind: model.Flip, Server: 0, Key: 2}, After: 3, Group: -1},
		{Action: model.Action{Kind: model.Verify}, After: 7},
	}, Goal: [model.MaxServers]model.Key{2, 0}}
	without := model.Explore(e)
	e.Faults = []model.Action{{Kind: model.FlipByOther, Server: 0, Key: 1, Step: -1}}
	with := model.Explore(e)
	if without.Breach != nil || with.Breach != nil || with.States <= without.States {
		t.Errorf("without %+v, with %+v", without, with)
	}
	t.Run("what cannot happen adds nothing", func(t *testing.T) {
		for _, never := range []model.Action{
			{Kind: model.FlipByOther, Server: 1, Key: 0, Step: -1}, // is so already
			{Kind: model.FlipByOther, Server: 0, Key: 1, Step: -1},
		} {
			e := e
			e.Faults = []model.Action{never}
			if never.Key == 1 {
				e.Start.Registered[1] = 0b001
			}
			if out := model.Explore(e); out.Breach != nil || out.States != without.States {
				t.Errorf("%+v: %+v", never, out)
			}
		}
	})
	t.Run("the service refuses what the partner cannot use", func(t *testing.T) {
		e := e
		e.Start.Usable[1] &^= 1 << 1
		if out := model.Explore(e); out.Breach != nil || out.States != without.States {
			t.Errorf("the service refuses it: %+v", out)
		}
	})
	t.Run("the fellow secondary that the service does not ask is the fault's own doing", func(t *testing.T) {
		c, start := group(3, 0, 1)
		out := model.Explore(model.Exploration{Component: c, Start: start, Faults: []model.Action{{Kind: model.FlipByOther, Server: 1, Key: 1, Step: -1}}})
		if out.Breach != nil || out.States == 0 {
			t.Errorf("%+v", out)
		}
		after := c.After(start, model.Action{Kind: model.FlipByOther, Server: 1, Key: 1})
		if broken := c.Breaches(&after); len(broken) != 1 || broken[0].Server != 2 || broken[0].Rule != model.Next {
			t.Errorf("%+v", broken)
		}
	})
}

// A key that a server has registered is not replaced by a copy that it could
// use; a key that it has not is.
func TestACopyServesWhereTheKeyItselfIsNotRegistered(t *testing.T) {
	c, s := group(2)
	c.Same[0] = 0b11
	c.Same[1] = 0b11
	s.Registered[1], s.Protector[1] = 0b10, 1
	if !c.Healthy(&s) {
		t.Fatal("the copy does not serve")
	}
	s.Registered[1] = 0b11
	s.Usable[1] = 0b10
	if c.Healthy(&s) {
		t.Error("strictly, the copy serves beside the key itself")
	}
	c.Strict = false
	if !c.Healthy(&s) {
		t.Error("not strictly, it does not")
	}
}
