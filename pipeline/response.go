package pipeline

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// payload is a response body in memory. It can be read again by Payload.
type payload struct {
	bytes.Reader
	data []byte
}

func newPayload(data []byte) *payload { return &payload{*bytes.NewReader(data), data} }

func (p *payload) Close() error { return nil }

// Payload returns the whole body of a response, whatever was read of it since the first
// Payload. The first one reads the rest of the body, closes it, and keeps it in resp.Body,
// which can then be read too. On an error the body is closed. A body of more than 64 MiB is
// an error: read resp.Body instead. The caller must not change the bytes.
func Payload(resp *http.Response) ([]byte, error) {
	if p, ok := resp.Body.(*payload); ok {
		return p.data, nil
	}
	if resp.Body == nil {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPayload+1))
	if len(data) > maxPayload {
		err = ErrPayloadTooLarge
	}
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("pipeline: reading the response body: %w", redact.Error(err, redact.URL))
	}
	resp.Body = newPayload(data)
	return data, nil
}

// ErrPayloadTooLarge is matched by the error of [Payload] for a body of more than 64 MiB.
var ErrPayloadTooLarge = errors.New("the body is larger than 64 MiB")

const maxPayload = 64 << 20

// utf8BOM is a byte order mark, which some servers send before JSON against RFC 8259 §8.1.
var utf8BOM = []byte("\xef\xbb\xbf")

// DecodeJSON decodes the JSON body of a response into v. A byte order mark is ignored, and an
// empty body leaves v as it is. It reads and closes the body as [Payload] does.
func DecodeJSON(resp *http.Response, v any) error { return decode(resp, v, json.Unmarshal) }

// DecodeXML decodes the XML body of a response into v, as [DecodeJSON] does for JSON.
func DecodeXML(resp *http.Response, v any) error { return decode(resp, v, xml.Unmarshal) }

func decode(resp *http.Response, v any, unmarshal func([]byte, any) error) error {
	data, err := Payload(resp)
	if err != nil {
		return err
	}
	data = bytes.TrimPrefix(data, utf8BOM)
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := unmarshal(data, v); err != nil {
		return fmt.Errorf("pipeline: decoding the response body: %w", err)
	}
	return nil
}

// HasStatus reports whether the status code of resp is one of codes.
func HasStatus(resp *http.Response, codes ...int) bool {
	return slices.Contains(codes, resp.StatusCode)
}
