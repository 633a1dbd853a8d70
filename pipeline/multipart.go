package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	var body sections
	var files closers
	form := multipart.NewWriter(&head)
	for _, part := range parts {
		content, header, err := part.open()
		if err == nil {
			form.CreatePart(header) // cannot fail
			body.add(textSection(head.String()))
			head.Reset()
			err = body.add(content)
		}
		if err != nil {
			return fmt.Errorf("pipeline: part %q of the request body: %w", part.Name, err)
		}
		if file, ok := part.Body.(io.ReadSeekCloser); ok {
			files = append(files, file)
		}
	}
	form.Close()
	if err := body.add(textSection(head.String())); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	var closer io.Closer
	if len(files) > 0 {
		closer = files
	}
	return r.setBody(io.NewSectionReader(body, 0, body.size()), closer, form.FormDataContentType())
}

var (
	errPartName    = errors.New("the name is empty")
	errPartType    = errors.New("the content type has a control character")
	errPartNil     = errors.New("the body is nil")
	errPartOneShot = errors.New("the body is an io.Reader that cannot seek")
	errPartSize    = errors.New("the size of the body is unknown or too large")
)

// open returns the content and the header of a part.
func (p Part) open() (content section, header textproto.MIMEHeader, err error) {
	contentType, filename := "text/plain", ""
	switch body := p.Body.(type) {
	case []byte:
		content, contentType = section{bytes.NewReader(body), int64(len(body))}, "application/json"
	case json.RawMessage:
		content, contentType = section{bytes.NewReader(body), int64(len(body))}, "application/json"
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
	if p.ContentType != "" {
		contentType = p.ContentType
	}
	if p.Filename != "" {
		filename = p.Filename
	}
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

// section is a piece of a body.
type section struct {
	io.ReaderAt
	size int64
}

func textSection(s string) section { return section{strings.NewReader(s), int64(len(s))} }

// seekerSection returns the whole content of body.
func seekerSection(body io.ReadSeeker) (section, error) {
	if v := reflect.ValueOf(body); v.Kind() == reflect.Pointer && v.IsNil() {
		return section{}, errPartNil
	}
	size, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return section{}, err
	}
	at, ok := body.(io.ReaderAt)
	if !ok {
		at = &seekerAt{source: body}
	}
	if size == 0 { // or one of the files in /proc, which do not tell
		if n, _ := at.ReadAt(make([]byte, 1), 0); n > 0 {
			return section{}, errPartSize
		}
	}
	return section{at, size}, nil
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

// sections is a body of several pieces. It can be read from many places at once.
type sections []section

func (s sections) size() int64 {
	total := int64(0)
	for _, part := range s {
		total += part.size
	}
	return total
}

func (s *sections) add(part section) error {
	if part.size < 0 || part.size > math.MaxInt64-s.size() {
		return errPartSize
	}
	*s = append(*s, part)
	return nil
}

// ReadAt implements [io.ReaderAt].
func (s sections) ReadAt(p []byte, offset int64) (n int, err error) {
	for _, part := range s {
		if offset < part.size && n < len(p) {
			want := min(int64(len(p)-n), part.size-offset)
			got, err := part.ReadAt(p[n:n+int(want)], offset)
			n += got
			if int64(got) < want {
				return n, err // of a file that is shorter than it was, io.EOF
			}
			offset += int64(got)
		}
		offset -= part.size
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
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
