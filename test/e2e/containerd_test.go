package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

const containerdAccepts = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"

// containerdToken fetches a token as containerd does: by POST with the password grant, and by GET where that is refused.
func containerdToken(w wire, password, scope string) (token string, methods []string) {
	w.t.Helper()
	bare := w
	bare.authorization = ""
	c := bare.want(http.StatusUnauthorized, http.MethodGet, "/v2/", nil).challenge(w.t)
	form := url.Values{
		"grant_type": {"password"}, "service": {c["service"]}, "client_id": {"containerd-client"}, "scope": {scope},
		"username": {"any"}, "password": {password},
	}
	a, err := bare.try(http.MethodPost, c["realm"], []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	must(w.t, err)
	methods = append(methods, http.MethodPost)
	switch a.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
		query := url.Values{"service": {c["service"]}, "scope": strings.Split(scope, " ")}
		a, err = bare.basic(password).try(http.MethodGet, c["realm"]+"?"+query.Encode(), nil)
		must(w.t, err)
		methods = append(methods, http.MethodGet)
	}
	if a.status != http.StatusOK {
		return "", append(methods, strconv.Itoa(a.status))
	}
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	must(w.t, json.Unmarshal(a.body, &issued))
	if methods[len(methods)-1] == http.MethodGet {
		return tokenOf(w.t, a), methods
	}
	return issued.AccessToken, methods
}

// containerdPush pushes a blob as containerd does: HEAD, POST, and one PUT with everything, which it sends again from
// its first byte to the same URL where that failed.
func containerdPush(w wire, repo string, blob []byte, length int64) {
	w.t.Helper()
	d := digest.FromBytes(blob).String()
	w.want(http.StatusNotFound, http.MethodHead, "/v2/"+repo+"/blobs/"+d, nil, "Accept", "application/vnd.oci.image.layer.v1.tar+gzip, */*")
	begun := w.want(http.StatusAccepted, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
	containerdPut(w, query(begun.location(), "digest", d), blob, length)
}

func containerdPut(w wire, target string, blob []byte, length int64) {
	w.t.Helper()
	d := digest.FromBytes(blob).String()
	for range 5 {
		a, err := w.send(http.MethodPut, target, struct{ io.Reader }{bytes.NewReader(blob)}, length, "Content-Type", "application/octet-stream")
		switch {
		case err != nil, a.status == http.StatusServiceUnavailable:
			continue // its remotes package resets the writer, and the whole content follows
		case a.status != http.StatusCreated:
			w.t.Fatalf("PUT of %d bytes: %d %s", len(blob), a.status, a.body)
		case a.header.Get("Docker-Content-Digest") != d:
			w.t.Errorf("PUT: Docker-Content-Digest is %q, want %s", a.header.Get("Docker-Content-Digest"), d)
		}
		return
	}
	w.t.Fatalf("PUT of %d bytes failed five times", len(blob))
}

func TestContainerd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := startBehindProxy(t, b, 1)
		const repo = "containerd/app"
		token, methods := containerdToken(r.nobody(t), adminToken, "repository:"+repo+":pull,push")
		if strings.Join(methods, " ") != "POST" {
			t.Errorf("the token came by %s, want POST alone", methods)
		}
		containerdImage(t, r.nobody(t).bearer(token), r.admin(t), repo, b)
	})
}

func TestContainerdWithoutAnAccount(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := startBehindProxy(t, b, 1)
		const repo = "nobodys-containerd/app"
		token := r.nobody(t).token("repository:" + repo + ":pull,push")
		containerdImage(t, r.nobody(t).bearer(token), r.admin(t), repo, b)
	})
}

// containerdImage pushes an image while the connection breaks and the registry is unavailable in between.
func containerdImage(t *testing.T, w, admin wire, repo string, b backends) {
	t.Helper()
	w.want(http.StatusNotFound, http.MethodHead, "/v2/"+repo+"/manifests/one", nil, "Accept", containerdAccepts)
	config := encode(t, map[string]any{"os": "linux", "architecture": "amd64", "repo": repo})
	layers := [][]byte{content(0), content(1), content(70_000), content(2*b.chunk + b.chunk/2), content(3 * b.chunk), content(b.chunk)}
	m := specs.Manifest{Config: specs.Descriptor{
		MediaType: specs.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)),
	}}
	containerdPush(w, repo, config, int64(len(config)))
	for i, layer := range layers {
		length := int64(len(layer))
		if i == len(layers)-1 {
			length = -1
		}
		containerdPush(w, repo, layer, length)
		m.Layers = append(m.Layers, specs.Descriptor{
			MediaType: specs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(layer), Size: int64(len(layer)),
		})
	}
	m.SchemaVersion, m.MediaType = 2, specs.MediaTypeImageManifest
	body := encode(t, m)
	w.want(http.StatusNotFound, http.MethodHead, "/v2/"+repo+"/manifests/"+digest.FromBytes(body).String(), nil, "Accept", containerdAccepts)
	w.pushManifest(repo, "one", m.MediaType, body)
	if blobs := admin.readBack(repo, "one"); len(blobs) != len(layers)+2 {
		t.Errorf("pulled %v", blobs)
	}
	again := w.want(http.StatusOK, http.MethodHead, "/v2/"+repo+"/manifests/one", nil, "Accept", containerdAccepts)
	if again.header.Get("Docker-Content-Digest") != digest.FromBytes(body).String() {
		t.Errorf("HEAD of the tag: %v", again.header)
	}
}

// TestContainerdSendsEverythingAgain breaks a layer's only PUT off in every way and place before it arrives.
func TestContainerdSendsEverythingAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := startBehindProxy(t, b, 1)
		chunk := int64(b.chunk)
		for name, faults := range map[string][]fault{
			"a cut before the first byte":   {{}},
			"503 before the first byte":     {{status: http.StatusServiceUnavailable}},
			"a cut in the first chunk":      {{after: chunk / 2}},
			"503 in the first chunk":        {{after: chunk / 2, status: http.StatusServiceUnavailable}},
			"a cut after committed chunks":  {{after: 2*chunk + 5}},
			"503 after committed chunks":    {{after: 2*chunk + 5, status: http.StatusServiceUnavailable}},
			"both, each time further":       {{after: 5}, {after: chunk + 1, status: http.StatusServiceUnavailable}, {after: 2*chunk + 1}},
			"both, each time not as far":    {{after: 2*chunk + 1, status: http.StatusServiceUnavailable}, {after: chunk}, {after: 7}},
			"a cut before the last byte":    {{after: 3*chunk + 99}},
			"a cut at the end of the chunk": {{after: 3 * chunk}},
		} {
			for _, known := range []bool{true, false} {
				for _, f := range faults {
					f.method = http.MethodPut
					r.proxy.fail(f)
				}
				blob := content(3*b.chunk + 100)
				length := int64(len(blob))
				if !known {
					length = -1
				}
				containerdPush(r.admin(t), "again/app", blob, length)
				if left := r.proxy.left(); left != 0 {
					t.Errorf("%s, length known %t: %d faults never happened", name, known, left)
				}
				r.admin(t).readBlob("again/app", specs.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))})
			}
		}
	})
}

// TestContainerdTokens holds the refusals after which containerd asks by GET.
func TestContainerdTokens(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		w := start(t, b, 1).nobody(t)
		if token, methods := containerdToken(w, "not-a-token-of-anybody", "repository:a/b:pull"); token != "" || strings.Join(methods, " ") != "POST GET 401" {
			t.Errorf("with a bad password: %q by %s, want none by POST GET 401", token, methods)
		}
		c := w.want(http.StatusUnauthorized, http.MethodGet, "/v2/", nil).challenge(t)
		unknown := url.Values{"grant_type": {"authorization_code"}, "service": {c["service"]}}
		w.want(http.StatusBadRequest, http.MethodPost, c["realm"], []byte(unknown.Encode()), "Content-Type", "application/x-www-form-urlencoded")
		token, _ := containerdToken(w, adminToken, "repository:two/a:pull,push repository:two/b:pull,push")
		for _, repo := range []string{"two/a", "two/b"} {
			w.bearer(token).pushImage(repo, "one", content(100))
		}
	})
}

// TestALateAttempt lets attempts that were cut off reach the registry after the one that followed them: that one is told
// to send everything again, which succeeds.
func TestALateAttempt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		w := start(t, b, 1).admin(t)
		blob := content(2*b.chunk + 10)
		target := query(w.begin("late/app"), "digest", digest.FromBytes(blob).String())
		f := startFlow(w, t, http.MethodPut, target, blob[:b.chunk/2], len(blob))
		attempt := w
		attempt.transport = newPatientTransport()
		var a answer
		for range 1000 { // how often is enough depends on when the registry begins with the first
			late := io.MultiReader(bytes.NewReader(blob[:5]), failing{})
			if a, err := attempt.send(http.MethodPut, target, late, int64(len(blob))); err == nil {
				t.Fatalf("a request that was cut off was answered %d", a.status)
			}
			select {
			case a = <-f.answer:
			default:
				continue
			}
			break
		}
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("the last attempt was answered %d with Retry-After %q, want 503: %s", a.status, a.header.Get("Retry-After"), a.body)
		}
		containerdPut(w, target, blob, int64(len(blob)))
		w.readBlob("late/app", specs.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))})
	})
}

// TestASupersededPut sends a layer again while the first attempt hangs, as a client does that has given up waiting.
func TestASupersededPut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		w := start(t, b, 1).admin(t)
		blob := content(2*b.chunk + 10)
		target := query(w.begin("hanging/app"), "digest", digest.FromBytes(blob).String())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reader, writer := io.Pipe()
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, w.base+target, reader)
		must(t, err)
		request.ContentLength = int64(len(blob))
		request.Header.Set("Authorization", w.authorization)
		ended := make(chan int, 1)
		go func() {
			response, err := w.transport.RoundTrip(request)
			if err != nil {
				ended <- 0
				return
			}
			_ = response.Body.Close()
			ended <- response.StatusCode
		}()
		_, err = writer.Write(blob[:b.chunk+5])
		must(t, err)
		containerdPut(w, target, blob, int64(len(blob)))
		_ = writer.CloseWithError(errFault)
		if status := <-ended; status == http.StatusCreated {
			t.Error("the attempt that was given up succeeded too")
		}
		w.readBlob("hanging/app", specs.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))})
	})
}
