//go:build seeded

package main

import (
	"io"
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

// The goals of Recommended are met with the seeds of the page.
func TestGoalsOfOutagesAreMet(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	checked := 0
	for _, name := range []string{"outage", "brownout", "brownout-closed", "outage-clients", "brownout-clients"} {
		st, err := newStudy(name, "recommended", 1, 5)
		require.NoError(t, err)
		require.NoError(t, st.measure(io.Discard))
		for _, g := range goals() {
			if row, ok := g.row(st); ok {
				checked++
				assert.Equal(t, "met", row[len(row)-1], row)
			}
		}
	}
	assert.Equal(t, 18, checked)
}
