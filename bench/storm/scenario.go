package main

import (
	"fmt"
	"time"
)

// A scenario is one experiment: callers, servers, and a fault.
type scenario struct {
	name  string // for -scenario
	title string
	about string // for the page
	// libraries are the names of the libraries that take part.
	libraries []string
	// columns are what the table shows.
	columns []metric
	// plotted says whether a figure shows what happens over time.
	plotted bool

	// growth puts the scenario into the table of all numbers of callers.
	growth bool

	// rate is how many calls begin in a second, of all callers together.
	rate float64
	// callers is how many callers take turns. Each has its next turn callers/rate later.
	callers int
	// clients is how many clients of a library the callers have. Each client is shared by
	// callers/clients callers. 0 means one.
	clients int
	// wait makes a caller begin its next call only when the last one has ended, and leave
	// out the turns that it has missed. Otherwise its calls overlap.
	wait bool
	// copies is how many times the callers, the clients and the servers exist, for an
	// average of few callers. Rates are those of one copy. 0 means one.
	copies int

	// endpoints is how many servers there are. 0 means one. Only the first has the fault.
	endpoints int
	normal    condition
	fault     condition
	// together makes the calls that begin in a second of the fault begin in its first 20 ms.
	together bool
	from, to time.Duration // when the fault begins and ends

	// run is how long the calls begin that are measured.
	run time.Duration
	// tail is how long calls go on after run. Without them the end of the load would help the
	// last calls that are measured.
	tail time.Duration
}

// callTimeout is the deadline of every call.
const callTimeout = 10 * time.Second

// standard is a scenario with 80 % load, which the others differ from.
func standard() scenario {
	return scenario{
		libraries: everyLibrary,
		columns:   faultColumns,
		plotted:   true,
		rate:      400,
		callers:   4000,
		normal:    healthy,
		from:      2 * time.Second,
		to:        4 * time.Second,
		run:       11 * time.Second,
		tail:      callTimeout,
	}
}

// healthy is a server without a fault.
var healthy = condition{capacity: 500, refusal: 0.25, latency: 10 * time.Millisecond}

func outage(name string) *scenario {
	s := standard()
	s.name = name
	s.title = "Outage of 2 s"
	s.about = "From 2 s to 4 s the server answers every request with a 503. A refusal costs a quarter of an answer."
	s.fault = healthy
	s.fault.down = true
	return &s
}

func brownout(name string) *scenario {
	s := standard()
	s.name = name
	s.title = "Brownout of 4 s"
	s.about = "From 2 s to 6 s the server has half its capacity. A refusal costs half an answer."
	s.to = 6 * time.Second
	s.normal.refusal = 0.5
	s.fault = s.normal
	s.fault.capacity /= 2
	return &s
}

// ownClients gives every one of 200 callers a client of its own.
func (s *scenario) ownClients() *scenario {
	s.callers, s.clients = 200, 200
	s.title += ", 200 clients"
	s.about += " There are 200 clients that share nothing; each makes 2 calls/s."
	return s
}

// waitingCallers has 200 callers that wait for their calls.
func (s *scenario) waitingCallers() *scenario {
	s.callers, s.wait = 200, true
	s.title += ", callers that wait"
	s.about += " 200 callers share one client. Each begins a call every 0.5 s, but never two at the same time."
	return s
}

// flakyServer fails for a reason that has nothing to do with load.
func flakyServer(name string) *scenario {
	s := standard()
	s.name = name
	s.title = "A third of the responses fails for 7 s"
	s.about = "From 2 s to 9 s a third of the requests, at random, gets a 503, as if one of three servers behind a load balancer were " +
		"broken. The server has 5,000 units of capacity, so fewer requests would not help."
	s.to = 9 * time.Second
	s.normal.capacity = 5000
	s.fault = s.normal
	s.fault.failing = 1.0 / 3
	return &s
}

func slowServer() *scenario {
	s := standard()
	s.name = "slow"
	s.title = "Slow server for 4 s"
	s.about = "From 2 s to 6 s responses take 50 times as long, 0.5 s. There are no errors, so every retry is a mistake."
	s.plotted = false // all lines would be the same
	s.to = 6 * time.Second
	s.fault = healthy
	s.fault.latency *= 50
	return &s
}

func deadConnections() *scenario {
	s := standard()
	s.name = "dead"
	s.title = "Dead connections for 2 s"
	s.about = "From 2 s to 4 s every other request is sent over a connection whose other end has gone, and gets no response at all. " +
		"Only a limit on each attempt helps, which no library has by default, or none below the deadline."
	s.plotted = false // all lines would be the same
	s.fault = healthy
	s.fault.lost = 0.5
	return &s
}

func secondBoundary() *scenario {
	s := standard()
	s.name = "second"
	s.title = "Calls at the full second"
	s.about = "300 calls/s. From 2 s to 6 s all calls of a second begin in its first 20 ms. The server is healthy, and could answer " +
		"all of them within the second. A refusal costs a quarter of an answer. Waits of whole seconds meet the next calls."
	s.columns = togetherColumns
	s.rate, s.callers = 300, 3000
	s.fault = healthy
	s.together = true
	s.to = 6 * time.Second
	return &s
}

func badEndpoint() *scenario {
	s := standard()
	s.name = "endpoint"
	s.title = "One of three endpoints dead for 4 s"
	s.about = "Requests go to three servers in turn. From 2 s to 6 s the first refuses connections."
	s.libraries = append([]string{"failover"}, everyLibrary...)
	s.columns = endpointColumns
	s.endpoints = 3
	s.to = 6 * time.Second
	s.fault = healthy
	s.fault.gone = true
	return &s
}

func slowAnswers() *scenario {
	s := standard()
	s.name = "hedging"
	s.title = "One answer of 100 is 100 times slower"
	s.about = "1,000 calls/s for 20 s to a server of 2,000/s. 1 % of the answers take 1 s instead of 10 ms."
	s.libraries = []string{"hedge", "recommended", "none"}
	s.columns = hedgingColumns
	s.plotted = false
	s.rate, s.callers = 1000, 1000
	s.normal.capacity = 2000
	s.normal.slow = 0.01
	s.fault = s.normal
	s.to, s.run, s.tail = s.from, 20*time.Second, 0
	return &s
}

// growth is an outage for any number of callers. They call seldom, and the run is short, because
// the calls of 100,000 callers that an outage delays are goroutines that all wait at the
// same time.
func growth(callers int) *scenario {
	s := outage(fmt.Sprintf("growth-%d", callers))
	s.growth, s.plotted = true, false
	s.callers, s.rate = callers, 0.4*float64(callers)
	s.normal.capacity, s.fault.capacity = 1.25*s.rate, 1.25*s.rate
	s.copies = max(1, 10_000/callers)
	s.from, s.to, s.run, s.tail = time.Second, 3*time.Second, 6*time.Second, 0
	return s
}

// growthCallers are the numbers of callers.
var growthCallers = []int{100, 1_000, 10_000, 100_000}

// scenarios returns all scenarios in the order of the page.
func scenarios() []*scenario {
	all := []*scenario{
		outage("outage"),
		brownout("brownout"),
		brownout("brownout-closed").waitingCallers(),
		outage("outage-clients").ownClients(),
		brownout("brownout-clients").ownClients(),
		flakyServer("flaky"),
		flakyServer("flaky-clients").ownClients(),
		slowServer(),
		deadConnections(),
		secondBoundary(),
		badEndpoint(),
		slowAnswers(),
	}
	for _, n := range growthCallers {
		all = append(all, growth(n))
	}
	return all
}
