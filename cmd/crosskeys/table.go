package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/crosskeys/crosskeys/check"
)

// printer writes a result; its first failed write is kept, so that callers
// check once.
type printer struct {
	to    io.Writer
	paint bool
	err   error
}

func (a *app) printer() *printer { return &printer{to: a.out, paint: a.paint} }

func (p *printer) say(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.to, format, args...)
	}
}

// paragraph wraps text; every line begins with indent.
func (p *printer) paragraph(indent, text string) { p.hanging(indent, text) }

// labelled wraps text behind a label that stands out to the left.
func (p *printer) labelled(indent int, label, text string) {
	p.hanging(strings.Repeat(" ", indent)+label+strings.Repeat(" ", max(1, 7-len(label))), text)
}

// hanging wraps text behind head and keeps the further lines below the text.
func (p *printer) hanging(head, text string) {
	// Marks stand for the head while the text is broken into lines.
	marks := strings.Repeat("\x00", len(head))
	p.say("%s\n", head+strings.TrimLeft(wrap(marks+text, strings.Repeat(" ", len(head))), "\x00"))
}

// colours by what a word means.
const (
	red    = "31"
	yellow = "33"
	green  = "32"
	bold   = "1"
)

func (p *printer) colour(code, text string) string {
	if !p.paint {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// table prints rows under headings in at most columns; the widest columns give
// way first. The colour of a row's last cell is chosen by its text.
func (p *printer) table(headings []string, rows [][]string) {
	widths := make([]int, len(headings))
	for _, row := range append([][]string{headings}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for total(widths) > columns {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		widths[widest]--
	}
	p.say("%s\n", p.colour(bold, tableRow(headings, widths)))
	for _, row := range rows {
		p.say("%s\n", p.verdict(tableRow(row, widths), row[len(row)-1]))
	}
}

func total(widths []int) int {
	sum := 2 * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

func tableRow(cells []string, widths []int) string {
	parts := make([]string, len(cells))
	for i, cell := range cells {
		parts[i] = cut(cell, widths[i])
		parts[i] += strings.Repeat(" ", widths[i]-len([]rune(parts[i])))
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}

// verdict colours a line by the verdict at its end.
func (p *printer) verdict(line, verdict string) string {
	switch check.Verdict(verdict) {
	case check.Wrong:
		return p.colour(red, line)
	case check.InProgress, check.NotRead:
		return p.colour(yellow, line)
	case check.OK, check.NotJudged:
	}
	return line
}

// findings prints what was found, heaviest first, each with its cure.
func (p *printer) findings(list []check.Finding) {
	for _, f := range list {
		head := strings.ToUpper(string(f.Severity))
		switch f.Severity {
		case check.Blocker:
			head = p.colour(red, head)
		case check.Warning:
			head = p.colour(yellow, head)
		case check.Note:
		}
		p.say("%s %s\n", head, f.Rule)
		p.paragraph("  ", f.What)
		p.labelled(2, "cure", f.Cure)
		if f.Command != "" {
			p.say("  run    %s\n", f.Command)
		}
	}
}
