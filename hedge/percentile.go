package hedge

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// window is how many response times fill one half of a histogram. The delay depends
	// on the last 1,024 to 2,048 of them.
	window = 1024

	// warmUp is how many response times a histogram needs before it has a percentile.
	// Of fewer, too few lie in the tail.
	warmUp = 100

	// refresh is how many response times are added before the percentile is computed
	// again. It divides warmUp.
	refresh = 20
)

// A histogram counts the recent response times of one host. Each bucket is at most 1/16
// wide of its value, so that the memory has a fixed size and adding a time is an increment.
// It has two halves: when the current one is full, it replaces the previous one, which is
// how old values are forgotten.
type histogram struct {
	mu       sync.Mutex
	current  [buckets]uint16
	previous [buckets]uint16
	n        int // times in current
	before   int // times in previous: 0 or window

	estimate atomic.Int64 // the percentile in nanoseconds, 0 during the warm-up
}

// percentile returns the percentile that the times were added with, 0 during the warm-up.
func (h *histogram) percentile() time.Duration {
	return time.Duration(h.estimate.Load())
}

// add adds a response time and computes the percentile when it is due.
func (h *histogram) add(d time.Duration, percentile float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == window {
		h.previous, h.before = h.current, h.n
		h.current, h.n = [buckets]uint16{}, 0
	}
	h.current[bucketOf(d)]++
	h.n++
	if total := h.n + h.before; total >= warmUp && h.n%refresh == 0 {
		h.estimate.Store(int64(h.quantile(percentile / 100)))
	}
}

// quantile returns the upper bound of the bucket in which the quantile q lies.
func (h *histogram) quantile(q float64) time.Duration {
	total := h.n + h.before
	above := total - int(math.Ceil(q*float64(total))) // may lie above the quantile
	for b := buckets - 1; b > 0; b-- {
		above -= int(h.current[b]) + int(h.previous[b])
		if above < 0 {
			return upperBound(b)
		}
	}
	return upperBound(0)
}

// The buckets below 16 are 2^12 ns (4 µs) wide. From there on 16 buckets of the same width
// cover each power of two, up to 2^40 ns (18 min). The last bucket has no upper end.
const (
	unitBits  = 12
	perOctave = 16
	buckets   = perOctave * 25
)

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0)) >> unitBits
	if v < perOctave {
		return int(v)
	}
	shift := bits.Len64(v / (2 * perOctave))
	return min(shift*perOctave+int(v>>shift), buckets-1)
}

func upperBound(bucket int) time.Duration {
	if bucket < perOctave {
		return time.Duration(bucket+1) << unitBits
	}
	shift := bucket/perOctave - 1
	return time.Duration(bucket%perOctave+perOctave+1) << (shift + unitBits)
}
