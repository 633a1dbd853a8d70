package byterange

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Content-Range: what is taken for one means the same when it is written out again, and
// is in order.
func FuzzContentRange(f *testing.F) {
	for _, header := range []string{"bytes 0-0/1", "bytes 5-9/*", "bytes */10", "bytes 1-0/5", "", "bytes 0-9/9", "bytes 007-9/10", "bytes 0-9223372036854775807/*", "bytes 0-9223372036854775808/*"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r, err := parse(header)
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		assert.GreaterOrEqual(t, r.first, int64(0))
		assert.GreaterOrEqual(t, r.last, r.first)
		total := "*"
		if r.size >= 0 {
			assert.Greater(t, r.size, r.last)
			total = strconv.FormatInt(r.size, 10)
		}
		again, err := parse(fmt.Sprintf("bytes %d-%d/%s", r.first, r.last, total))
		assert.NoError(t, err)
		assert.Equal(t, r, again)
	})
}
