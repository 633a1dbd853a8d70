package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// early503 has the server answer an upload with 503 when it has read 64 KiB of it.
// The transport may go on reading the first attempt's body while the retry is
// under way. If both read the same source, the retry sends wrong bytes.
func (b *bench) early503() error {
	size := pick(b, int64(32<<20), 4<<20)
	path, crc, err := b.randomFile("early503", size)
	if err != nil {
		return err
	}
	trials := pick(b, 40, 3)
	t := &table{
		title: fmt.Sprintf("503 in the middle of an upload of %d MiB, then 200, over loopback", size>>20),
		note: "The server reads 64 KiB before its 503. In half of the trials it then closes the connection, in the other half it keeps the connection and reads the rest. " +
			"Wrong: the server accepted a body that is not the file. Truncated: a retry that did not send the whole body. In this library ReplayMax is set to the size of the file; the others keep all of a body without being asked.",
		header: []string{"", "body given as", "length", "trials", "wrong", "truncated", "calls failed"},
	}
	var oursTotal earlyCount
	row := 0
	for _, c := range retriers() {
		for _, k := range []kind{file, seeker, withGetBody, opaque} {
			for _, chunked := range []bool{false, true} {
				row++
				var total earlyCount
				var err error
				for _, then := range []string{"drop", "keep"} {
					var count earlyCount
					count, err = b.earlyTrials(c, fmt.Sprintf("early-%d-%s", row, then), trials,
						&payload{kind: k, path: path, size: size, chunked: chunked},
						fmt.Sprintf("then=%s&size=%d&crc=%d", then, size, crc))
					if err != nil {
						break
					}
					total.add(count)
				}
				if errors.Is(err, errUnsupported) {
					continue
				}
				if err != nil {
					return err
				}
				length := "known"
				if chunked {
					length = "chunked"
				}
				t.add(c.Name(), k, length, total.trials, total.wrong, total.broken, total.failed)
				if _, ok := ownName(c); ok {
					oursTotal.add(total)
				}
			}
		}
	}
	t.write(b.out)
	b.atMost("early503-wrong", float64(oursTotal.wrong), 0, fmt.Sprintf("of %d uploads", oursTotal.trials), nil)
	b.atMost("early503-truncated", float64(oursTotal.broken), 0, fmt.Sprintf("of %d uploads", oursTotal.trials), nil)
	b.atMost("early503-failed", float64(oursTotal.failed), 0, fmt.Sprintf("of %d uploads", oursTotal.trials), nil)
	return nil
}

type earlyCount struct{ trials, wrong, broken, failed int }

func (c *earlyCount) add(o earlyCount) {
	c.trials += o.trials
	c.wrong += o.wrong
	c.broken += o.broken
	c.failed += o.failed
}

func (b *bench) earlyTrials(c contender, key string, trials int, p *payload, query string) (n earlyCount, err error) {
	transport := newTransport()
	defer transport.CloseIdleConnections()
	client := c.New(transport, settings{Retries: 3, Keep: p.size})
	spent := time.Now()
	for ; n.trials < trials && time.Since(spent) < 20*time.Second; n.trials++ {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		key := fmt.Sprint(key, "-", n.trials)
		call, err := client.Prepare(request{
			Context: ctx, Method: http.MethodPut,
			URL:  b.server.Data + "/early/" + key + "?" + query,
			Body: p,
		})
		if err != nil {
			cancel()
			return n, err
		}
		if finish(call) != nil {
			n.failed++
		}
		cancel()
		k, err := b.server.seen(key)
		if err != nil {
			return n, err
		}
		n.wrong += k.Wrong
		n.broken += k.Broken
	}
	return n, nil
}
