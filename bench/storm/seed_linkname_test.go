//go:build seeded

package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two runs with the same seed are the same to the last attempt, and another seed changes them.
func TestTheSeedDecidesEverything(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			s := small(s)
			for _, name := range s.libraries {
				results := make([]*result, 3)
				for i, seed := range []uint64{1, 1, 2} {
					var err error
					results[i], err = runInBubble(s, find(t, name), seed)
					require.NoError(t, err, name)
				}
				assert.Equal(t, results[0].bins, results[1].bins, name)
				assert.Equal(t, results[0].calls, results[1].calls, name)
				assert.NotEqual(t, results[0].calls, results[2].calls, name)
			}
		})
	}
}
