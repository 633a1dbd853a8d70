package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"reflect"
	"strings"
	"sync"
)

// Part is one part of a multipart/form-data body (RFC 7578).
type Part struct {
	// Name is the name of the field. It is required.
	Name string
	// Body is the content:
	//
	//   - []byte and json.RawMessage: sent without a copy, as application/json;
	//   - io.ReadSeeker: from its start, as application/octet-stream, with Name as the
	//     file name. It must not be used elsewhere until the call is over. If it is an
	//     io.Closer, it is closed once at the end of the call;
	//   - string and anything else: the text of fmt.Sprint, as text/plain.
	//
	// An io.Reader that cannot seek is an error, and so is nil.
	Body any
	// ContentType, if not "", replaces the type of the content.
	ContentType string
	// Filename, if not "", is sent as the name of a file.
	Filename string
}

// SetMultipart sets the body to the given parts in their order, and the Content-Type to
// multipart/form-data. Each attempt reads the parts anew, as they are sent; they are not copied
// into memory. On an error the request is unchanged and nothing is closed.
func (r *Request) SetMultipart(parts ...Part) error {
	var head bytes.Buffer // of the next part, with the end of the one before
	var sections []*io.SectionReader
	var files closers
	size := int64(0)
	form := multipart.NewWriter(&head)
	for _, part := range parts {
		content, header, err := part.open()
		if err == nil {
			form.CreatePart(header) // cannot fail
			sections = append(sections, textSection(head.String()), content)
			if size += int64(head.Len()) + content.Size(); size < 0 { // an overflow
				err = errPartSize
			}
			head.Reset()
		}
		if err != nil {
			return fmt.Errorf("pipeline: part %q of the request body: %w", part.Name, err)
		}
		if file, ok := part.Body.(io.ReadSeekCloser); ok {
			files = append(files, file)
		}
	}
	form.Close()
	sections = append(sections, textSection(head.String()))
	open := func() (io.Reader, error) {
		readers := make([]io.Reader, len(sections))
		for i, s := range sections {
			readers[i] = io.NewSectionReader(s, 0, s.Size())
		}
		return io.MultiReader(readers...), nil
	}
	var closer io.Closer
	if len(files) > 0 {
		closer = files
	}
	err := r.setBody(open, closer, form.FormDataContentType())
	r.raw.ContentLength = size + int64(head.Len())
	return err
}

var (
	errPartName    = errors.New("the name is empty")
	errPartType    = errors.New("the content type has a control character")
	errPartNil     = errors.New("the body is nil")
	errPartOneShot = errors.New("the body is an io.Reader that cannot seek")
	errPartSize    = errors.New("the size of the body is unknown or too large")
)

// open returns the content and the header of a part.
func (p Part) open() (content *io.SectionReader, header textproto.MIMEHeader, err error) {
	contentType, filename := "text/plain", ""
	switch body := p.Body.(type) {
	case []byte:
		content, contentType = bytesSection(body), "application/json"
	case json.RawMessage:
		content, contentType = bytesSection(body), "application/json"
	case io.ReadSeeker:
		contentType, filename = "application/octet-stream", p.Name
		content, err = seekerSection(body)
	case io.Reader:
		err = errPartOneShot
	case nil:
		err = errPartNil
	default:
		content = textSection(fmt.Sprint(body))
	}
	contentType, filename = cmp.Or(p.ContentType, contentType), cmp.Or(p.Filename, filename)
	switch {
	case p.Name == "":
		err = errPartName
	case hasControl(contentType):
		err = errPartType
	}
	disposition := multipart.FileContentDisposition(p.Name, filename)
	if filename == "" {
		disposition = strings.TrimSuffix(disposition, `; filename=""`)
	}
	return content, textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {contentType}}, err
}

func bytesSection(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func textSection(s string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
}

// seekerSection returns the whole content of body.
func seekerSection(body io.ReadSeeker) (*io.SectionReader, error) {
	if v := reflect.ValueOf(body); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errPartNil
	}
	size, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	at, ok := body.(io.ReaderAt)
	if !ok {
		at = &seekerAt{source: body}
	}
	n := 0
	if size == 0 { // or one of the files in /proc, which do not tell
		n, _ = at.ReadAt(make([]byte, 1), 0)
	}
	if size < 0 || n > 0 {
		return nil, errPartSize
	}
	return io.NewSectionReader(at, 0, size), nil
}

// seekerAt reads an io.ReadSeeker at any offset.
type seekerAt struct {
	mu     sync.Mutex
	source io.ReadSeeker
}

func (s *seekerAt) ReadAt(p []byte, offset int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.source.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(s.source, p)
}

// closers are the parts that are closed at the end of a call.
type closers []io.Closer

// Close closes all of them.
func (c closers) Close() error {
	for _, closer := range c {
		closer.Close()
	}
	return nil
}
