package httpcache

import (
	"crypto/rand"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// reply is what is sent of a stored response.
type reply struct {
	status   int
	entry    *Entry
	from, n  int64       // of its body
	parts    []byteRange // of a multipart response, instead
	boundary string
}

// prepare fills in the header of the answer from a stored response, and says what its
// status and body are. lines are Cache-Status, nil for a hit.
func (c *Cache) prepare(dst http.Header, r *http.Request, e *Entry, now time.Time, lines []string) reply {
	maps.Copy(dst, e.header)
	aged := e.aged(now, c.o.Name)
	dst["Age"] = aged.age
	if lines == nil {
		lines = aged.status
	}
	dst[cacheStatus] = lines
	p := reply{status: e.status, entry: e, n: e.body.length}
	switch {
	case e.unmodified(r, now):
		p.status, p.n = http.StatusNotModified, 0
		e.withoutContent(dst)
	case e.partial:
		part, _ := e.partOf(r, now)
		p.status, p.from, p.n = http.StatusPartialContent, part.first-e.part.first, part.size()
		dst["Content-Range"] = []string{contentRange{part, e.total}.String()}
		dst["Content-Length"] = []string{strconv.FormatInt(p.n, 10)}
	case e.status == http.StatusOK && r.Method == http.MethodGet && len(r.Header["Range"]) > 0 && e.rangeHolds(r, now):
		p.narrow(dst, r)
	}
	return p
}

// withoutContent takes out of the header of an answer what describes the body that a 304 does
// not have (RFC 9110, section 15.4.5).
func (e *Entry) withoutContent(dst http.Header) {
	for name := range e.header {
		if strings.HasPrefix(name, "Content-") && name != "Content-Location" && name != "Content-Security-Policy" {
			delete(dst, name)
		}
	}
}

// narrow makes a reply of all one of the parts that were asked for (RFC 9110, section 14).
func (p *reply) narrow(dst http.Header, r *http.Request) {
	specs, ok := parseRanges(r.Header["Range"])
	if !ok {
		return
	}
	total := p.entry.body.length
	parts := satisfied(specs, total)
	sum := int64(0)
	for _, part := range parts {
		sum += part.size()
	}
	switch {
	case len(parts) == 0:
		p.status, p.n = http.StatusRequestedRangeNotSatisfiable, 0
		dst["Content-Range"] = []string{"bytes */" + strconv.FormatInt(total, 10)}
		dst["Content-Length"] = []string{"0"}
		delete(dst, "Content-Type")
		delete(dst, "Content-Encoding")
	case len(parts) == 1:
		p.status, p.from, p.n = http.StatusPartialContent, parts[0].first, parts[0].size()
		dst["Content-Range"] = []string{contentRange{parts[0], total}.String()}
		dst["Content-Length"] = []string{strconv.FormatInt(p.n, 10)}
	case sum > total:
		// Parts that overlap cost more than all (RFC 9110, section 14.2).
	default:
		p.status, p.parts, p.boundary = http.StatusPartialContent, parts, rand.Text()
		dst["Content-Type"] = []string{"multipart/byteranges; boundary=" + p.boundary}
		delete(dst, "Content-Length")
	}
}

// write writes the body.
func (p *reply) write(w io.Writer) error {
	if p.parts == nil {
		return p.entry.body.writeRange(w, p.from, p.n)
	}
	m := multipart.NewWriter(w)
	if err := m.SetBoundary(p.boundary); err != nil {
		return err
	}
	for _, part := range p.parts {
		head := textproto.MIMEHeader{"Content-Range": {contentRange{part, p.entry.body.length}.String()}}
		if kind := p.entry.header["Content-Type"]; len(kind) > 0 {
			head["Content-Type"] = kind
		}
		to, err := m.CreatePart(head)
		if err != nil {
			return err
		}
		if err := p.entry.body.writeRange(to, part.first, part.size()); err != nil {
			return err
		}
	}
	return m.Close()
}

// body returns it as a reader.
func (p *reply) body() io.ReadCloser {
	if p.parts == nil {
		return p.entry.body.reader(p.from, p.n)
	}
	var text strings.Builder // no more than the body, which is in memory as well
	if err := p.write(&text); err != nil {
		return io.NopCloser(strings.NewReader(""))
	}
	return io.NopCloser(strings.NewReader(text.String()))
}
