package plan

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/model"
)

// narrator tells what happened to one kind of database in words.
type narrator struct {
	*subject
	kind standing
}

// tell is the shortest way to a breach, a line for each event, and the breach
// at its end.
func (n narrator) tell(start model.State, out model.Outcome) []string {
	var lines []string
	last := start
	for _, e := range out.Story {
		lines = append(lines, n.event(e.Action, last))
		last = e.After
	}
	return append(lines, n.breach(*out.Breach, &last))
}

func (n narrator) event(a model.Action, before model.State) string {
	server := n.servers[a.Server]
	switch a.Kind {
	case model.Grant, model.Register, model.Flip, model.Verify, model.Failover:
		return fmt.Sprintf("step %d is done: %s", a.Step+1, n.step(a))
	case model.Crash:
		return fmt.Sprintf("step %d takes effect and its reply is lost: %s", a.Step+1, n.step(model.Action{Kind: n.steps[a.Step].Kind, Server: a.Server, Key: a.Key, Step: a.Step}))
	case model.Propagate:
		return fmt.Sprintf("the DEK of %s on %s is re-wrapped by %s", n.database(), server, n.name(before.Protector[a.Server]))
	case model.Follow:
		return fmt.Sprintf("the re-wrapped DEK of %s reaches %s", n.database(), server)
	case model.Settle:
		return fmt.Sprintf("the grants of %s come into force", server)
	case model.PlannedFailover:
		return fmt.Sprintf("somebody fails %s over to %s, planned", n.moves(), server)
	case model.ForcedFailover:
		return fmt.Sprintf("somebody fails %s over to %s, forced", n.moves(), server)
	case model.Rotate:
		return fmt.Sprintf("the service rotates the protector of %s to a new version of %s", server, n.name(before.Protector[a.Server]))
	case model.Revoke:
		return fmt.Sprintf("%s loses its rights on %s", server, n.name(a.Key))
	case model.Disable:
		return fmt.Sprintf("%s is disabled or expires", n.name(a.Key))
	case model.Deregister:
		return fmt.Sprintf("somebody deregisters %s from %s", n.name(a.Key), server)
	case model.FlipByOther:
		return fmt.Sprintf("somebody sets the protector of %s to %s", server, n.name(a.Key))
	}
	return ""
}

func (n narrator) step(a model.Action) string {
	server := n.servers[a.Server]
	switch a.Kind {
	case model.Grant:
		return fmt.Sprintf("%s is granted the keys of a vault", server)
	case model.Register:
		return fmt.Sprintf("%s is registered on %s", n.name(a.Key), server)
	case model.Flip:
		return fmt.Sprintf("the protector of %s is %s", server, n.name(a.Key))
	case model.Failover:
		return fmt.Sprintf("%s fails over to %s", n.moves(), server)
	default:
		return "every DEK is verified"
	}
}

// breach says which rule does not hold, and why.
func (n narrator) breach(b model.Breach, at *model.State) string {
	server := n.servers[b.Server]
	switch b.Rule {
	case model.Open:
		return fmt.Sprintf("%s cannot be opened by %s, because the DEK on %s is wrapped by %s, %s", n.database(), server, n.servers[b.Owner], n.name(b.Key), n.lack(b, at))
	case model.Next:
		if b.Server == b.Owner {
			return fmt.Sprintf("%s cannot use its own protector %s, %s", server, n.name(b.Key), n.lack(b, at))
		}
		return fmt.Sprintf("if %s becomes primary, %s cannot open what its protector %s wraps, %s", n.servers[b.Owner], server, n.name(b.Key), n.lack(b, at))
	case model.Past:
		return fmt.Sprintf("active virtual log files or backups of %s still need %s, %s on %s", n.database(), n.name(b.Key), n.lack(b, at), server)
	default:
		return n.alone(b)
	}
}

// lack says what the server lacks of a key.
func (n narrator) lack(b model.Breach, at *model.State) string {
	if at == nil || !b.Key.Managed() {
		return "which is not registered there and usable"
	}
	if !at.Registered[b.Server].Has(b.Key) {
		return "which is not registered there"
	}
	return "which its identity cannot use"
}

// alone says which step breaks a rule about steps.
func (n narrator) alone(b model.Breach) string {
	var step model.Step
	what := ""
	if b.Step < len(n.steps) {
		step = n.steps[b.Step]
		what = n.step(step.Action)
	}
	switch b.Rule {
	case model.One:
		return fmt.Sprintf("step %d (%s) does not wait for an earlier change of a protector: two would change at once", b.Step+1, what)
	case model.WayBack:
		return fmt.Sprintf("step %d (%s) is said to be undoable, and going back to %s would be refused", b.Step+1, what, n.name(b.Key))
	case model.Unrefused:
		return fmt.Sprintf("step %d (%s) would be refused: %s", b.Step+1, what, n.whyRefused(step))
	default:
		if b.Step >= len(n.steps) {
			return "all steps are done, and the protectors are not those that are wanted"
		}
		return fmt.Sprintf("from here step %d (%s) is never reached", b.Step+1, what)
	}
}

func (n narrator) whyRefused(step model.Step) string {
	if step.Kind == model.Register {
		return fmt.Sprintf("%s cannot use that key", n.servers[step.Server])
	}
	if step.Kind == model.Failover {
		return "a replica is not in step or does not open"
	}
	return fmt.Sprintf("not every server that is linked to %s has the key registered and usable by then, or it is not the newest enabled version", n.servers[step.Server])
}

// name is a key in words.
func (n narrator) name(k model.Key) string {
	switch {
	case !k.Managed():
		return "the service-managed key of " + n.servers[k-model.MaxKeys]
	case int(k) < len(n.keys) && n.keys[k].IsZero():
		return "a new version of a rotating key"
	}
	return n.keys[k].Short()
}

// database names the databases of the kind.
func (n narrator) database() string {
	switch len(n.kind.names) {
	case 0:
		return "no database"
	case 1, 2, 3:
		return "database " + strings.Join(n.kind.names, ", ")
	}
	return fmt.Sprintf("database %s and %d more", n.kind.names[0], len(n.kind.names)-1)
}

// moves names what fails over.
func (n narrator) moves() string {
	if g := n.kind.database.Group; g >= 0 {
		return "failover group " + n.topology.Groups[g].Name
	}
	return n.database()
}
