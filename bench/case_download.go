package main

import (
	"fmt"
	"net/http"
)

// download measures the reading of a large response.
func (b *bench) download() error {
	mib := pick(b, int64(256), 8)
	get := request{Method: http.MethodGet, URL: fmt.Sprintf("%s/plain/download?size=%d", b.server.Data, mib<<20)}
	var racers []racer
	for _, c := range contenders() {
		transport := newTransport()
		defer transport.CloseIdleConnections()
		call, err := c.New(transport, settings{Retries: 2}).Prepare(get)
		racers = append(racers, racer{c.Name(), func(n int) error {
			if err != nil {
				return err
			}
			for range n {
				resp, err := call()
				if err != nil {
					return err
				}
				got, _, err := receive(resp.Body, false)
				resp.Body.Close()
				if err != nil {
					return err
				}
				if got != mib<<20 {
					return fmt.Errorf("%d bytes", got)
				}
			}
			return nil
		}})
	}
	t := &table{
		title:  fmt.Sprintf("Download of %d MiB over loopback", mib),
		header: []string{"", "throughput", "ratio to net/http", "CPU per GiB"},
	}
	for i, row := range b.race(racers, pick(b, max(b.rounds/6, 1), 1), 1) {
		if row.err != nil {
			t.addFailed(racers[i].name, row.err)
			continue
		}
		t.add(racers[i].name, fmt.Sprintf("%.0f MiB/s", float64(mib)/row.perOp.Seconds()), formatRatio(1/row.ratio), formatCPU(row.cpu.Seconds(), mib))
	}
	t.write(b.out)
	return nil
}
