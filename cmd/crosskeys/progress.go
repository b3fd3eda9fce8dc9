package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
)

// columns is how wide a line for a person may be.
const columns = 80

// progress tells a person what goes on: on a terminal by one line that is
// redrawn below what has happened; elsewhere by plain lines, and one now and
// then while nothing happens. Safe for concurrent use.
type progress struct {
	to    io.Writer
	live  bool
	now   func() time.Time
	total int // steps of the plan

	mu      sync.Mutex
	doings  []doing // what goes on, oldest first
	turn    int     // of the wheel
	drawn   bool    // the live line stands
	said    time.Time
	stopped chan struct{}
	ended   sync.WaitGroup
}

// doing is one thing that goes on.
type doing struct {
	step  int
	text  string
	since time.Time
}

const (
	redraw = 120 * time.Millisecond
	// patience is how long a plain line's reader is left without one. The
	// first comes sooner, so that nothing over a second is silent.
	patience      = 10 * time.Second
	firstPatience = time.Second
)

// progress begins telling; stop must be called.
func (a *app) progress() *progress {
	p := &progress{to: a.talk, live: a.live, now: a.now, stopped: make(chan struct{})}
	p.ended.Go(p.tick)
	return p
}

func (p *progress) tick() {
	every := time.NewTicker(redraw)
	defer every.Stop()
	for {
		select {
		case <-p.stopped:
			return
		case <-every.C:
			p.mu.Lock()
			p.show()
			p.mu.Unlock()
		}
	}
}

// stop wipes the live line and ends telling. It may be called again.
func (p *progress) stop() {
	p.mu.Lock()
	p.wipe()
	p.doings = nil
	p.mu.Unlock()
	select {
	case <-p.stopped:
	default:
		close(p.stopped)
	}
	p.ended.Wait()
}

// doing says what goes on apart from any step.
func (p *progress) doing(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(0, text)
}

func (p *progress) begin(step int, text string) {
	p.finish(step)
	p.doings = append(p.doings, doing{step: step, text: text, since: p.now()})
}

func (p *progress) finish(step int) time.Duration {
	for i, d := range p.doings {
		if d.step == step {
			p.doings = slices.Delete(p.doings, i, i+1)
			return p.now().Sub(d.since)
		}
	}
	return 0
}

// line prints a line above the live one.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(fmt.Sprintf(format, args...))
}

func (p *progress) print(text string) {
	p.wipe()
	_, _ = fmt.Fprintln(p.to, text)
	p.said = p.now()
}

// Write lets somebody else's output stand above the live line.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	return p.to.Write(text)
}

func (p *progress) wipe() {
	if p.drawn {
		_, _ = fmt.Fprint(p.to, "\r\x1b[K")
		p.drawn = false
	}
}

// show redraws the live line, or says once in a while that it goes on.
func (p *progress) show() {
	if len(p.doings) == 0 {
		return
	}
	oldest := p.doings[0]
	passed := p.now().Sub(oldest.since)
	if p.live {
		p.turn++
		wheel := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
		text := fmt.Sprintf("%c %s %s", wheel[p.turn%len(wheel)], p.label(oldest), took(passed))
		if more := len(p.doings) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		_, _ = fmt.Fprint(p.to, "\r\x1b[K"+cut(text, columns-1))
		p.drawn = true
		return
	}
	silence := p.now().Sub(p.said)
	if (p.said.Before(oldest.since) && silence >= firstPatience && passed >= firstPatience) || silence >= patience && passed >= patience {
		p.print(fmt.Sprintf("%s … %s", p.label(oldest), took(passed)))
	}
}

func (p *progress) label(d doing) string {
	if d.step == 0 || p.total == 0 {
		return d.text
	}
	return fmt.Sprintf("[%d/%d] %s", d.step, p.total, d.text)
}

// follow gives the function that tells of a plan's run.
func (p *progress) follow(made plan.Plan) func(run.Event) {
	p.mu.Lock()
	p.total = len(made.Steps)
	p.mu.Unlock()
	return p.event
}

func (p *progress) event(e run.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	label := func(text string) string { return p.label(doing{step: e.Step, text: text}) }
	switch e.Name {
	case run.Observed:
		p.finish(0)
	case run.StepStart:
		p.begin(e.Step, e.Text)
		p.print(label(e.Text))
	case run.StepDone:
		passed := p.finish(e.Step)
		p.print(label(fmt.Sprintf("%s, %s", e.Text, took(passed))))
	case run.StepStopped:
		p.finish(e.Step)
		p.print(wrap(label("stopped: "+e.Text), "    "))
	case run.StepWait:
		if e.Step == 0 {
			p.begin(0, "waiting")
		}
		p.print(wrap(label(e.Text), "    "))
	case run.ReplicaState, run.Warned, run.Proved, run.Replanned:
		p.print(wrap(label(e.Text), "    "))
	case run.StepAccepted:
		// The answer and the effect are what counts; the journal has this.
	}
}

// took writes a duration as a person reads it.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// cut shortens text to a width.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:max(width-1, 0)]) + "…"
}

// wrap breaks text at blanks into lines of at most columns; all but the first
// begin with indent. A word that is longer stands on a line of its own.
func wrap(text, indent string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= columns:
			line += " " + word
		default:
			lines = append(lines, line)
			line = indent + word
		}
	}
	return strings.Join(append(lines, line), "\n")
}
