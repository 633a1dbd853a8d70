package conformance

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Files holds testdata: the scenarios (*.txtar) and the list of rules (rows.txt).
//
//go:embed testdata
var Files embed.FS

// Scenario is one file. README.md explains what each field means; a field that a
// file does not mention is zero, or nil where zero has a meaning of its own.
type Scenario struct {
	Name    string // of the file, without directory and suffix
	Rows    []string
	Run     []Runner
	Not     map[Runner]string // why not
	Plays   int               // at least 1
	Client  Settings
	Request Request
	Server  []Step
	Want    Want
}

// Runner is a way to play a scenario.
type Runner string

// The runners.
const (
	Memory Runner = "memory" // virtual time, no sockets
	HTTP1  Runner = "http1"  // HTTP/1.1 over loopback sockets
	HTTPS  Runner = "https"  // the same over TLS
	HTTP2  Runner = "http2"  // HTTP/2 over TLS
)

// Runners lists all of them.
var Runners = []Runner{Memory, HTTP1, HTTPS, HTTP2}

// MaxSocketWait is the longest sum of waits of a scenario that is played over
// sockets.
const MaxSocketWait = 300 * time.Millisecond

// Command is a word, the values after it and the options (key=value) among them.
type Command struct {
	Word    string
	Args    []string
	Options map[string]string
}

// Settings is the section client.
type Settings struct {
	Zero           bool // a client of which nothing is set, instead of the default one
	RetryMax       *int
	WaitMin        *time.Duration
	WaitMax        *time.Duration
	RetryAfterMax  time.Duration
	AttemptTimeout time.Duration
	MaxElapsedTime time.Duration
	ClientTimeout  time.Duration
	Policy         Command
	Backoff        Command
	ErrorHandler   Command
	PrepareRetry   Command
	RequestHook    Command
	ResponseHook   Command
	Logger         string
	RedactURL      string
	CheckRedirect  string
	Jar            bool
	Distrust       bool
	IdempotencyKey string
	ReplayMax      int64
	ResumeMax      int
	BodyMax        int64
	Inner          string // how another client comes into the transport
	InnerRetryMax  int
}

// Request is the section request.
type Request struct {
	Method, URL     string
	Via             string
	Header          http.Header
	Body            Body
	Deadline        time.Duration // 0: none
	Cancel          *time.Duration
	Cause           string
	ResponseHandler Command
	OuterTimeout    time.Duration
	RetryMax        *int    // of this call alone
	Policy          Command // the same
	Before, After   string  // paths of other requests with the same client
}

// Body is the request's body.
type Body struct {
	Kind    string
	Content string
	Options map[string]string // offset, declared, fail, at
}

// Step is a line of the section server.
type Step struct {
	First, Last int // of the requests that it serves; Last 0: all that follow
	Status      int // -1: none, a fault takes its place
	Header      http.Header
	Body        string
	Read        int64 // 0: all; -1: none
	Delay       time.Duration
	Drip        time.Duration
	Chunked     bool
	Close       bool
	Fault       string
	At          int    // 0: instead of a response; -1: after the headers; n: after n bytes
	Error       string // text of an error of the transport
	Failure     string // an error of the transport by name
	Late        bool
}

// Want is the sections want, order, log and on-attempt.
type Want struct {
	Attempts       int
	Requests       int // -1: any number
	Resent         int // of the requests, by the transport on its own
	Resumed        int // of the requests, to go on with the body of the response
	Waits          []Range
	Elapsed        *Range
	Sent           []string // content; nil: not checked
	Bytes          []string
	ContentLength  []string
	Methods        []string
	Paths          []string
	Header         map[string][]string
	Connections    []string
	AttemptNumbers []string
	Distinct       int
	UUID           string // name of a header

	Result       *Result
	Error        string
	Lacks        []string
	Matches      []string // a quoted text is kept with its quotes
	MatchesNot   []string
	Timeout      string
	Unsent       string
	Reason       string
	LastResponse *Result
	NoResponse   bool // last-response: none
	URLErrors    string
	ErrorHandler string

	ReadError      string // of the result's body
	ReadMatches    []string
	ReadMatchesNot []string
	ReadOffset     string

	Opened         string
	Closed         string
	GetBody        string
	ReadBeforeSend string
	SourceOffset   string
	FileOpen       string
	Late           string
	OuterRedirects string
	Order, Log     []string // nil: not checked; empty: none
	OnAttempt      []string
}

// Result is a response: its status, its body, and whether the body is truncated.
type Result struct {
	Status int
	Body   string
	Broken bool
}

// Range is a duration, exact when Min and Max are equal.
type Range struct{ Min, Max time.Duration }

func (r Range) String() string {
	if r.Min == r.Max {
		return r.Min.String()
	}
	return r.Min.String() + ".." + r.Max.String()
}

var plainURL = regexp.MustCompile(`http://((?:[^\s/@"]*@)?example\.com)`)

// Load reads all scenarios for a runner, sorted by name. Over TLS they have https
// in place of http in the URLs of their server.
func Load(runner Runner) ([]*Scenario, error) {
	names, err := fs.Glob(Files, "testdata/*.txtar")
	if err != nil {
		return nil, err
	}
	var all []*Scenario
	for _, name := range names {
		data, err := fs.ReadFile(Files, name)
		if err != nil {
			return nil, err
		}
		if runner == HTTPS || runner == HTTP2 {
			data = plainURL.ReplaceAll(data, []byte("https://$1"))
		}
		s, err := Parse(path.Base(name), data)
		if err != nil {
			return nil, err
		}
		if slices.Contains(s.Run, runner) {
			all = append(all, s)
		}
	}
	return all, nil
}

// Rows reads the list of rules that scenarios show, from rows.txt.
func Rows() ([]string, error) {
	data, err := fs.ReadFile(Files, "testdata/rows.txt")
	if err != nil {
		return nil, err
	}
	var rows []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if slices.Contains(rows, line) {
			return nil, fmt.Errorf("rows.txt: %q is listed twice", line)
		}
		rows = append(rows, line)
	}
	return rows, nil
}

// Step returns what the server does with the n-th request, false if the scenario
// has no line for it.
func (s *Scenario) Step(n int) (Step, bool) {
	for _, step := range s.Server {
		if n >= step.First && (n <= step.Last || step.Last == 0) {
			return step, true
		}
	}
	return Step{}, false
}
