// Package fault is the lab's language of accidents: a line of text for each
// thing that is to go wrong, so that a failing rehearsal is a text that can be
// kept, sent and replayed.
//
//	on put encryptionProtector nth 2: lose-reply
//	on any servers/keys chance 10%: 503 for 30s
//	at call 17: cut
//	at call 9: failover tdefailovertest to tdesecondarytest
//	at call 9: forced failover tdefailovertest to tdesecondarytest
//	region westus down after 2m for 5m
//	vault testanu2: 403 after 10m
//	arm: 429 rate 20/s
//	arm: throttle
//	operation FailoverFailoverGroup: slow 3m
//	replica: delay 90s
//
// A text begins with "seed N" where a chance is in it; equal texts and equal
// calls give equal accidents.
package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Effect is what happens to a call.
type Effect uint8

// The effects.
const (
	// LoseReply lets the call take effect and cuts the connection in place of
	// an answer.
	LoseReply Effect = iota + 1
	// Cut cuts the connection before the call takes effect.
	Cut
	// Answer refuses with a status, before the call takes effect.
	Answer
	// Slow holds the call back.
	Slow
	// Failover fails a group over, by somebody else, before the call.
	Failover
)

// Rule is one line.
type Rule struct {
	Text string // as it was written, without outer blanks

	// Which calls: Method in upper case or empty for any; Resource is a part
	// of the path, without regard to case. Where is the part of the lab.
	Where    Where
	Method   string
	Resource string
	Nth      int     // the nth that matches, from 1; 0 for each
	Call     int     // the lab's nth call of all; 0 for none
	Chance   float64 // 0 for always

	// When, in the lab's time since the text was set.
	After time.Duration
	For   time.Duration // 0: until it is taken back

	Effect     Effect
	Status     int
	Code       string
	RetryAfter time.Duration
	Pause      time.Duration
	Group      string // of a failover
	To         string
	Forced     bool

	Rate float64 // calls a second, of arm: 429 rate
}

// Where says what a rule is about.
type Where uint8

// The parts of the lab that rules are about.
const (
	Calls     Where = iota + 1 // calls of Resource Manager
	Region                     // all that is in a region
	Vault                      // the data plane of a vault
	Rate                       // ARM, by a rate
	Throttle                   // ARM, by the documented token buckets
	Operation                  // a long-running operation
	Replica                    // replication
)

// Text is a parsed text of rules.
type Text struct {
	Seed  uint64
	Rules []Rule
}

// SyntaxError says which line cannot be read, and why.
type SyntaxError struct {
	Line int // from 1
	Text string
	Why  string
}

// Error says where and what.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d: %q: %s", e.Line, e.Text, e.Why)
}

// maxText is in bytes, maxRules in lines.
const (
	maxText  = 64 << 10
	maxRules = 1000
)

// Parse reads a text: a rule a line; blank lines and what follows # are left
// out. It is strict: what it does not know is a *SyntaxError.
func Parse(text string) (Text, error) {
	if len(text) > maxText {
		return Text{}, fmt.Errorf("the text of faults has %d bytes, more than %d", len(text), maxText)
	}
	var t Text
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if rest, is := strings.CutPrefix(line, "seed "); is {
			seed, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			if err != nil {
				return Text{}, &SyntaxError{i + 1, line, "want: seed NUMBER"}
			}
			t.Seed = seed
			continue
		}
		rule, err := parseRule(line)
		if err != nil {
			return Text{}, &SyntaxError{i + 1, line, err.Error()}
		}
		if t.Rules = append(t.Rules, rule); len(t.Rules) > maxRules {
			return Text{}, fmt.Errorf("the text of faults has more than %d rules", maxRules)
		}
	}
	return t, nil
}

// String writes the text in a form that Parse reads as the same.
func (t Text) String() string {
	var b strings.Builder
	if t.Seed != 0 {
		fmt.Fprintf(&b, "seed %d\n", t.Seed)
	}
	for _, r := range t.Rules {
		b.WriteString(r.Text + "\n")
	}
	return b.String()
}

var errUnknown = errors.New(`a rule begins with "on METHOD RESOURCE", "at call N", "region NAME down", "vault NAME", "arm", "operation NAME" or "replica"`)

func parseRule(line string) (Rule, error) {
	head, effect, colon := strings.Cut(line, ":")
	words := strings.Fields(head)
	r := Rule{Text: strings.Join(strings.Fields(line), " ")}
	if len(words) == 0 {
		return r, errUnknown
	}
	p := &phrase{words: words[1:]}
	var err error
	switch words[0] {
	case "on":
		err = r.readOn(p)
	case "at":
		err = r.readAt(p)
	case "region":
		err = r.readRegion(p)
		if err == nil && colon {
			err = errors.New("a region is down, and nothing else: no colon is wanted")
		}
		return r, err
	case "vault", "operation":
		r.Where = map[string]Where{"vault": Vault, "operation": Operation}[words[0]]
		r.Resource = strings.ToLower(p.next())
		err = p.end()
		if r.Resource == "" {
			err = fmt.Errorf("want: %s NAME: …", words[0])
		}
	case "arm", "replica":
		r.Where = map[string]Where{"arm": Rate, "replica": Replica}[words[0]]
		err = p.end()
	default:
		err = errUnknown
	}
	if err != nil {
		return r, err
	}
	if !colon {
		return r, errors.New("want a colon, and what happens behind it")
	}
	return r, r.readEffect(&phrase{words: strings.Fields(effect)})
}

func (r *Rule) readOn(p *phrase) error {
	r.Where = Calls
	if r.Method = strings.ToUpper(p.next()); r.Method == "ANY" {
		r.Method = ""
	}
	switch r.Method {
	case "", "GET", "PUT", "PATCH", "POST", "DELETE":
	default:
		return errors.New("want: on get|put|patch|post|delete|any RESOURCE")
	}
	if r.Resource = strings.ToLower(p.next()); r.Resource == "" {
		return errors.New("want: on METHOD RESOURCE, such as: on put encryptionProtector")
	}
	for p.more() {
		var err error
		switch word := p.next(); word {
		case "nth":
			r.Nth, err = p.number()
		case "chance":
			r.Chance, err = p.percent()
		default:
			err = fmt.Errorf("%q is not known here; nth N and chance P%% are", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Rule) readAt(p *phrase) (err error) {
	r.Where = Calls
	if p.next() != "call" {
		return errors.New("want: at call N: …")
	}
	if r.Call, err = p.number(); err != nil {
		return err
	}
	return p.end()
}

func (r *Rule) readRegion(p *phrase) error {
	r.Where = Region
	if r.Resource = strings.ToLower(p.next()); r.Resource == "" || p.next() != "down" {
		return errors.New("want: region NAME down [after DURATION] [for DURATION]")
	}
	return r.readTimes(p)
}

// readTimes reads what says when.
func (r *Rule) readTimes(p *phrase) (err error) {
	for p.more() && err == nil {
		switch word := p.next(); word {
		case "after":
			r.After, err = p.duration()
		case "for":
			r.For, err = p.duration()
		case "retry-after":
			r.RetryAfter, err = p.duration()
		default:
			err = fmt.Errorf("%q is not known here; after, for and retry-after DURATION are", word)
		}
	}
	return err
}
