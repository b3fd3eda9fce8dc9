package journal

import (
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// SchemaVersion is the version of the journal's form.
const SchemaVersion = 1

// Kind says what a record is about; the field of the same name is set.
type Kind string

// The kinds of records, in the order in which a step writes them.
const (
	// Begin opens a journal: whose run of which plan it is. It is the first
	// record and stands nowhere else.
	Begin Kind = "begin"
	// Resume opens each further process that carries the same plan on.
	Resume Kind = "resume"
	// Seen is a whole observation and what it decided.
	Seen Kind = "seen"
	// Intent says what is about to be called. It is on disk before the call.
	Intent Kind = "intent"
	// Call says that the service has taken a call and how its operation is
	// followed.
	Call Kind = "call"
	// Answer is what the service said in the end, or that it said nothing.
	Answer Kind = "answer"
	// ReadBack is what was seen afterwards, whatever the answer was.
	ReadBack Kind = "read-back"
	// Result closes the intent of its step.
	Result Kind = "result"
	// Replan is a new plan that the run goes on with, since the world has
	// changed under the one before it. Steps of later records are its steps.
	Replan Kind = "replan"
	// Note is a remark for readers.
	Note Kind = "note"
	// End closes one process's part of the run.
	End Kind = "end"
)

// Record is one line of a journal. Seq, Prev and At are set when it is
// appended. Kind decides which one of the pointers is set.
type Record struct {
	Seq      int            `json:"seq"`  // from 1, without gaps
	Prev     string         `json:"prev"` // SHA-256, in hexadecimal, of the line before; zeros on the first
	At       time.Time      `json:"at"`   // UTC
	Kind     Kind           `json:"kind"`
	Step     int            `json:"step,omitempty"` // number of the plan's step that the record belongs to
	Begin    *BeginEntry    `json:"begin,omitempty"`
	Resume   *ResumeEntry   `json:"resume,omitempty"`
	Seen     *SeenEntry     `json:"seen,omitempty"`
	Intent   *IntentEntry   `json:"intent,omitempty"`
	Call     *CallEntry     `json:"call,omitempty"`
	Answer   *AnswerEntry   `json:"answer,omitempty"`
	ReadBack *ReadBackEntry `json:"readBack,omitempty"`
	Result   *ResultEntry   `json:"result,omitempty"`
	Replan   *ReplanEntry   `json:"replan,omitempty"`
	Note     string         `json:"note,omitempty"`
	End      *EndEntry      `json:"end,omitempty"`
}

// Who is the person or program that ran the tool, as far as it is known.
type Who struct {
	Principal string `json:"principal,omitempty"` // as Azure knows it
	User      string `json:"user,omitempty"`      // of the operating system
	Host      string `json:"host,omitempty"`
	Version   string `json:"version"` // of the tool
}

// BeginEntry says which plan is carried out, where, and by whom.
type BeginEntry struct {
	SchemaVersion int       `json:"schemaVersion"`
	Run           string    `json:"run"` // set when it is begun
	Verb          string    `json:"verb"`
	PlanHash      string    `json:"planHash"`
	Plan          plan.Plan `json:"plan"`
	Cloud         string    `json:"cloud,omitempty"`
	Target        string    `json:"target"` // failover group or server, as it was asked for
	Who           Who       `json:"who"`
	Terms         Terms     `json:"terms,omitzero"`
}

// Terms are what was agreed on when the run began and holds until its end,
// whoever goes on with it.
type Terms struct {
	Windows    []string `json:"windows,omitempty"` // maintenance windows, as they were given
	PreHook    bool     `json:"preHook,omitempty"` // a command runs before each change
	PostHook   bool     `json:"postHook,omitempty"`
	AutoReplan bool     `json:"autoReplan,omitempty"`
}

// ReplanEntry is a plan that replaces the one before it.
type ReplanEntry struct {
	Why      string    `json:"why"`
	By       string    `json:"by"` // who agreed: a person, or the flag
	PlanHash string    `json:"planHash"`
	Plan     plan.Plan `json:"plan"` // with its proof
}

// ResumeEntry says who carries the run on.
type ResumeEntry struct {
	Who Who `json:"who"`
}

// SeenEntry is an observation and what it means for the plan.
type SeenEntry struct {
	Topology    tde.Topology    `json:"topology"`
	Fingerprint string          `json:"fingerprint"`
	DoneBefore  []int           `json:"doneBefore,omitempty"` // steps whose effect was there already
	Findings    []check.Finding `json:"findings,omitempty"`
	// Proof is that of the rest of the plan from here.
	Proof *plan.Proof `json:"proof,omitempty"`
}

// IntentEntry says what is about to be called and in what state.
type IntentEntry struct {
	What string `json:"what"`
	Saw  string `json:"saw"`
}

// CallEntry is a call that the service has taken.
type CallEntry struct {
	Attempt   int    `json:"attempt"`
	Operation string `json:"operation,omitempty"` // the service's name for it
	// ResumeToken lets the operation be followed by another process. It holds
	// addresses, no credential.
	ResumeToken string `json:"resumeToken,omitempty"`
	RequestID   string `json:"requestId,omitempty"`
}

// AnswerEntry is the service's last word on one call.
type AnswerEntry struct {
	Attempt   int    `json:"attempt"`
	OK        bool   `json:"ok"`
	Lost      bool   `json:"lost,omitempty"` // no answer came; the call may have taken effect
	Code      string `json:"code,omitempty"`
	Status    int    `json:"status,omitempty"` // of HTTP
	InPoll    bool   `json:"inPoll,omitempty"` // refused while its operation was followed
	Message   string `json:"message,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

// ReadBackEntry is what was seen after a call.
type ReadBackEntry struct {
	Reached bool   `json:"reached"`
	Saw     string `json:"saw"`
	Reads   int    `json:"reads"`
	// Verification is set by a verification step.
	Verification *check.Verification `json:"verification,omitempty"`
}

// Outcome is how a step ended.
type Outcome string

// The outcomes.
const (
	// Done: this run made the change, or saw the verification succeed.
	Done Outcome = "done"
	// AlreadyThere: the effect was seen before anything was called.
	AlreadyThere Outcome = "already there"
	// Refused: the service refused the call for good, or a check failed.
	Refused Outcome = "refused"
	// Interrupted: the run was paused while the step was waiting.
	Interrupted Outcome = "interrupted"
	// Unknown: nobody can say yet whether the call took effect.
	Unknown Outcome = "unknown"
)

// Effective reports whether the step's effect was seen.
func (o Outcome) Effective() bool { return o == Done || o == AlreadyThere }

// ResultEntry closes a step.
type ResultEntry struct {
	Outcome  Outcome `json:"outcome"`
	Seconds  float64 `json:"seconds"`
	Attempts int     `json:"attempts,omitempty"`
	Why      string  `json:"why,omitempty"`
}

// EndEntry closes one process's part of a run.
type EndEntry struct {
	Status  string   `json:"status"` // as run.Status writes it
	Seconds float64  `json:"seconds"`
	Why     string   `json:"why,omitempty"`
	State   []string `json:"state,omitempty"` // what the run leaves, in words
}
