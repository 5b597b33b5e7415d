package oci

import "testing"

func TestClientNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":               "192.0.2.1",
		"::ffff:192.0.2.1":        "192.0.2.1",
		"2001:db8:0:1::1":         "2001:db8:0:1::/64",
		"2001:db8:0:1:ffff::9":    "2001:db8:0:1::/64",
		"2001:db8:0:2::1":         "2001:db8:0:2::/64",
		"fe80::1%eth0":            "fe80::/64",
		"fe80::1%another network": "fe80::/64",
		"":                        "",
		"example.dev":             "",
	} {
		if got := clientNetwork(ip); got != want {
			t.Errorf("%q: %q, want %q", ip, got, want)
		}
	}
}
