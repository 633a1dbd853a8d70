package operations_test

import (
	"testing"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/internal/repotest"
)

func TestMemoryStore(t *testing.T) {
	repotest.Run(t, func(*testing.T) repotest.Repository {
		return new(operations.MemoryStore[repotest.Result])
	})
}
