package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"
)

// A racer does something n times, again and again.
type racer struct {
	name string
	run  func(n int) error
}

// timing is what a race has measured of one racer.
type timing struct {
	perOp, cpu      time.Duration // medians of the rounds
	ratio, cpuRatio float64       // medians of the rounds' ratios to the first racer
	err             error         // why there are no figures
}

// race runs all racers in turn, for about slice each, in an order drawn anew for each
// round. Noise that lasts longer than a round hits all of them, so ratios to the first
// racer are taken within each round.
func (b *bench) race(racers []racer, rounds int, slice time.Duration) []timing {
	n := make([]int, len(racers))
	perOp, cpu := make([][]float64, len(racers)), make([][]float64, len(racers))
	ratios, cpuRatios := make([][]float64, len(racers)), make([][]float64, len(racers))
	out := make([]timing, len(racers))
	for i, r := range racers {
		n[i], out[i].err = calibrate(r, slice)
	}
	for range rounds {
		took, used := make([]float64, len(racers)), make([]float64, len(racers))
		for _, i := range b.rand.Perm(len(racers)) {
			if out[i].err != nil {
				continue
			}
			runtime.GC() // of the garbage of the racer before
			start, cpu := time.Now(), cpuTime()
			out[i].err = racers[i].run(n[i])
			took[i] = float64(time.Since(start)) / float64(n[i])
			used[i] = float64(cpuTime()-cpu) / float64(n[i])
		}
		for i := range racers {
			if out[i].err == nil && out[0].err == nil {
				perOp[i] = append(perOp[i], took[i])
				ratios[i] = append(ratios[i], took[i]/took[0])
				cpu[i] = append(cpu[i], used[i])
				cpuRatios[i] = append(cpuRatios[i], used[i]/used[0])
			}
		}
	}
	for i := range out {
		if out[i].err == nil && out[0].err != nil {
			out[i].err = fmt.Errorf("%s, to compare with, failed", racers[0].name)
		}
		if out[i].err == nil {
			out[i].perOp, out[i].cpu = time.Duration(median(perOp[i])), time.Duration(median(cpu[i]))
			out[i].ratio, out[i].cpuRatio = median(ratios[i]), median(cpuRatios[i])
		}
	}
	return out
}

// calibrate warms a racer up and finds out how often it can run within d when nothing
// disturbs it, so that all racers are disturbed as often.
func calibrate(r racer, d time.Duration) (int, error) {
	if err := r.run(1); err != nil {
		return 0, err
	}
	best := time.Duration(math.MaxInt64) // per run
	for n, tries := 1, 0; tries < 5; {
		start := time.Now()
		if err := r.run(n); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if took < d/4 {
			n *= 2
			continue
		}
		best = min(best, max(took/time.Duration(n), 1))
		if tries++; took > 10*d { // so slow that it is not worth another
			break
		}
	}
	return max(1, int(d/best)), nil
}

// times makes a racer of a call.
func times(c call) func(int) error {
	return func(n int) error {
		for range n {
			if err := finish(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// allocs counts the allocations of a call, of all goroutines.
func allocs(c call) (int, error) {
	start := time.Now()
	err := finish(c)
	if took := time.Since(start); err == nil && took > time.Second {
		err = fmt.Errorf("one call took %s", formatDuration(took))
	}
	if err != nil {
		return 0, err
	}
	n := testing.AllocsPerRun(1000, func() {
		if e := finish(c); e != nil {
			err = e
		}
	})
	return int(n), err
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

func formatRatio(ratio float64) string { return fmt.Sprintf("%.3f", ratio) }

func formatDuration(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f µs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
