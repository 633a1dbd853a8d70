package main

import (
	"net/http"
)

// pool measures what calls that fail do to the connections of those that do not: of
// each hundred calls of a client, one goes to an endpoint that resets connections or
// that nobody listens at.
func (b *bench) pool() error {
	calls := pick(b, 10_000, 1_000)
	t := &table{
		title:  "1 % of the calls of a client go to an endpoint that resets connections, or at which nobody listens",
		header: []string{"", "calls", "failures at that endpoint", "other failures", "new connections to the healthy server"},
	}
	for _, c := range contenders() {
		transport := newTransport()
		client := c.New(transport, settings{Retries: 2})
		good, err := client.Prepare(request{Method: http.MethodGet, URL: b.server.Data + "/plain/pool?size=64"})
		if err != nil {
			return err
		}
		reset, err := client.Prepare(request{Method: http.MethodGet, URL: b.server.Reset + "/"})
		if err != nil {
			return err
		}
		closed, err := client.Prepare(request{Method: http.MethodGet, URL: b.server.Closed + "/"})
		if err != nil {
			return err
		}
		if err := finish(good); err != nil {
			return err
		}
		before, err := b.server.accepted()
		if err != nil {
			return err
		}
		var failed, wrong int
		for i := range calls {
			switch i % 200 {
			case 50:
				err = finish(reset)
			case 150:
				err = finish(closed)
			default:
				if err := finish(good); err != nil {
					wrong++
				}
				continue
			}
			if err != nil {
				failed++
			} else {
				wrong++
			}
		}
		after, err := b.server.accepted()
		if err != nil {
			return err
		}
		transport.CloseIdleConnections()
		t.add(c.Name(), calls, failed, wrong, after-before)
		if own, ok := ownName(c); ok {
			b.atMost("pool-"+own, float64(after-before), 0, "new connections", nil)
		}
	}
	t.write(b.out)
	return nil
}
