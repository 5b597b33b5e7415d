package webhooks_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berthregistry/berth/internal/events/webhooks"
)

// TestAddresses: only the public internet is reached, however an address is written.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "2606:4700::1111": true, "64:ff9b::808:808": true, "2002:808:808::1": true,
		"::ffff:8.8.8.8": true,
		"127.0.0.1":      false, "0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"192.0.2.1": false, "198.18.0.1": false, "203.0.113.9": false, "240.0.0.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2002:a00:1::": false,
		"2001::1": false, "2001:db8::1": false, "fe80::1%eth0": false,
	} {
		if got := (webhooks.Networks{}).Reachable(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}

// TestURLs: what is refused before anything is resolved.
func TestURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"https://example.com/hook": true, "https://example.com:8443/a?b=c": true, "https://8.8.8.8/": true, "https://[2606:4700::1111]/": true,
		"http://example.com/": false, "http://8.8.8.8/": false, "ftp://example.com/": false, "//example.com": false, "https:": false, "": false,
		"https://user:pass@example.com/": false, "https://example.com/#x": false, "https://example.com/ x": false, "https://exämple.com/": false,
		`https://example.com\@127.0.0.1/`: false, "https://example.com:25/": false, "https://example.com:0/": false, "https://example.com:99999/": false,
		"https://example.com:/": false, "https://localhost/": false, "https://x.localhost./": false, "https://127.0.0.1/": false,
		"https://127.1/": false, "https://2130706433/": false, "https://0x7f000001/": false, "https://0177.0.0.1/": false,
		"https://[::1]/": false, "https://[::ffff:127.0.0.1]/": false, "https://[fe80::1%25eth0]/": false, "https://169.254.169.254/": false,
		"https://a..b/": false, "https://-a.example/": false, "https://" + strings.Repeat("a", 2048): false,
	} {
		if err := (webhooks.Networks{}).CheckURL(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]bool{
		"http://127.0.0.1:99/": true, "https://127.0.0.1:25/": true, "http://localhost:8080/": true, "http://10.0.0.1/": false, "https://10.0.0.1/": false,
	} {
		if err := loopback.CheckURL(text); (err == nil) != want {
			t.Errorf("%q, with loopback allowed: %v", text, err)
		}
	}
}

// TestThreatRebinding: a name that was harmless and then stands for an address of this machine is not connected to, and the
// reason does not tell the address.
func TestThreatRebinding(t *testing.T) {
	each(t, func(w *world) {
		var connections atomic.Int64
		target := httptest.NewUnstartedServer(http.NotFoundHandler())
		target.Config.ConnState = func(net.Conn, http.ConnState) { connections.Add(1) }
		target.StartTLS()
		w.t.Cleanup(target.Close)
		u, err := url.Parse(target.URL)
		check(w.t, err)
		names := resolver(w.t, net.IPv4(127, 0, 0, 1))
		s := w.service(func(c *webhooks.Config) { c.Networks, c.Resolver = webhooks.Networks{}, names })
		hook, _ := w.hook(s, "https://rebind.example:"+u.Port()+"/")
		w.push("o0", 0)
		check(w.t, s.Dispatch(w.t.Context()))
		d := w.deliveries(s, hook.ID, webhooks.Pending)
		if len(d) != 1 || d[0].Attempts != 1 || d[0].Error != webhooks.ErrAddress.Error() || connections.Load() != 0 {
			w.t.Errorf("%+v, %d connections", d, connections.Load())
		}
		// The same name is reached where that is allowed: it was the address that was refused.
		open := w.service(func(c *webhooks.Config) { c.Resolver = names })
		_, err = open.Redeliver(w.t.Context(), nil, w.project, hook.ID, d[0].ID)
		check(w.t, err)
		check(w.t, open.Dispatch(w.t.Context()))
		if connections.Load() == 0 {
			w.t.Error("the resolver of the test is not asked")
		}
	})
}

// resolver says of every name that it stands for an address of IPv4.
func resolver(t *testing.T, ip net.IP) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo(dnsAnswer(buf[:n], ip), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// dnsAnswer answers a query of one question: with the address, if it asks for one of IPv4.
func dnsAnswer(query []byte, ip net.IP) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root, type and class
	answer := append([]byte(nil), query[:end]...)
	copy(answer[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if binary.BigEndian.Uint16(query[end-4:]) == 1 {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, ip.To4()...)
	}
	return answer
}
