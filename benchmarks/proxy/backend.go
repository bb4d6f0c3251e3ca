package proxy

import (
	"bytes"
	"fmt"
	"net"
	"time"
)

// bodyLen is the length of every answer's body.
const bodyLen = 4096

// body is that of every answer.
var body = bytes.Repeat([]byte("reverse proxies "), bodyLen/16)

// answer returns what the backends send. Caches can keep it.
func answer() []byte {
	date := time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	header := fmt.Sprintf("HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\nCache-Control: max-age=3600\r\nContent-Length: %d\r\n\r\n", date, bodyLen)
	return append([]byte(header), body...)
}

// serveBackend answers all connections of a listener alike. It understands requests
// without a body, one at a time, as proxies send them.
func serveBackend(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go answerAll(conn, answer())
	}
}

// answerAll serves a connection until the other side closes it.
func answerAll(conn net.Conn, answer []byte) {
	defer func() { _ = conn.Close() }()
	var buf [4096]byte
	for read := 0; ; {
		n, err := conn.Read(buf[read:])
		if read += n; err != nil || read == len(buf) {
			return
		}
		if !bytes.HasSuffix(buf[:read], endOfHeader) {
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
		read = 0
	}
}
