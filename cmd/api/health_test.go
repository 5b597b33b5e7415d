package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// health runs the command and returns its exit code with what it printed.
func health(args ...string) (code int, stdout, stderr string) {
	var out, complaints bytes.Buffer
	code = run(append([]string{"health"}, args...), strings.NewReader(""), &out, &complaints)
	return code, out.String(), complaints.String()
}

func TestHealthOfARunningServer(t *testing.T) {
	t.Parallel()
	p := serve(t)
	if code, out, complaints := health("--addr=" + p.addr); code != exitOK || !strings.Contains(out, `"status":"ready"`) {
		t.Errorf("exit code %d, %q, %q", code, out, complaints)
	}
	_, port, _ := strings.Cut(p.addr, ":")
	for _, unspecified := range []string{"", "0.0.0.0"} {
		if code, out, complaints := health("--live", "--addr="+unspecified+":"+port); code != exitOK || !strings.Contains(out, `"status":"alive"`) {
			t.Errorf("on %q: exit code %d, %q, %q", unspecified, code, out, complaints)
		}
	}
}

func TestHealthOfAServerThatIsNotWell(t *testing.T) {
	t.Parallel()
	sick := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"status":"draining"} ` + r.URL.Path))
	}
	plain, secure := httptest.NewServer(http.HandlerFunc(sick)), httptest.NewTLSServer(http.HandlerFunc(sick))
	defer plain.Close()
	defer secure.Close()
	for _, args := range [][]string{
		{"--addr=" + plain.Listener.Addr().String()},
		{"--addr=" + secure.Listener.Addr().String(), "--tls-cert=/some/file"},
	} {
		if code, out, complaints := health(args...); code != exitError || out != "" || !strings.Contains(complaints, `503 Service Unavailable: {"status":"draining"} /readyz`) {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out, complaints)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if code, _, complaints := health("--addr=" + gone.Listener.Addr().String()); code != exitError || !strings.Contains(complaints, "no answer") {
		t.Errorf("exit code %d, %q", code, complaints)
	}
}

func TestHealthOfAnAddressThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"no-port", "127.0.0.1:0"} {
		if code, _, complaints := health("--addr=" + addr); code != exitUsage || !strings.Contains(complaints, "BERTH_ADDR") {
			t.Errorf("%s: exit code %d, %q", addr, code, complaints)
		}
	}
}
