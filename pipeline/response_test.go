package pipeline_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestP06Payload(t *testing.T) {
	closes := 0
	resp := response(200, "", "")
	resp.Body = closer{io.NopCloser(strings.NewReader(`"abc"`)), func() { closes++ }}
	for range 2 {
		data, err := pipeline.Payload(resp)
		require.NoError(t, err)
		assert.Equal(t, `"abc"`, string(data))
		assert.Equal(t, 1, closes)
	}
	half := make([]byte, 2)
	_, err := io.ReadFull(resp.Body, half)
	require.NoError(t, err)
	assert.Equal(t, `"a`, string(half))
	data, err := pipeline.Payload(resp)
	require.NoError(t, err)
	assert.Equal(t, `"abc"`, string(data), "all of it, whatever was read")
	assert.Equal(t, `bc"`, text(t, resp), "the body goes on where it was")
	require.NoError(t, resp.Body.Close(), "again")
	var v string
	require.NoError(t, pipeline.DecodeJSON(resp, &v))
	assert.Equal(t, "abc", v)
	assert.Equal(t, 1, closes)
}

func TestP06EmptyBodyLeavesTheTarget(t *testing.T) {
	for _, body := range []string{"", " \r\n\t", "\xef\xbb\xbf", "\xef\xbb\xbf\n"} {
		v := "before"
		require.NoError(t, pipeline.DecodeJSON(response(200, "", body), &v))
		require.NoError(t, pipeline.DecodeXML(response(200, "", body), &v))
		assert.Equal(t, "before", v)
	}
	v := "before"
	require.NoError(t, pipeline.DecodeJSON(&http.Response{}, &v))
	require.NoError(t, pipeline.DecodeJSON(&http.Response{Body: http.NoBody}, &v))
	assert.Equal(t, "before", v)
}

func TestB4ByteOrderMark(t *testing.T) {
	resp := response(200, "application/json", "\xef\xbb\xbf"+`{"size":7}`)
	for range 2 {
		var v struct{ Size int }
		require.NoError(t, pipeline.DecodeJSON(resp, &v))
		assert.Equal(t, 7, v.Size)
	}
	var v struct{ Size int }
	require.NoError(t, pipeline.DecodeXML(response(200, "", "\xef\xbb\xbf<v><Size>7</Size></v>"), &v))
	assert.Equal(t, 7, v.Size)
}

func TestDecodingErrorsDoNotQuoteTheBody(t *testing.T) {
	const secret = "hush-hush"
	for want, tt := range map[string]struct {
		body   string
		decode func(*http.Response, any) error
	}{
		"pipeline: decoding the response body: unexpected end of JSON input":                                         {`{"size":"` + secret, pipeline.DecodeJSON},
		"pipeline: decoding the response body: json: cannot unmarshal string into Go struct field .Size of type int": {`{"size":"` + secret + `"}`, pipeline.DecodeJSON},
		"pipeline: decoding the response body: invalid character '<' looking for beginning of value":                 {"<html>" + secret, pipeline.DecodeJSON},
		"pipeline: decoding the response body: XML syntax error on line 1: unexpected EOF":                           {"<v>" + secret, pipeline.DecodeXML},
		"pipeline: decoding the response body: invalid character 'h' after top-level value":                          {"{}" + secret, pipeline.DecodeJSON},
		"pipeline: decoding the response body: json: Unmarshal(non-pointer struct { Size int })":                     {"{}", func(r *http.Response, _ any) error { return pipeline.DecodeJSON(r, struct{ Size int }{}) }},
	} {
		var v struct{ Size int }
		assert.EqualError(t, tt.decode(response(200, "", tt.body), &v), want)
	}
}

func TestPayloadOfABodyThatCannotBeRead(t *testing.T) {
	cause := errors.New("see https://u:hush@h/?q=hush")
	closes := 0
	resp := response(200, "", "")
	resp.Body = closer{io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{cause})), func() { closes++ }}
	data, err := pipeline.Payload(resp)
	assert.Nil(t, data)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, "pipeline: reading the response body: see https://u:xxxxx@h/?q=REDACTED")
	assert.Equal(t, 1, closes)
	_, err = pipeline.Payload(resp)
	require.ErrorIs(t, err, cause, "again, not half of the body")
	var v any
	require.ErrorIs(t, pipeline.DecodeJSON(resp, &v), cause)

	resp.Body = struct {
		io.Reader
		io.Closer
	}{strings.NewReader("all"), closeFunc(func() error { return cause })}
	_, err = pipeline.Payload(resp)
	assert.ErrorIs(t, err, cause, "of Close")
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestHasStatus(t *testing.T) {
	resp := response(404, "", "")
	assert.True(t, pipeline.HasStatus(resp, 200, 404))
	assert.False(t, pipeline.HasStatus(resp, 200, 400))
	assert.False(t, pipeline.HasStatus(resp))
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, body []byte) {
		resp := response(200, "", string(body))
		var a, b any
		errA, errB := pipeline.DecodeJSON(resp, &a), pipeline.DecodeJSON(resp, &b)
		if fmt.Sprint(a, errA) != fmt.Sprint(b, errB) {
			t.Errorf("%v %v, then %v %v", a, errA, b, errB)
		}
		data, err := pipeline.Payload(resp)
		if err != nil || !bytes.Equal(data, body) {
			t.Errorf("%q %v", data, err)
		}
	})
}
