package fault

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// readEffect reads what stands behind the colon.
func (r *Rule) readEffect(p *phrase) error {
	word := p.next()
	switch r.Where {
	case Replica:
		return r.readDelay(word, p)
	case Operation:
		if word != "slow" {
			return errors.New("an operation can be slow DURATION")
		}
		r.Effect = Slow
		return r.readPause(p)
	case Rate:
		return r.readRate(word, p)
	case Vault:
		r.Effect = Answer
		return r.readStatus(word, p)
	default:
		return r.readCallEffect(word, p)
	}
}

func (r *Rule) readCallEffect(word string, p *phrase) error {
	switch word {
	case "lose-reply":
		r.Effect = LoseReply
	case "cut":
		r.Effect = Cut
	case "slow":
		r.Effect = Slow
		return r.readPause(p)
	case "failover":
		return r.readFailover(p)
	case "forced":
		r.Forced = true
		if p.next() != "failover" {
			return errors.New("want: forced failover GROUP to SERVER")
		}
		return r.readFailover(p)
	default:
		r.Effect = Answer
		return r.readStatus(word, p)
	}
	return r.readTimes(p)
}

func (r *Rule) readPause(p *phrase) (err error) {
	if r.Pause, err = p.duration(); err != nil {
		return err
	}
	return r.readTimes(p)
}

func (r *Rule) readFailover(p *phrase) error {
	r.Effect = Failover
	if r.Group = p.next(); r.Group == "" || p.next() != "to" {
		return errors.New("want: failover GROUP to SERVER")
	}
	if r.To = p.next(); r.To == "" {
		return errors.New("want: failover GROUP to SERVER")
	}
	return p.end()
}

func (r *Rule) readDelay(word string, p *phrase) error {
	if word != "delay" {
		return errors.New("want: replica: delay DURATION")
	}
	r.Effect = Slow
	return r.readPause(p)
}

func (r *Rule) readRate(word string, p *phrase) (err error) {
	if word == "throttle" {
		r.Where = Throttle
		return r.readTimes(p)
	}
	if word != "429" || p.next() != "rate" {
		return errors.New("want: arm: 429 rate N/s, or arm: throttle")
	}
	text, is := strings.CutSuffix(p.next(), "/s")
	if r.Rate, err = strconv.ParseFloat(text, 64); err != nil || !is || !(r.Rate > 0) || r.Rate > 1e6 {
		return errors.New("want a rate such as 20/s")
	}
	r.Effect, r.Status = Answer, http.StatusTooManyRequests
	return r.readTimes(p)
}

// readStatus reads a status, perhaps the service's code, and when.
func (r *Rule) readStatus(word string, p *phrase) error {
	status, err := strconv.Atoi(word)
	if err != nil || status < 400 || status > 599 {
		return fmt.Errorf("%q is no effect: want lose-reply, cut, slow DURATION, failover GROUP to SERVER, or a status of 400 to 599", word)
	}
	r.Status = status
	if p.more() && !timeWord(p.peek()) {
		r.Code = p.next()
	}
	return r.readTimes(p)
}

func timeWord(word string) bool { return word == "after" || word == "for" || word == "retry-after" }

// phrase is words that are read one after the other.
type phrase struct{ words []string }

func (p *phrase) more() bool { return len(p.words) > 0 }

func (p *phrase) peek() string {
	if !p.more() {
		return ""
	}
	return p.words[0]
}

func (p *phrase) next() string {
	word := p.peek()
	if p.more() {
		p.words = p.words[1:]
	}
	return word
}

func (p *phrase) end() error {
	if p.more() {
		return fmt.Errorf("%q is one word too many", p.peek())
	}
	return nil
}

func (p *phrase) number() (int, error) {
	n, err := strconv.Atoi(p.peek())
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q: want a number from 1", p.peek())
	}
	p.next()
	return n, nil
}

func (p *phrase) percent() (float64, error) {
	text, is := strings.CutSuffix(p.next(), "%")
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !is || !(n > 0) || n > 100 {
		return 0, errors.New("want a chance such as 10%")
	}
	return n / 100, nil
}

func (p *phrase) duration() (time.Duration, error) {
	d, err := time.ParseDuration(p.peek())
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q: want a duration such as 90s or 10m", p.peek())
	}
	p.next()
	return d, nil
}
