package boltstore_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/internal/repotest"
)

// BenchmarkCreate measures how long a goroutine waits for an operation to be stored.
func BenchmarkCreate(b *testing.B) {
	for _, goroutines := range []int{2, 8, 64} {
		b.Run(fmt.Sprint("goroutines=", goroutines), func(b *testing.B) {
			store := newStore(b, openDB(b, filepath.Join(b.TempDir(), "jobs.db")))
			var n atomic.Int64
			b.SetParallelism((goroutines + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := fmt.Sprint(n.Add(1))
					_, _, err := store.CreateOperation(b.Context(), repotest.Operation{ID: id}, operations.Submission{Key: id})
					require.NoError(b, err)
				}
			})
		})
	}
}
