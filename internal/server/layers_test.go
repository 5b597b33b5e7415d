package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/berthregistry/berth/internal/config"
)

const layersOfAnImage = 100

// pattern is how a client pushes.
type pattern struct {
	name string
	// tokens is how often it asks for a bearer token, at the least.
	tokens int
	// chunk sends a layer by PATCH, before an empty PUT; else the PUT has it.
	chunk bool
	// before and after are what it asks of the whole image.
	before, after []string
}

var patterns = []pattern{
	{name: "docker", tokens: 5, chunk: true, before: []string{"/v2/"}, after: []string{"manifest"}},
	{name: "containerd", tokens: 1, before: []string{"manifest"}, after: []string{"manifest"}},
	{name: "skopeo", tokens: 1, chunk: true, before: []string{"/v2/", "manifest"}},
}

// TestAHundredLayersMeetNoLimit: the default limits let a push of 100 layers through by the pattern of each client, all of
// them at the same moment, with an account and without.
func TestAHundredLayersMeetNoLimit(t *testing.T) {
	t.Parallel()
	i := frozen(t, func(*config.Config) {})
	for who, credential := range map[string]string{
		"signed in": "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+limitToken)), "anonymous": "",
	} {
		for _, p := range patterns {
			repository := p.name + "-" + strings.ReplaceAll(who, " ", "-") + "/app"
			if err := i.pushLayers(t, p, repository, credential); err != nil {
				t.Errorf("%s, %s: %v", p.name, who, err)
			}
		}
	}
	if strings.Contains(i.log.String(), "over_limit") {
		t.Error("a request was over a limit")
	}
}

func (i *instance) pushLayers(t *testing.T, p pattern, repository, credential string) error {
	t.Helper()
	base, bearer := "/v2/"+repository, ""
	var headers []string
	if credential != "" {
		headers = []string{"Authorization", credential}
	}
	for range p.tokens {
		_, _, answer := i.do(t, http.MethodGet, "/auth/token?scope="+url.QueryEscape("repository:"+repository+":pull,push"), "", headers...)
		var issued struct{ Token string }
		if err := json.Unmarshal([]byte(answer), &issued); err != nil || issued.Token == "" {
			return fmt.Errorf("no token: %s", answer)
		}
		bearer = "Bearer " + issued.Token
	}
	ask := func(method, path, body string, statuses ...int) (http.Header, error) {
		status, header, answer := i.do(t, method, path, body, "Authorization", bearer, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
		for _, want := range statuses {
			if status == want {
				return header, nil
			}
		}
		return nil, fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	look := func(paths []string) error {
		for _, path := range paths {
			method := http.MethodGet
			if path == "manifest" {
				method, path = http.MethodHead, base+"/manifests/v1"
			}
			if _, err := ask(method, path, "", http.StatusOK, http.StatusNotFound); err != nil {
				return err
			}
		}
		return nil
	}
	if err := look(p.before); err != nil {
		return err
	}
	descriptors := make([]string, layersOfAnImage+1) // the last is the configuration
	var group errgroup.Group
	group.SetLimit(8)
	for n := range descriptors {
		content := fmt.Sprintf("%s layer %d", repository, n)
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
		descriptors[n] = fmt.Sprintf(`{"mediaType":"application/octet-stream","digest":%q,"size":%d}`, digest, len(content))
		group.Go(func() error {
			if _, err := ask(http.MethodHead, base+"/blobs/"+digest, "", http.StatusNotFound); err != nil {
				return err
			}
			header, err := ask(http.MethodPost, base+"/blobs/uploads/", "", http.StatusAccepted)
			if err == nil && p.chunk {
				header, err = ask(http.MethodPatch, header.Get("Location"), content, http.StatusAccepted)
				content = ""
			}
			if err != nil {
				return err
			}
			location := header.Get("Location")
			separator := "?"
			if strings.Contains(location, "?") {
				separator = "&"
			}
			_, err = ask(http.MethodPut, location+separator+"digest="+url.QueryEscape(digest), content, http.StatusCreated)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}`,
		descriptors[layersOfAnImage], strings.Join(descriptors[:layersOfAnImage], ","))
	if _, err := ask(http.MethodPut, base+"/manifests/v1", manifest, http.StatusCreated); err != nil {
		return err
	}
	return look(p.after)
}
