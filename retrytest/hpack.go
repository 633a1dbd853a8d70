package retrytest

import (
	"errors"
	"slices"
)

// This file is as much of HPACK (RFC 7541) as a server needs that decodes whatever a
// client sends and encodes without compressing.

// headerField is a header field of HTTP/2; its name is in lower case.
type headerField struct{ name, value string }

// size is what the field counts in a dynamic table (RFC 7541 §4.1).
func (f headerField) size() int { return len(f.name) + len(f.value) + 32 }

// appendField encodes a field as a literal without indexing (RFC 7541 §6.2.2).
func appendField(b []byte, name, value string) []byte {
	b = append(b, 0)
	b = appendString(b, name)
	return appendString(b, value)
}

func appendString(b []byte, s string) []byte {
	if n := len(s); n < 0x7f {
		b = append(b, byte(n))
	} else { // RFC 7541 §5.1
		b = append(b, 0x7f)
		for n -= 0x7f; n >= 0x80; n >>= 7 {
			b = append(b, byte(n)|0x80)
		}
		b = append(b, byte(n))
	}
	return append(b, s...)
}

var errHPACK = errors.New("malformed header block")

// defaultTableSize is SETTINGS_HEADER_TABLE_SIZE unless it is set.
const defaultTableSize = 4096

// hpackDecoder decodes the header blocks of a connection. It must see all of them,
// in order.
type hpackDecoder struct {
	dynamic []headerField // the newest first
	size    int           // of dynamic
	maxSize int           // set by newHPACKDecoder and by the client, below that
	in      []byte
}

func newHPACKDecoder() *hpackDecoder { return &hpackDecoder{maxSize: defaultTableSize} }

// decode returns the fields of a header block.
func (d *hpackDecoder) decode(block []byte) ([]headerField, error) {
	d.in = block
	var fields []headerField
	for len(d.in) > 0 {
		var (
			f   headerField
			err error
		)
		switch first := d.in[0]; {
		case first&0x80 != 0: // indexed, §6.1
			var i int
			if i, err = d.integer(7); err == nil {
				f, err = d.indexed(i)
			}
		case first&0x40 != 0: // literal with incremental indexing, §6.2.1
			if f, err = d.literal(6); err == nil {
				d.insert(f)
			}
		case first&0x20 != 0: // table size update, §6.3
			var n int
			if n, err = d.integer(5); err == nil && n > defaultTableSize {
				err = errHPACK
			}
			if err == nil {
				d.maxSize = n
				d.evict()
				continue
			}
		default: // literal without indexing, or never indexed, §6.2.2 and §6.2.3
			f, err = d.literal(4)
		}
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// integer decodes an integer with a prefix of n bits (RFC 7541 §5.1).
func (d *hpackDecoder) integer(n int) (int, error) {
	if len(d.in) == 0 {
		return 0, errHPACK
	}
	mask := 1<<n - 1
	value := int(d.in[0]) & mask
	d.in = d.in[1:]
	if value < mask {
		return value, nil
	}
	for shift := 0; shift <= 21; shift += 7 {
		if len(d.in) == 0 {
			break
		}
		b := d.in[0]
		d.in = d.in[1:]
		value += int(b&0x7f) << shift
		if b&0x80 == 0 {
			return value, nil
		}
	}
	return 0, errHPACK
}

func (d *hpackDecoder) literal(prefix int) (f headerField, err error) {
	i, err := d.integer(prefix)
	if err != nil {
		return f, err
	}
	if i > 0 {
		f, err = d.indexed(i)
	} else {
		f.name, err = d.str()
	}
	if err != nil {
		return f, err
	}
	f.value, err = d.str()
	return f, err
}

// str decodes a string literal (RFC 7541 §5.2).
func (d *hpackDecoder) str() (string, error) {
	if len(d.in) == 0 {
		return "", errHPACK
	}
	huffman := d.in[0]&0x80 != 0
	n, err := d.integer(7)
	if err != nil || n > len(d.in) {
		return "", errHPACK
	}
	s := d.in[:n]
	d.in = d.in[n:]
	if huffman {
		return huffmanDecode(s)
	}
	return string(s), nil
}

func (d *hpackDecoder) indexed(i int) (headerField, error) {
	switch {
	case i < 1 || i > len(staticTable)+len(d.dynamic):
		return headerField{}, errHPACK
	case i <= len(staticTable):
		return staticTable[i-1], nil
	}
	return d.dynamic[i-1-len(staticTable)], nil
}

func (d *hpackDecoder) insert(f headerField) {
	d.dynamic = slices.Insert(d.dynamic, 0, f)
	d.size += f.size()
	d.evict()
}

func (d *hpackDecoder) evict() {
	for d.size > d.maxSize {
		last := len(d.dynamic) - 1
		d.size -= d.dynamic[last].size()
		d.dynamic = d.dynamic[:last]
	}
}

// huffmanDecode decodes the Huffman code of RFC 7541 Appendix B. The code is
// canonical: sorted by length and then by symbol, the codes count up. So the lengths
// are all there is to know.
func huffmanDecode(in []byte) (string, error) {
	var (
		out  []byte
		code uint32 // the bits of the symbol that is being read
		bits int    // their number
		ones = true // whether they are all ones
	)
	for _, b := range in {
		for i := 7; i >= 0; i-- {
			bit := uint32(b) >> i & 1
			code, bits, ones = code<<1|bit, bits+1, ones && bit == 1
			level := huffmanLevels[bits]
			if code-level.first >= uint32(len(level.symbols)) { // also when it is below
				if bits == maxHuffmanBits {
					return "", errHPACK // EOS
				}
				continue
			}
			out = append(out, level.symbols[code-level.first])
			code, bits, ones = 0, 0, true
		}
	}
	if bits > 7 || !ones { // the padding is the beginning of EOS
		return "", errHPACK
	}
	return string(out), nil
}

const maxHuffmanBits = 30

// huffmanLevels holds, for each length of code, the first code and the symbols whose
// codes count up from there.
var huffmanLevels = func() (levels [maxHuffmanBits + 1]struct {
	first   uint32
	symbols []byte
}) {
	var next uint32
	for bits := 1; bits <= maxHuffmanBits; bits++ {
		next <<= 1
		levels[bits].first = next
		for symbol, n := range huffmanLengths {
			if int(n) == bits {
				levels[bits].symbols = append(levels[bits].symbols, byte(symbol))
				next++
			}
		}
	}
	return levels
}()

// huffmanLengths gives the number of bits of each byte's code (RFC 7541 Appendix B).
var huffmanLengths = [256]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
}

// staticTable is that of RFC 7541 Appendix A; its first entry has the index 1.
var staticTable = [...]headerField{
	{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"},
	{":path", "/index.html"}, {":scheme", "http"}, {":scheme", "https"}, {":status", "200"},
	{":status", "204"}, {":status", "206"}, {":status", "304"}, {":status", "400"},
	{":status", "404"}, {":status", "500"}, {"accept-charset", ""}, {"accept-encoding", "gzip, deflate"},
	{"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""}, {"access-control-allow-origin", ""},
	{"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
	{"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
	{"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""},
	{"date", ""}, {"etag", ""}, {"expect", ""}, {"expires", ""},
	{"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
	{"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""},
	{"link", ""}, {"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""},
	{"proxy-authorization", ""}, {"range", ""}, {"referer", ""}, {"refresh", ""},
	{"retry-after", ""}, {"server", ""}, {"set-cookie", ""}, {"strict-transport-security", ""},
	{"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""}, {"www-authenticate", ""},
}
