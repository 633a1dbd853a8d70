package conformance

import (
	"context"
	"crypto/x509"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/retrytest"
)

// TestMemory plays the scenarios in virtual time, where every wait is exact.
func TestMemory(t *testing.T) {
	for _, s := range load(t, Memory) {
		t.Run(s.Name, func(t *testing.T) {
			var all [][]time.Duration
			for range s.Plays {
				synctest.Test(t, func(t *testing.T) {
					p := newPlay(t, s, true)
					transport := retrytest.NewTransportFunc(p.choose)
					p.tap = &tap{play: p, next: transport}
					p.server, p.client = transport, p.newClient(p.tap)
					o := p.perform()
					synctest.Wait()
					p.check(o)
					assert.Zero(t, transport.OpenBodies(), "response bodies that were neither closed nor read to the end")
					all = append(all, o.waits)
				})
				if t.Failed() {
					return
				}
			}
			checkSpread(t, s, all)
		})
	}
}

// checkSpread counts how many different waits there were at each place over all
// plays.
func checkSpread(t *testing.T, s *Scenario, plays [][]time.Duration) {
	if s.Want.Distinct == 0 {
		return
	}
	for i := range s.Want.Waits {
		seen := map[time.Duration]bool{}
		for _, waits := range plays {
			seen[waits[i]] = true
		}
		assert.GreaterOrEqual(t, len(seen), s.Want.Distinct, "wait %d: different values in %d plays", i+1, s.Plays)
	}
}

// TestSockets plays those with short waits over real connections, where nothing may
// come early and everything else is as in virtual time.
func TestSockets(t *testing.T) {
	for runner, protocol := range map[Runner]retrytest.Protocol{
		HTTP1: retrytest.HTTP1, HTTPS: retrytest.HTTPS, HTTP2: retrytest.HTTP2,
	} {
		t.Run(string(runner), func(t *testing.T) {
			for _, s := range load(t, runner) {
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					playOverSockets(t, s, protocol)
				})
			}
		})
	}
}

func playOverSockets(t *testing.T, s *Scenario, protocol retrytest.Protocol) {
	p := newPlay(t, s, false)
	server := retrytest.NewServerFunc(protocol, p.choose)
	defer server.Close()
	transport := server.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	// Every host of a scenario is this server.
	address := server.URL[strings.Index(server.URL, "//")+2:]
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	if s.Client.Distrust {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	}
	p.tap = &tap{play: p, next: transport}
	p.server, p.client = server, p.newClient(p.tap)
	o := p.perform()
	// The record of a body is complete a moment after the response was sent.
	assert.Eventually(t, func() bool {
		return !slices.ContainsFunc(server.Attempts(), func(a retrytest.Attempt) bool { return !a.BodyRead })
	}, slack, time.Millisecond)
	p.check(o)
}

func load(t *testing.T, runner Runner) []*Scenario {
	t.Helper()
	scenarios, err := Load(runner)
	require.NoError(t, err)
	require.NotEmpty(t, scenarios)
	return scenarios
}

// all returns every scenario, whatever plays it.
func all(t *testing.T) map[string]*Scenario {
	t.Helper()
	named := map[string]*Scenario{}
	for _, runner := range Runners {
		for _, s := range load(t, runner) {
			named[s.Name] = s
		}
	}
	return named
}

func TestEveryRuleIsShown(t *testing.T) {
	rows, err := Rows()
	require.NoError(t, err)
	shown := map[string]bool{}
	scenarios := all(t)
	for name, s := range scenarios {
		for _, row := range s.Rows {
			assert.Contains(t, rows, row, "%s shows a rule that rows.txt does not list", name)
			shown[row] = true
		}
	}
	for _, row := range rows {
		assert.True(t, shown[row], "no scenario shows %q", row)
	}
	assert.GreaterOrEqual(t, len(scenarios), 80)
	files, err := fs.Glob(Files, "testdata/*.txtar")
	require.NoError(t, err)
	assert.Len(t, scenarios, len(files), "a file that nothing plays")
}
