package mergepatch_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/mergepatch"
)

// FuzzApply compares Apply with RFC 7396 written over decoded values.
func FuzzApply(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":"b","c":{"d":"e","f":"g"}}`, `{"a":"z","c":{"f":null}}`},
		{`[1,2]`, `{"a":"b","c":null}`},
		{`{"a":1,"a":{"b":[{}]}}`, ` {"\u0061":{"b":null,"c":{"d":null}}} `},
		{`{"}\"":1e400,"b":"\\"}`, `{"x":[null,"]"]}`},
		{`null`, `"\ud800"`},
		{`{`, ``},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, document, patch []byte) {
		got, err := mergepatch.Apply(document, patch)
		if err != nil {
			if !json.Valid(document) {
				require.ErrorIs(t, err, mergepatch.ErrInvalidDocument)
				return
			}
			require.ErrorIs(t, err, mergepatch.ErrInvalidPatch)
			require.False(t, json.Valid(patch))
			return
		}
		require.True(t, json.Valid(got), "%q", got)
		require.Equal(t, mergePatch(decode(t, document), decode(t, patch)), decode(t, got), "%q", got)

		again, err := mergepatch.Apply(got, patch)
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
	})
}

// decode returns the value of text, with numbers as they are written.
func decode(t *testing.T, text []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&value))
	return value
}

// mergePatch is the pseudocode of RFC 7396, section 2.
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result, ok := target.(map[string]any)
	if !ok {
		result = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(result, name)
		} else {
			result[name] = mergePatch(result[name], value)
		}
	}
	return result
}

// FuzzField checks that what has been decoded is encoded to text that decodes to the same.
func FuzzField(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"name":"\u003c","count":3,"list":["a",null],"tags":{"a":"b"},"owner":{"mail":null,"phone":"1"}}`,
		`{"name":null,"count":null,"list":null,"tags":null,"owner":null,"plain":null,"reason":null}`,
		`{"owner":{},"owner":null,"plain":{"mail":"x"},"reason":"y","unknown":1}`,
		`{"tree":{"a":null,"b":{"a":[1e5]}}}`,
		`null`,
	} {
		f.Add([]byte(seed))
	}
	type document struct {
		thingPatch
		Tree mergepatch.Field[map[string]mergepatch.Field[any]] `json:"tree,omitzero"`
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second document
		if json.Unmarshal(text, &first) != nil {
			return
		}
		encoded, err := json.Marshal(first)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(encoded, &second), "%s", encoded)
		assert.Equal(t, first, second, "%s", encoded)
	})
}
