package mergepatch_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/mergepatch"
)

type ownerPatch struct {
	Mail  mergepatch.Field[string] `json:"mail,omitzero"`
	Phone mergepatch.Field[string] `json:"phone,omitzero"`
}

// audit is embedded in a patch.
type audit struct {
	Reason mergepatch.Field[string] `json:"reason,omitzero"`
}

type thingPatch struct {
	audit
	Name  mergepatch.Field[string]            `json:"name,omitzero"`
	Count mergepatch.Field[*int]              `json:"count,omitzero"`
	List  mergepatch.Field[[]string]          `json:"list,omitzero"`
	Tags  mergepatch.Field[map[string]string] `json:"tags,omitzero"`
	Owner mergepatch.Field[ownerPatch]        `json:"owner,omitzero"`
	Plain ownerPatch                          `json:"plain,omitzero"`
}

func TestFieldsOfStruct(t *testing.T) {
	three := 3
	reason := audit{Reason: mergepatch.Of("<late>")}
	for _, test := range []struct {
		name  string
		patch thingPatch
		text  string
	}{
		{"all are absent", thingPatch{}, `{}`},
		{"null, null, an empty array and an unset name", thingPatch{
			Count: mergepatch.Null[*int](),
			List:  mergepatch.Of([]string{}),
			Tags:  mergepatch.Null[map[string]string](),
		}, `{"count":null,"list":[],"tags":null}`},
		{"zero values are sent", thingPatch{
			Name: mergepatch.Of(""),
			Tags: mergepatch.Of(map[string]string{}),
		}, `{"name":"","tags":{}}`},
		{"a pointer", thingPatch{Count: mergepatch.Of(&three)}, `{"count":3}`},
		{"a nested struct", thingPatch{Owner: mergepatch.Of(ownerPatch{Mail: mergepatch.Null[string]()})}, `{"owner":{"mail":null}}`},
		{"a nested struct without members", thingPatch{Owner: mergepatch.Of(ownerPatch{})}, `{"owner":{}}`},
		{"a nested null", thingPatch{Owner: mergepatch.Null[ownerPatch]()}, `{"owner":null}`},
		{"a nested struct that is not a Field", thingPatch{Plain: ownerPatch{Phone: mergepatch.Of("1")}}, `{"plain":{"phone":"1"}}`},
		{"an embedded struct", thingPatch{audit: reason}, `{"reason":"\u003clate\u003e"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, err := json.Marshal(test.patch)
			require.NoError(t, err)
			assert.Equal(t, test.text, string(text))

			var decoded thingPatch
			require.NoError(t, json.Unmarshal(text, &decoded))
			assert.Equal(t, test.patch, decoded)
		})
	}
}

func TestFieldsOfMapAndSlice(t *testing.T) {
	text, err := json.Marshal(map[string]mergepatch.Field[any]{
		"count": mergepatch.Null[any](),
		"list":  mergepatch.Of[any]([]int{}),
		"tags":  mergepatch.Null[any](),
	})
	require.NoError(t, err)
	assert.Equal(t, `{"count":null,"list":[],"tags":null}`, string(text))

	var decoded map[string]mergepatch.Field[any]
	require.NoError(t, json.Unmarshal(text, &decoded))
	assert.Equal(t, map[string]mergepatch.Field[any]{
		"count": mergepatch.Null[any](),
		"list":  mergepatch.Of[any]([]any{}),
		"tags":  mergepatch.Null[any](),
	}, decoded)

	var list []mergepatch.Field[int]
	require.NoError(t, json.Unmarshal([]byte(`[1,null]`), &list))
	assert.Equal(t, []mergepatch.Field[int]{mergepatch.Of(1), mergepatch.Null[int]()}, list)
	text, err = json.Marshal(list)
	require.NoError(t, err)
	assert.Equal(t, `[1,null]`, string(text))
}

// An absent Field that is not left out would remove data if it were sent as null.
func TestAbsentFieldIsNotSentAsNull(t *testing.T) {
	var absent mergepatch.Field[int]
	for name, value := range map[string]any{
		"without omitzero": struct {
			A mergepatch.Field[int] `json:"a"`
		}{},
		"with omitempty": struct {
			A mergepatch.Field[int] `json:"a,omitempty"`
		}{},
		"nested": mergepatch.Of(struct {
			A mergepatch.Field[int] `json:"a"`
		}{}),
		"in a map":   map[string]mergepatch.Field[int]{"a": absent},
		"in a slice": []mergepatch.Field[int]{absent},
		"alone":      absent,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(value)
			require.ErrorIs(t, err, mergepatch.ErrAbsent)
			assert.ErrorContains(t, err, "add omitzero")
			assert.Empty(t, text)
		})
	}
}

func TestThreeStates(t *testing.T) {
	var absent mergepatch.Field[int]
	for _, test := range []struct {
		name   string
		field  mergepatch.Field[int]
		value  int
		ok     bool
		isNull bool
		isZero bool
	}{
		{name: "absent", field: absent, isZero: true},
		{name: "null", field: mergepatch.Null[int](), isNull: true},
		{name: "a value", field: mergepatch.Of(7), value: 7, ok: true},
		{name: "a zero value", field: mergepatch.Of(0), ok: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			value, ok := test.field.Get()
			assert.Equal(t, test.value, value)
			assert.Equal(t, test.ok, ok)
			assert.Equal(t, test.isNull, test.field.IsNull())
			assert.Equal(t, test.isZero, test.field.IsZero())
		})
	}
}

func TestFieldsAreComparable(t *testing.T) {
	fields := map[mergepatch.Field[int]]string{
		{}:                     "absent",
		mergepatch.Null[int](): "null",
		mergepatch.Of(0):       "zero",
		mergepatch.Of(1):       "one",
	}
	assert.Len(t, fields, 4)
	assert.Equal(t, "absent", fields[mergepatch.Field[int]{}])
	assert.Equal(t, "null", fields[mergepatch.Null[int]()])
	assert.Equal(t, "zero", fields[mergepatch.Of(0)])
	assert.Equal(t, "one", fields[mergepatch.Of(1)])
}

func TestN01NullIsRecognizedForEachType(t *testing.T) {
	checkNull(t, "pointer to string", new(string), nil)
	checkNull(t, "pointer to int", new(int), nil)
	checkNull(t, "map", map[string]int{}, nil)
	checkNull(t, "slice", []string{}, nil)
}

func TestB14NullOfAnyTypeDoesNotPanic(t *testing.T) {
	checkNull(t, "int", 0, 1)
	checkNull(t, "string", "", "null")
	checkNull(t, "any", any(1), any("x"))
	checkNull(t, "channel", make(chan int), nil)
	checkNull(t, "array", [2]int{}, [2]int{1, 2})
	checkNull(t, "struct", struct{}{}, struct{}{})
	checkNull(t, "pointer to an empty struct", &struct{}{}, nil)
	checkNull(t, "slice of empty structs", []struct{}{{}}, nil)
}

// checkNull checks that Null[T] is null, and the values are not.
func checkNull[T any](t *testing.T, name string, values ...T) {
	t.Run(name, func(t *testing.T) {
		var wait sync.WaitGroup
		for range 4 { // the race detector looks on
			wait.Go(func() {
				assert.Equal(t, mergepatch.Null[T](), mergepatch.Null[T]())
				assert.True(t, mergepatch.Null[T]().IsNull())
			})
		}
		wait.Wait()
		text, err := json.Marshal(mergepatch.Null[T]())
		require.NoError(t, err)
		assert.Equal(t, "null", string(text))
		for _, v := range values {
			assert.False(t, mergepatch.Of(v).IsNull())
			assert.NotEqual(t, mergepatch.Null[T](), mergepatch.Of(v))
		}
	})
}

func TestNilPointerIsSentAsNull(t *testing.T) {
	text, err := json.Marshal(mergepatch.Of[*int](nil))
	require.NoError(t, err)
	assert.Equal(t, "null", string(text))
}

func TestDecodingReplacesTheWholeField(t *testing.T) {
	old := ownerPatch{Mail: mergepatch.Of("a"), Phone: mergepatch.Of("1")}
	for _, test := range []struct {
		name, text string
		want       mergepatch.Field[ownerPatch]
	}{
		{"a value", `{"owner":{"mail":"b"}}`, mergepatch.Of(ownerPatch{Mail: mergepatch.Of("b")})},
		{"null", `{"owner":null}`, mergepatch.Null[ownerPatch]()},
		{"null and then a value", `{"owner":null,"owner":{}}`, mergepatch.Of(ownerPatch{})},
		{"two values", `{"owner":{"mail":"b"},"owner":{"phone":"2"}}`, mergepatch.Of(ownerPatch{Phone: mergepatch.Of("2")})},
		{"a missing member keeps the old value", `{}`, mergepatch.Of(old)},
	} {
		t.Run(test.name, func(t *testing.T) {
			patch := thingPatch{Owner: mergepatch.Of(old)}
			require.NoError(t, json.Unmarshal([]byte(test.text), &patch))
			assert.Equal(t, test.want, patch.Owner)
		})
	}

	// A map is not merged into the old one, as encoding/json does without a Field.
	patch := thingPatch{Tags: mergepatch.Of(map[string]string{"a": "1"})}
	require.NoError(t, json.Unmarshal([]byte(`{"tags":{"b":"2"}}`), &patch))
	assert.Equal(t, mergepatch.Of(map[string]string{"b": "2"}), patch.Tags)
}

// encoding/json gives a method the text of the value alone. Other callers may not.
func TestF108NullWithWhiteSpaceIsNull(t *testing.T) {
	for _, text := range []string{"null", "null ", " null", "\t\r\n null\n"} {
		f := mergepatch.Of(1)
		require.NoError(t, f.UnmarshalJSON([]byte(text)), "%q", text)
		assert.Equal(t, mergepatch.Null[int](), f, "%q", text)
	}
	for _, text := range []string{"", " ", "nul l", "null null", "\vnull", "\u00a0null", "\"null\""} {
		f := mergepatch.Of(1)
		require.Error(t, f.UnmarshalJSON([]byte(text)), "%q", text)
		assert.Equal(t, mergepatch.Of(1), f, "%q", text)
	}
}

func TestDecodingErrorNamesTheMemberAndKeepsTheField(t *testing.T) {
	patch := thingPatch{Owner: mergepatch.Of(ownerPatch{Mail: mergepatch.Of("a")})}
	want := patch.Owner
	err := json.Unmarshal([]byte(`{"owner":{"phone":"1","mail":5}}`), &patch)
	var wrongType *json.UnmarshalTypeError
	require.ErrorAs(t, err, &wrongType)
	assert.Equal(t, want, patch.Owner)

	// The path is the one that encoding/json gives to any type with UnmarshalJSON: owner.mail,
	// or none with GOEXPERIMENT=jsonv2.
	var other struct {
		Owner struct {
			Mail ownText `json:"mail"`
		} `json:"owner"`
	}
	err = json.Unmarshal([]byte(`{"owner":{"mail":5}}`), &other)
	var otherType *json.UnmarshalTypeError
	require.ErrorAs(t, err, &otherType)
	assert.Equal(t, otherType.Field, wrongType.Field)
}

// ownText decodes itself with encoding/json, as a Field does.
type ownText struct{ text string }

func (o *ownText) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &o.text) }

// The encoder that the caller uses decides whether HTML characters are escaped.
func TestEscapingIsTheCallersChoice(t *testing.T) {
	patch := ownerPatch{Mail: mergepatch.Of("<a&b>")}
	text, err := json.Marshal(patch)
	require.NoError(t, err)
	assert.Equal(t, `{"mail":"\u003ca\u0026b\u003e"}`, string(text))

	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(patch))
	assert.Equal(t, `{"mail":"<a&b>"}`+"\n", b.String())

	text, err = patch.Mail.MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, `"<a&b>"`, string(text))
}

func TestMethodsOfTheValueAreUsed(t *testing.T) {
	n, _ := new(big.Int).SetString("12345678901234567890", 10)
	text, err := json.Marshal(mergepatch.Of(upper{"a"}))
	require.NoError(t, err)
	assert.Equal(t, `"A"`, string(text))

	text, err = json.Marshal(mergepatch.Of(*n))
	require.NoError(t, err)
	assert.Equal(t, `12345678901234567890`, string(text))
	var decoded mergepatch.Field[big.Int]
	require.NoError(t, json.Unmarshal(text, &decoded))
	assert.Equal(t, mergepatch.Of(*n), decoded)

	var raw mergepatch.Field[json.RawMessage]
	require.NoError(t, json.Unmarshal([]byte(`1e400`), &raw))
	assert.Equal(t, mergepatch.Of(json.RawMessage("1e400")), raw)
}

// upper has MarshalJSON on its pointer only.
type upper struct{ s string }

func (u *upper) MarshalJSON() ([]byte, error) { return json.Marshal(strings.ToUpper(u.s)) }

func TestValueThatCannotBeEncodedIsAnError(t *testing.T) {
	_, err := json.Marshal(mergepatch.Of(make(chan int)))
	var unsupported *json.UnsupportedTypeError
	assert.ErrorAs(t, err, &unsupported)
}

// These are the limits that the package comment names.
func TestLimits(t *testing.T) {
	t.Run("a pointer to a Field does not see null", func(t *testing.T) {
		var patch struct {
			A *mergepatch.Field[int] `json:"a,omitzero"`
			B *mergepatch.Field[int] `json:"b,omitzero"`
		}
		require.NoError(t, json.Unmarshal([]byte(`{"a":null,"b":1}`), &patch))
		assert.Nil(t, patch.A)
		require.NotNil(t, patch.B)
		assert.Equal(t, mergepatch.Of(1), *patch.B)

		a := mergepatch.Null[int]()
		patch.A = &a
		text, err := json.Marshal(patch)
		require.NoError(t, err)
		assert.Equal(t, `{"a":null,"b":1}`, string(text))
	})
	t.Run("an embedded Field takes over", func(t *testing.T) {
		text, err := json.Marshal(struct {
			mergepatch.Field[int]
			B int
		}{Field: mergepatch.Of(1)})
		require.NoError(t, err)
		assert.Equal(t, `1`, string(text))
	})
	t.Run("the string option has no effect", func(t *testing.T) {
		type quoted struct {
			//lint:ignore SA5008 the test shows what the option does
			A mergepatch.Field[int] `json:"a,omitzero,string"`
		}
		text, err := json.Marshal(quoted{A: mergepatch.Of(1)})
		require.NoError(t, err)
		assert.Equal(t, `{"a":1}`, string(text))
	})
	t.Run("null is not seen without a Field", func(t *testing.T) {
		var plain struct {
			Owner  ownerPatch                       `json:"owner,omitzero"`
			Counts mergepatch.Field[map[string]int] `json:"counts,omitzero"`
		}
		require.NoError(t, json.Unmarshal([]byte(`{"owner":null,"counts":{"a":null}}`), &plain))
		assert.Zero(t, plain.Owner)
		assert.Equal(t, mergepatch.Of(map[string]int{"a": 0}), plain.Counts)
		var fields struct {
			Counts mergepatch.Field[map[string]mergepatch.Field[int]] `json:"counts,omitzero"`
		}
		require.NoError(t, json.Unmarshal([]byte(`{"counts":{"a":null}}`), &fields))
		assert.Equal(t, mergepatch.Of(map[string]mergepatch.Field[int]{"a": mergepatch.Null[int]()}), fields.Counts)
	})
	t.Run("DisallowUnknownFields does not reach the value", func(t *testing.T) {
		decoder := json.NewDecoder(strings.NewReader(`{"owner":{"unknown":1}}`))
		decoder.DisallowUnknownFields()
		var patch thingPatch
		require.NoError(t, decoder.Decode(&patch))
		assert.Equal(t, mergepatch.Of(ownerPatch{}), patch.Owner)
	})
}
