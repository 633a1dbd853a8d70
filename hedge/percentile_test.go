package hedge

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/a0b132ce/retryablehttp/internal/hosts"
	"github.com/stretchr/testify/require"
)

func TestBucketsCoverEachDuration(t *testing.T) {
	for b := range buckets - 1 {
		end := upperBound(b)
		require.Equal(t, b, bucketOf(end-1))
		require.Equal(t, b+1, bucketOf(end))
		if b >= perOctave {
			width := end - upperBound(b-1)
			require.LessOrEqual(t, width, upperBound(b-1)/16, "bucket %d", b)
		}
	}
	assert.Equal(t, 0, bucketOf(0))
	assert.Equal(t, 0, bucketOf(-time.Hour))
	assert.Equal(t, buckets-1, bucketOf(math.MaxInt64))
	assert.EqualValues(t, 1<<40, upperBound(buckets-1))
}

// The percentile is as in the sorted times, rounded up by at most 1/16.
func TestPercentileOfTheLastTimes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, percentile := range []float64{0.001, 50, 98.5, 100} {
		for _, n := range []int{warmUp, window, 2 * window, 3 * window, 10*window + 512} {
			var h histogram
			var times []time.Duration
			for range n {
				d := time.Duration(math.Exp(3*random.NormFloat64()) * float64(10*time.Millisecond))
				times = append(times, d)
				h.add(d, percentile)
			}
			kept := min(n, window+(n-1)%window+1)
			last := slices.Sorted(slices.Values(times[n-kept:]))
			want := last[max(int(math.Ceil(percentile/100*float64(kept)))-1, 0)]
			assert.Greater(t, h.quantile(percentile/100), want, "%v of %d", percentile, n)
			assert.LessOrEqual(t, h.quantile(percentile/100), want+want/16+1<<unitBits, "%v of %d", percentile, n)
		}
	}
}

func TestWarmUp(t *testing.T) {
	var h histogram
	for range warmUp - 1 {
		h.add(time.Second, 98.5)
		require.Zero(t, h.percentile())
	}
	h.add(time.Second, 98.5)
	assert.InDelta(t, time.Second, h.percentile(), float64(time.Second/16))
}

// A host that becomes slower or faster has another percentile after two windows at most.
func TestOldTimesAreForgotten(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{time.Second, time.Millisecond, time.Minute} {
		for range 2 * window {
			h.add(d, 98.5)
		}
		assert.InDelta(t, d, h.percentile(), float64(d/16))
	}
}

// All goroutines add to the same histogram.
func TestHostsAreSharedByGoroutines(t *testing.T) {
	var h hosts.Map[histogram]
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				h.Of("host", nil).add(time.Second, 98.5)
			}
		})
	}
	group.Wait()
	assert.Equal(t, 800, h.Of("host", nil).n)
}

func TestPercentileAllocatesNothing(t *testing.T) {
	var h hosts.Map[histogram]
	h.Of("host", nil)
	assert.Zero(t, testing.AllocsPerRun(5*window, func() {
		times := h.Of("host", nil)
		times.percentile()
		times.add(time.Millisecond, 98.5)
	}))
}

// BenchmarkPercentile measures what a request costs: finding the host, reading the
// percentile, adding a time.
func BenchmarkPercentile(b *testing.B) {
	var h hosts.Map[histogram]
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for d := time.Millisecond; pb.Next(); d += time.Microsecond {
			times := h.Of("host", nil)
			times.percentile()
			times.add(d, 98.5)
		}
	})
}
