package retrytest

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The examples of RFC 7541 Appendix C.3 and C.4: three requests on one connection,
// without and with Huffman codes.
func TestHPACKDecodesTheExamplesOfTheRFC(t *testing.T) {
	request := func(scheme, path string, more ...headerField) []headerField {
		return append([]headerField{
			{":method", "GET"}, {":scheme", scheme}, {":path", path}, {":authority", "www.example.com"},
		}, more...)
	}
	want := [][]headerField{
		request("http", "/"),
		request("http", "/", headerField{"cache-control", "no-cache"}),
		request("https", "/index.html", headerField{"custom-key", "custom-value"}),
	}
	for name, blocks := range map[string][]string{
		"literal": {
			"828684410f7777772e6578616d706c652e636f6d",
			"828684be58086e6f2d6361636865",
			"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
		},
		"Huffman": {
			"828684418cf1e3c2e5f23a6ba0ab90f4ff",
			"828684be5886a8eb10649cbf",
			"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newHPACKDecoder()
			for i, block := range blocks {
				raw, err := hex.DecodeString(block)
				require.NoError(t, err)
				got, err := d.decode(raw)
				require.NoError(t, err)
				assert.Equal(t, want[i], got)
			}
			assert.Equal(t, 164, d.size, "of the dynamic table")
		})
	}
}

func TestHPACKDecodesWhatItEncodes(t *testing.T) {
	fields := []headerField{
		{"a", ""}, {"empty", ""}, {"long", strings.Repeat("x", 126)}, {"longer", strings.Repeat("y", 127)}, {"longest", strings.Repeat("z", 70_000)},
	}
	var block []byte
	for _, f := range fields {
		block = appendField(block, f.name, f.value)
	}
	got, err := newHPACKDecoder().decode(block)
	require.NoError(t, err)
	assert.Equal(t, fields, got)
}

func FuzzHPACKDecoderSurvivesAnything(f *testing.F) {
	for _, seed := range []string{"828684be5886a8eb10649cbf", "3fe11f", "ff8080808001", "408825a849", "0084ffffffff00"} {
		raw, err := hex.DecodeString(seed)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		d := newHPACKDecoder()
		d.decode(block)
		d.decode(block)
		if d.size > defaultTableSize || d.size < 0 {
			t.Fatalf("dynamic table of %d bytes", d.size)
		}
	})
}
