package front

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// The frames of HTTP/2 (RFC 9113, section 6) that the attack needs.
const (
	frameHeaders, frameReset, frameSettings, frameGoAway = 1, 3, 4, 7
	endOfStreamAndHeaders                                = 0x5
	enhanceYourCalm                                      = 0xb
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	header := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	header = append(header, flags)
	return append(binary.BigEndian.AppendUint32(header, stream), payload...)
}

// TestThreat16RapidReset: a client that opens streams and resets them at once keeps no more handlers busy than it could have
// streams open, and is then sent away; others are served meanwhile.
func TestThreat16RapidReset(t *testing.T) {
	const resets = 20_000
	var running, most atomic.Int64
	release := make(chan struct{})
	server, _ := newFront(t, nil, routes{"/v2/*path": func(http.ResponseWriter, *http.Request) {
		for n := running.Add(1); ; {
			if old := most.Load(); old >= n || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-release // as one that waits for its database and does not look at its context
		running.Add(-1)
	}})
	r := serve(t, server, listen(t))
	defer close(release)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const path = "/v2/x"
	get := append([]byte{0x82, 0x86, 0x04, byte(len(path))}, path...) // :method GET, :scheme http, :path
	get = append(get, 0x01, 1, 'x')                                   // :authority
	go func() {
		var attack bytes.Buffer
		attack.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		attack.Write(frame(frameSettings, 0, 0, nil))
		for n := range uint32(resets) {
			attack.Write(frame(frameHeaders, endOfStreamAndHeaders, 2*n+1, get))
			attack.Write(frame(frameReset, 0, 2*n+1, []byte{0, 0, 0, 8})) // CANCEL
		}
		_, _ = attack.WriteTo(conn) // the server hangs up before the end
	}()
	if code := awaitGoAway(t, conn); code != enhanceYourCalm {
		t.Errorf("the server goes away with code %d", code)
	}
	if n := most.Load(); n == 0 || n > http2Streams {
		t.Errorf("%d handlers ran at once, %d streams are allowed", n, http2Streams)
	}
	response, err := http.Get("http://" + r.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("another client: %d, %v", response.StatusCode, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// awaitGoAway reads frames until the server says that it ends the connection, and returns why.
func awaitGoAway(t *testing.T, conn net.Conn) uint32 {
	t.Helper()
	for {
		var header [9]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			t.Fatalf("the server says nothing more: %v", err)
		}
		payload := make([]byte, binary.BigEndian.Uint32(header[:4])>>8)
		if _, err := io.ReadFull(conn, payload); err != nil {
			t.Fatal(err)
		}
		if header[3] == frameGoAway {
			return binary.BigEndian.Uint32(payload[4:8])
		}
	}
}
