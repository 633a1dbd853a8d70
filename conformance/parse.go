package conformance

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
)

// Parse reads one scenario. Whatever it does not know is an error that begins with
// name and line, so that a typing mistake cannot make a check disappear.
func Parse(name string, data []byte) (*Scenario, error) {
	archive := txtar.Parse(data)
	s := &Scenario{Name: strings.TrimSuffix(name, ".txtar"), Plays: 1, Not: map[Runner]string{}}
	fail := func(line int, err error) (*Scenario, error) {
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}

	line := 0
	for text := range strings.Lines(string(archive.Comment)) {
		line++
		row, ok := strings.CutPrefix(text, "Spec ")
		if !ok {
			continue
		}
		row, _, ok = strings.Cut(row, ":")
		if !ok {
			return fail(line, errors.New(`want "Spec SECTION, RULE: what is shown"`))
		}
		s.Rows = append(s.Rows, row)
	}
	if len(s.Rows) == 0 || !strings.HasPrefix(string(archive.Comment), "Spec ") {
		return fail(1, errors.New(`the comment does not begin with "Spec SECTION, RULE:"`))
	}

	seen := map[string]bool{}
	for _, file := range archive.Files {
		line++ // the marker
		section := sections[file.Name]
		if section == nil {
			return fail(line, fmt.Errorf("unknown section %q", file.Name))
		}
		if seen[file.Name] {
			return fail(line, fmt.Errorf("section %q appears twice", file.Name))
		}
		seen[file.Name] = true
		p := &parser{scenario: s, keys: map[string]bool{}}
		if file.Name == "order" {
			s.Want.Order = []string{}
		}
		if file.Name == "log" {
			s.Want.Log = []string{}
		}
		for text := range strings.Lines(string(file.Data)) {
			line++
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			if err := section(p, text); err != nil {
				return fail(line, fmt.Errorf("section %q: %w", file.Name, err))
			}
		}
	}
	for _, need := range []string{"runners", "request", "server", "want"} {
		if !seen[need] {
			return fail(line, fmt.Errorf("no section %q", need))
		}
	}
	if err := s.check(); err != nil {
		return fail(line, err)
	}
	return s, nil
}

// unsaid is the number of requests that want does not give, which is the number of attempts.
const unsaid = -2

// Sends is how many requests the client itself sends, -1 if any number may be.
func (w *Want) Sends() int {
	if w.Requests < 0 {
		return -1
	}
	return w.Requests - w.Resent
}

// Others is how many requests belong to before and after.
func (r *Request) Others() int {
	n := 0
	if r.Before != "" {
		n++
	}
	if r.After != "" {
		n++
	}
	return n
}

// gaps is how many waits there are to be checked: those between the requests of the
// call itself.
func (s *Scenario) gaps() int {
	return max(s.Want.Sends()-s.Request.Others()-1, 0)
}

// check reports what no single line shows.
func (s *Scenario) check() error {
	w := &s.Want
	for _, runner := range Runners {
		if slices.Contains(s.Run, runner) == (s.Not[runner] != "") {
			return fmt.Errorf("runner %s must be named once, behind run or behind not", runner)
		}
	}
	if s.Request.URL == "" {
		return errors.New("the request has no line METHOD URL")
	}
	if r := &s.Request; slices.Contains([]string{"get", "head", "post", "post-form"}, r.Via) &&
		(r.Deadline != 0 || r.Cancel != nil || r.RetryMax != nil || r.Policy.Word != "") {
		return fmt.Errorf("a call via %s has no context for deadline, cancel, retry-max and policy", r.Via)
	}
	if w.Attempts < 0 {
		return errors.New("want does not say how many attempts there are")
	}
	if w.Requests == unsaid {
		w.Requests = w.Attempts
	}
	sends := w.Sends()
	if gaps := s.gaps(); len(w.Waits) != gaps {
		return fmt.Errorf("there are %d waits between the requests, %d are given", gaps, len(w.Waits))
	}
	if w.Result == nil && w.Error == "" {
		return errors.New("want names neither a result nor an error")
	}
	if w.Error == "" && (w.Reason != "" || w.Timeout != "" || w.Unsent != "" || len(w.Matches)+len(w.MatchesNot) > 0 || w.URLErrors != "" || w.LastResponse != nil || w.NoResponse) {
		return errors.New("want says what an error is like but names none")
	}
	if w.ReadError == "" && (len(w.ReadMatches)+len(w.ReadMatchesNot) > 0 || w.ReadOffset != "") {
		return errors.New("want says what the error of reading is like but gives no read-error")
	}
	if w.ReadError != "" && (w.Result == nil || !w.Result.Broken) {
		return errors.New("want gives a read-error but no result that is broken")
	}
	if sends >= 0 && w.Resumed+s.Request.Others() > sends {
		return fmt.Errorf("%d of %d requests cannot be for a resumption", w.Resumed, sends)
	}
	for name, list := range map[string][]string{
		"bytes": w.Bytes, "method": w.Methods, "path": w.Paths, "connection": w.Connections, "sent": w.Sent,
	} {
		if list != nil && len(list) != w.Requests {
			return fmt.Errorf("want %s: %d values for %d requests", name, len(list), w.Requests)
		}
	}
	for name, list := range map[string][]string{"content-length": w.ContentLength, "attempt-number": w.AttemptNumbers} {
		if list != nil && len(list) != sends {
			return fmt.Errorf("want %s: %d values for %d requests", name, len(list), sends)
		}
	}
	for name, list := range w.Header {
		if len(list) != w.Requests {
			return fmt.Errorf("want header %s: %d values for %d requests", name, len(list), w.Requests)
		}
	}
	for n := 1; n <= w.Requests; n++ {
		if _, ok := s.Step(n); !ok {
			return fmt.Errorf("the server has no line for request %d", n)
		}
	}
	sockets := len(s.Run) > 1 || !slices.Contains(s.Run, Memory)
	if sockets {
		var sum time.Duration
		for _, wait := range w.Waits {
			sum += wait.Max
		}
		if sum > MaxSocketWait {
			return fmt.Errorf("waits of %s are too long for sockets, which allow %s", sum, MaxSocketWait)
		}
		for _, step := range s.Server {
			if step.Error != "" || step.Failure != "" || step.Late || step.Status == 0 || step.Fault == "refuse" {
				return errors.New("a step with error=, failure=, fault=refuse, late or status 0 is for memory only")
			}
		}
	}
	return nil
}

// A parser takes the lines of one section.
type parser struct {
	scenario *Scenario
	keys     map[string]bool // seen
	started  bool
}

var sections = map[string]func(*parser, string) error{
	"runners": (*parser).runners,
	"client":  (*parser).client,
	"request": (*parser).request,
	"server":  (*parser).server,
	"want":    (*parser).want,
	"order": func(p *parser, line string) error {
		p.scenario.Want.Order = append(p.scenario.Want.Order, line)
		return nil
	},
	"log": func(p *parser, line string) error {
		p.scenario.Want.Log = append(p.scenario.Want.Log, line)
		return nil
	},
	"on-attempt": func(p *parser, line string) error {
		p.scenario.Want.OnAttempt = append(p.scenario.Want.OnAttempt, line)
		return nil
	},
}

// setting splits a line into key and value, and refuses a key that comes again.
func (p *parser) setting(line string, repeatable ...string) (key, value string, err error) {
	key, value, ok := strings.Cut(line, ":")
	if !ok {
		return "", "", fmt.Errorf(`%q is not of the form "key: value"`, line)
	}
	value = strings.TrimSpace(value)
	if value == "" {
		return "", "", fmt.Errorf("%s has no value", key)
	}
	if p.keys[key] && !slices.Contains(repeatable, key) {
		return "", "", fmt.Errorf("%s is given twice", key)
	}
	p.keys[key] = true
	return key, value, nil
}

func (p *parser) runners(line string) error {
	key, value, err := p.setting(line, "not")
	if err != nil {
		return err
	}
	s := p.scenario
	list, reason := value, "-"
	switch key {
	case "plays":
		if s.Plays, err = number(value); err == nil && s.Plays == 0 {
			err = errors.New("a scenario is played at least once")
		}
		return about(key, err)
	case "not":
		var ok bool
		if list, reason, ok = strings.Cut(value, ";"); !ok || strings.TrimSpace(reason) == "" {
			return errors.New(`want "not: RUNNER ...; why"`)
		}
	case "run":
	default:
		return unknown("key", key)
	}
	for _, word := range strings.Fields(list) {
		runner := Runner(word)
		if !slices.Contains(Runners, runner) {
			return unknown("runner", word)
		}
		if key == "run" {
			s.Run = append(s.Run, runner)
		} else {
			s.Not[runner] = strings.TrimSpace(reason)
		}
	}
	return nil
}

func (p *parser) client(line string) error {
	key, value, err := p.setting(line)
	if err != nil {
		return err
	}
	c := &p.scenario.Client
	switch key {
	case "zero":
		return yes(value, &c.Zero)
	case "retry-max":
		c.RetryMax = new(int)
		*c.RetryMax, err = strconv.Atoi(value)
	case "wait-min":
		c.WaitMin, err = durationPointer(value)
	case "wait-max":
		c.WaitMax, err = durationPointer(value)
	case "retry-after-max":
		c.RetryAfterMax, err = time.ParseDuration(value)
	case "attempt-timeout":
		c.AttemptTimeout, err = time.ParseDuration(value)
	case "max-elapsed-time":
		c.MaxElapsedTime, err = time.ParseDuration(value)
	case "client-timeout":
		c.ClientTimeout, err = time.ParseDuration(value)
	case "policy":
		c.Policy, err = command(value, policies...)
	case "backoff":
		c.Backoff, err = command(value, "default 0", "exponential 0", "linear-jitter 0", "rate-limit-linear-jitter 0", "fixed 1")
	case "error-handler":
		c.ErrorHandler, err = command(value, "passthrough 0", "error 1", "nothing 0", "response 0")
	case "prepare-retry":
		c.PrepareRetry, err = command(value, "add 2", "fail 1 at")
	case "request-hook":
		c.RequestHook, err = command(value, "add 2", "log 1", "nothing 0")
	case "response-hook":
		c.ResponseHook, err = command(value, "log 1", "nothing 0")
	case "logger":
		c.Logger, err = oneOf(value, "printf", "leveled", "slog", "unusable", "nil-pointer")
	case "redact-url":
		c.RedactURL, err = strconv.Unquote(value)
	case "check-redirect":
		c.CheckRedirect, err = oneOf(value, "last-response", "refuse", "count")
	case "jar":
		return yes(value, &c.Jar)
	case "distrust":
		return yes(value, &c.Distrust)
	case "idempotency-key":
		c.IdempotencyKey, err = oneOf(value, "counted", "random", "empty")
	case "replay-max":
		c.ReplayMax, err = strconv.ParseInt(value, 10, 64)
	case "resume-max":
		c.ResumeMax, err = strconv.Atoi(value)
	case "body-max":
		c.BodyMax, err = strconv.ParseInt(value, 10, 64)
	case "inner":
		var inner Command
		if inner, err = command(value, "direct 1", "hidden 1"); err == nil {
			c.Inner = inner.Word
			c.InnerRetryMax, err = number(inner.Args[0])
		}
	default:
		return unknown("key", key)
	}
	return about(key, err)
}

// policies are the forms of a policy, see README.md.
var policies = []string{"default 0", "error-propagated 0", "safe 0", "never 0", "always 0", "stop-error 1", "retry-error 1"}

func (p *parser) request(line string) error {
	r := &p.scenario.Request
	if !p.started {
		p.started = true
		var ok bool
		r.Method, r.URL, ok = strings.Cut(line, " ")
		if !ok || strings.HasSuffix(r.Method, ":") {
			return fmt.Errorf("%q is not METHOD URL", line)
		}
		r.Header, r.Via = http.Header{}, "do"
		r.Body.Kind = "none"
		return nil
	}
	key, value, err := p.setting(line, "header")
	if err != nil {
		return err
	}
	switch key {
	case "via":
		r.Via, err = oneOf(value, "do", "get", "head", "post", "post-form", "from-request", "standard-client", "round-tripper", "bare-round-tripper")
	case "header":
		name, text, ok := strings.Cut(value, ":")
		if !ok {
			return errors.New(`want "header: Name: value"`)
		}
		if text = strings.TrimSpace(text); strings.HasPrefix(text, `"`) {
			if text, err = strconv.Unquote(text); err != nil {
				return err
			}
		}
		// Not Add: the name may be invalid on purpose.
		name = textproto.CanonicalMIMEHeaderKey(name)
		r.Header[name] = append(r.Header[name], text)
	case "body":
		err = parseBody(value, &r.Body)
	case "deadline":
		r.Deadline, err = time.ParseDuration(value)
	case "cancel":
		after, cause, _ := strings.Cut(value, " ")
		if r.Cancel, err = durationPointer(after); err == nil && cause != "" {
			r.Cause, err = strconv.Unquote(cause)
		}
	case "response-handler":
		r.ResponseHandler, err = command(value, "accept 0", "fail 1 times")
	case "outer-timeout":
		r.OuterTimeout, err = time.ParseDuration(value)
	case "retry-max":
		r.RetryMax = new(int)
		*r.RetryMax, err = strconv.Atoi(value)
	case "policy":
		r.Policy, err = command(value, policies...)
	case "before":
		r.Before = value
	case "after":
		r.After = value
	default:
		return unknown("key", key)
	}
	return about(key, err)
}

// bodyKinds lists the kinds of bodies, see README.md.
var bodyKinds = []string{
	"no-body", "bytes", "string", "buffer", "bytes-reader", "strings-reader", "section-reader", "file", "read-seeker",
	"func", "plain-func", "func-len", "func-section", "func-file", "func-closer", "reader", "read-closer",
	"overfull-reader", "stream", "replayable", "int",
}

func parseBody(value string, b *Body) error {
	cmd, err := splitCommand(value)
	if err != nil {
		return err
	}
	if b.Kind, err = oneOf(cmd.Word, bodyKinds...); err != nil {
		return err
	}
	b.Options = cmd.Options
	for option := range cmd.Options {
		if _, err := oneOf(option, "offset", "declared", "fail", "at"); err != nil {
			return err
		}
	}
	switch {
	case len(cmd.Args) > 1:
		return fmt.Errorf("more than one content: %q", cmd.Args)
	case len(cmd.Args) == 1:
		b.Content, err = content(cmd.Args[0])
	}
	if err != nil {
		return err
	}
	for _, option := range []string{"offset", "at"} {
		text, ok := cmd.Options[option]
		if n, err := number(text); ok && (err != nil || n > len(b.Content) && !strings.Contains(b.Kind, "func")) {
			return fmt.Errorf("%s=%s does not lie within the content", option, text)
		}
	}
	return nil
}

func (p *parser) server(line string) error {
	numbers, rest, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf(`%q is not of the form "N: what is done"`, line)
	}
	step := Step{Status: -1, Header: http.Header{}}
	var err error
	first, last, isRange := strings.Cut(numbers, "-")
	open := strings.HasSuffix(numbers, "+")
	if step.First, err = strconv.Atoi(strings.TrimSuffix(first, "+")); err != nil {
		return err
	}
	switch {
	case isRange:
		if step.Last, err = strconv.Atoi(last); err != nil {
			return err
		}
	case !open:
		step.Last = step.First
	}
	steps := p.scenario.Server
	next := 1
	if len(steps) > 0 {
		next = steps[len(steps)-1].Last + 1
	}
	if step.First != next || next == 1 && len(steps) > 0 {
		return fmt.Errorf("request %d comes out of turn", step.First)
	}
	items, err := split(rest)
	if err != nil {
		return err
	}
	for i, item := range items {
		if err := step.item(i, item); err != nil {
			return err
		}
	}
	if step.Status < 0 && step.Fault == "" && step.Error == "" && step.Failure == "" {
		return errors.New("neither a status nor a fault")
	}
	p.scenario.Server = append(steps, step)
	return nil
}

// failures are the errors of a transport that have a name.
var failures = []string{
	"certificate-untrusted", "certificate-hostname", "certificate-expired", "certificate-verification",
	"certificate-constraint", "certificate-insecure", "certificate-critical-extension", "certificate-roots",
	"alert-bad-certificate", "alert-unknown-ca", "alert-certificate-required", "alert-certificate-expired",
	"alert-internal-error", "alert-handshake-failure", "plain-http", "timeout",
	"name-lookup", "proxy-connect",
}

func (s *Step) item(i int, item string) (err error) {
	if i == 0 && isDigits(item) {
		s.Status, err = strconv.Atoi(item)
		return err
	}
	key, value, _ := strings.Cut(item, "=")
	if strings.HasPrefix(value, `"`) && key != "body" {
		if value, err = strconv.Unquote(value); err != nil {
			return err
		}
	}
	switch key {
	case "body":
		s.Body, err = content(value)
	case "read":
		if value == "none" {
			s.Read = -1
			return nil
		}
		s.Read, err = strconv.ParseInt(value, 10, 64)
	case "delay":
		s.Delay, err = time.ParseDuration(value)
	case "drip":
		s.Drip, err = time.ParseDuration(value)
	case "chunked":
		return noValue(key, value, &s.Chunked)
	case "close":
		return noValue(key, value, &s.Close)
	case "late":
		return noValue(key, value, &s.Late)
	case "fault":
		s.Fault, err = oneOf(value, "refuse", "reset", "close", "stall", "refuse-stream", "reset-stream", "goaway")
	case "at":
		if value == "headers" {
			s.At = -1
			return nil
		}
		s.At, err = number(value)
	case "error":
		s.Error = value
	case "failure":
		s.Failure, err = oneOf(value, failures...)
	default:
		if key == "" || key[0] < 'A' || key[0] > 'Z' {
			return unknown("item", key)
		}
		s.Header.Add(key, value)
	}
	return about(key, err)
}

func (p *parser) want(line string) error {
	w := &p.scenario.Want
	if !p.started {
		p.started = true
		w.Requests, w.Attempts = unsaid, -1
		w.Header = map[string][]string{}
	}
	key, value, err := p.setting(line, "lacks")
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(key, "header "); ok {
		w.Header[name], err = list(value)
		return about(key, err)
	}
	switch key {
	case "attempts":
		w.Attempts, err = number(value)
	case "requests":
		if w.Requests = -1; value != "any" {
			w.Requests, err = number(value)
		}
	case "resent":
		w.Resent, err = number(value)
	case "resumed":
		w.Resumed, err = number(value)
	case "waits":
		for _, item := range strings.Split(value, ",") {
			text, times, repeated := strings.Cut(strings.TrimSpace(item), "*")
			n := 1
			if repeated {
				if n, err = number(times); err != nil {
					return about(key, err)
				}
			}
			r, rangeErr := parseRange(text)
			if rangeErr != nil {
				return about(key, rangeErr)
			}
			w.Waits = append(w.Waits, slices.Repeat([]Range{r}, n)...)
		}
	case "elapsed":
		var r Range
		r, err = parseRange(value)
		w.Elapsed = &r
	case "sent":
		items, splitErr := splitAt(value, ", ")
		if splitErr != nil {
			return splitErr
		}
		w.Sent = []string{}
		for _, item := range items {
			text, contentErr := content(item)
			if contentErr != nil {
				return about(key, contentErr)
			}
			w.Sent = append(w.Sent, text)
		}
	case "bytes":
		w.Bytes, err = list(value)
	case "content-length":
		w.ContentLength, err = list(value)
	case "method":
		w.Methods, err = list(value)
	case "path":
		w.Paths, err = list(value)
	case "connection":
		w.Connections, err = list(value)
	case "attempt-number":
		w.AttemptNumbers, err = list(value)
	case "uuid":
		w.UUID = value
	case "distinct":
		w.Distinct, err = number(value)
	case "result":
		w.Result, err = result(value)
	case "error":
		w.Error = value
	case "lacks":
		w.Lacks = append(w.Lacks, value)
	case "matches":
		w.Matches, err = matches(value)
	case "matches-not":
		w.MatchesNot, err = matches(value)
	case "timeout":
		w.Timeout, err = oneOf(value, "true", "false")
	case "unsent":
		w.Unsent, err = oneOf(value, "true", "false")
	case "read-error":
		w.ReadError = value
	case "read-matches":
		w.ReadMatches, err = matches(value)
	case "read-matches-not":
		w.ReadMatchesNot, err = matches(value)
	case "read-offset":
		w.ReadOffset, err = digits(value)
	case "reason":
		w.Reason = value
	case "last-response":
		if value == "none" {
			w.NoResponse = true
			return nil
		}
		w.LastResponse, err = result(value)
	case "url-errors":
		w.URLErrors, err = digits(value)
	case "error-handler":
		w.ErrorHandler = value
	case "opened":
		w.Opened, err = digits(value)
	case "closed":
		w.Closed, err = digits(value)
	case "get-body":
		w.GetBody, err = digits(value)
	case "read-before-send":
		w.ReadBeforeSend, err = oneOf(value, "yes", "no")
	case "source-offset":
		w.SourceOffset, err = digits(value)
	case "file-open":
		w.FileOpen, err = oneOf(value, "yes")
	case "late":
		w.Late, err = oneOf(value, "own bytes", "nothing")
	case "outer-redirects":
		w.OuterRedirects, err = digits(value)
	default:
		return unknown("key", key)
	}
	return about(key, err)
}

// matchNames are what an error can be asked to match, besides a quoted text.
var matchNames = []string{
	"give-up", "canceled", "deadline-exceeded", "attempt-timeout", "max-elapsed-time", "body-length",
	"connection-reset", "connection-refused", "url-error", "not-replayable", "resume-error", "representation-changed",
	"unexpected-eof",
}

func matches(value string) ([]string, error) {
	items, err := splitAt(value, ", ")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, item := range items {
		if !strings.HasPrefix(item, `"`) {
			if _, err := oneOf(item, matchNames...); err != nil {
				return nil, err
			}
		}
		all = append(all, item)
	}
	return all, nil
}

func result(value string) (*Result, error) {
	items, err := split(value)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if r.Status, err = strconv.Atoi(items[0]); err != nil {
		return nil, err
	}
	if items = items[1:]; len(items) > 0 && items[len(items)-1] == "broken" {
		r.Broken = true
		items = items[:len(items)-1]
	}
	switch len(items) {
	case 0:
		return r, nil
	case 1:
		r.Body, err = content(items[0])
		return r, err
	}
	return nil, fmt.Errorf("%q is not STATUS CONTENT", value)
}

func parseRange(value string) (Range, error) {
	lo, hi, isRange := strings.Cut(value, "..")
	if !isRange {
		hi = lo
	}
	from, err := time.ParseDuration(lo)
	if err != nil {
		return Range{}, err
	}
	to, err := time.ParseDuration(hi)
	if err == nil && to < from {
		err = fmt.Errorf("%q runs backwards", value)
	}
	return Range{from, to}, err
}

// content reads a quoted text or a size (10B, 64KiB), which stands for that many
// bytes of the alphabet over and over.
func content(value string) (string, error) {
	if strings.HasPrefix(value, `"`) {
		return strconv.Unquote(value)
	}
	digits, unit := value, 0
	for suffix, size := range map[string]int{"KiB": 1 << 10, "B": 1} {
		if number, ok := strings.CutSuffix(value, suffix); ok && isDigits(number) {
			digits, unit = number, size
		}
	}
	n, err := strconv.Atoi(digits)
	if unit == 0 || err != nil {
		return "", fmt.Errorf("%q is neither a quoted text nor a size such as 10B or 64KiB", value)
	}
	const alphabet = "abcdefghijklmnopqrstuvwxyz"
	return strings.Repeat(alphabet, n*unit/len(alphabet)+1)[:n*unit], nil
}

// command reads a word with its arguments. Each form is the word, the number of its
// arguments, and the options it may have.
func command(value string, forms ...string) (Command, error) {
	cmd, err := splitCommand(value)
	if err != nil {
		return cmd, err
	}
	var words []string
	for _, form := range forms {
		fields := strings.Fields(form)
		words = append(words, fields[0])
		if fields[0] != cmd.Word {
			continue
		}
		if fields[1] != strconv.Itoa(len(cmd.Args)) {
			return cmd, fmt.Errorf("%s takes %s arguments, not %d", cmd.Word, fields[1], len(cmd.Args))
		}
		for option := range cmd.Options {
			if _, err := oneOf(option, fields[2:]...); err != nil {
				return cmd, err
			}
		}
		for i, arg := range cmd.Args {
			if strings.HasPrefix(arg, `"`) {
				if cmd.Args[i], err = strconv.Unquote(arg); err != nil {
					return cmd, err
				}
			}
		}
		return cmd, nil
	}
	_, err = oneOf(cmd.Word, words...)
	return cmd, err
}

func splitCommand(value string) (Command, error) {
	items, err := split(value)
	if err != nil {
		return Command{}, err
	}
	cmd := Command{Word: items[0], Options: map[string]string{}}
	for _, item := range items[1:] {
		if key, option, ok := strings.Cut(item, "="); ok && !strings.HasPrefix(item, `"`) {
			if strings.HasPrefix(option, `"`) {
				if option, err = strconv.Unquote(option); err != nil {
					return cmd, err
				}
			}
			cmd.Options[key] = option
			continue
		}
		cmd.Args = append(cmd.Args, item)
	}
	return cmd, nil
}

// split cuts a text at its blanks, but not within quotes, which it keeps.
func split(text string) ([]string, error) { return splitAt(text, " ") }

func splitAt(text, separators string) ([]string, error) {
	var items []string
	for text = strings.Trim(text, separators); text != ""; text = strings.Trim(text, separators) {
		end := 0
		for end < len(text) && !strings.ContainsRune(separators, rune(text[end])) {
			if text[end] == '"' {
				quoted, err := strconv.QuotedPrefix(text[end:])
				if err != nil {
					return nil, fmt.Errorf("unfinished quotes: %s", text[end:])
				}
				end += len(quoted)
				continue
			}
			end++
		}
		items = append(items, text[:end])
		text = text[end:]
	}
	if len(items) == 0 {
		return nil, errors.New("nothing is said")
	}
	return items, nil
}

// list reads values with commas between them; "-" stands for an absent value, and a
// value in quotes may have commas and quotes in it.
func list(value string) ([]string, error) {
	var items []string
	for more := true; more; {
		var item string
		if quoted, err := strconv.QuotedPrefix(strings.TrimSpace(value)); err == nil {
			if item, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			var between string
			between, value, more = strings.Cut(strings.TrimSpace(value)[len(quoted):], ",")
			if strings.TrimSpace(between) != "" {
				return nil, fmt.Errorf("%q behind a value in quotes", between)
			}
		} else {
			item, value, more = strings.Cut(value, ",")
			item = strings.TrimSpace(item)
		}
		if item == "" {
			return nil, errors.New("an empty value; absent is written -")
		}
		items = append(items, item)
	}
	return items, nil
}

func number(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err == nil && (n < 0 || n > math.MaxInt32) {
		err = fmt.Errorf("%d is out of range", n)
	}
	return n, err
}

func digits(value string) (string, error) {
	if !isDigits(value) {
		return "", fmt.Errorf("%q is not a number", value)
	}
	return value, nil
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func durationPointer(value string) (*time.Duration, error) {
	d, err := time.ParseDuration(value)
	return &d, err
}

func yes(value string, flag *bool) error {
	*flag = true
	_, err := oneOf(value, "yes")
	return err
}

func noValue(key, value string, flag *bool) error {
	if value != "" {
		return fmt.Errorf("%s takes no value", key)
	}
	*flag = true
	return nil
}

func oneOf(value string, allowed ...string) (string, error) {
	if !slices.Contains(allowed, value) {
		return value, fmt.Errorf("%q is not one of: %s", value, strings.Join(allowed, ", "))
	}
	return value, nil
}

func unknown(what, name string) error { return fmt.Errorf("unknown %s %q", what, name) }

func about(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}
