package main

import (
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"
)

// usage is what a call has used of this process, which is the client alone.
type usage struct {
	took time.Duration
	cpu  time.Duration
	heap int64 // how far the bytes of the heap's objects, garbage included, rose
}

// measure runs f. Watching the heap takes some of the CPU time.
func measure(f func() error) (u usage, err error) {
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
	start, cpu := time.Now(), cpuTime()
	err = f()
	u.took, u.cpu = time.Since(start), cpuTime()-cpu
	close(stop)
	u.heap = <-peak - base
	return u, err
}

func heapObjects() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// cpuTime returns the CPU time that this process has used, in user mode and in the kernel.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
