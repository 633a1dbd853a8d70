package main

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// measureHeap runs f and returns how long it took and how far above its start the
// bytes of the heap's objects, garbage included, rose meanwhile.
func measureHeap(f func() error) (took time.Duration, extra int64, err error) {
	runtime.GC()
	runtime.GC() // the first moves what pools hold to where the second frees it
	base := heapObjects()
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := base
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, heapObjects())
			case <-stop:
				peak <- max(most, heapObjects())
				return
			}
		}
	}()
	start := time.Now()
	err = f()
	took = time.Since(start)
	close(stop)
	return took, <-peak - base, err
}

func heapObjects() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
