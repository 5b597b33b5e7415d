package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kinds of storage that Berth is measured on.
const (
	onFolder = "folder"
	onS3     = "s3"
	// onReplicas is S3 with PostgreSQL instead of SQLite, as several replicas have them.
	onReplicas = "postgres+s3"
)

// repository is where everything is pushed.
const repository = "bench/app"

// registry is a running registry.
type registry struct {
	*child
	base   string
	token  string      // bearer token; empty: none is wanted
	data   string      // folder of the blobs, where they are in one
	debug  string      // base URL of the profiles
	secret string      // a token of Berth's administrator, for Basic
	auth   *authorizer // of a registry that says itself what it wants; nil: token is it
	env    []string    // of a server that was started here
}

// berthServer starts Berth with its default settings but for addresses and paths, and a token that outlives the run.
// There is no way to turn authentication off, and none is wanted here. more is further environment.
func (st *stage) berthServer(ctx context.Context, kind string, more ...string) (*registry, error) {
	return st.berthServerIn(ctx, "berth", kind, more...)
}

// berthServerIn is berthServer with a folder of its own.
func (st *stage) berthServerIn(ctx context.Context, name, kind string, settings ...string) (*registry, error) {
	r, err := st.launchBerth(ctx, name, kind, settings...)
	if err != nil {
		return nil, err
	}
	err = r.logIn(ctx, r.secret)
	return r, err
}

// launchBerth starts a server and waits until it is ready. On a database that has users, there is no administrator with
// its secret.
func (st *stage) launchBerth(ctx context.Context, name, kind string, settings ...string) (*registry, error) {
	dir, err := st.folder(name)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	debug, err := freeAddress()
	if err != nil {
		return nil, err
	}
	secret := "bench-" + rand.Text()
	objects := filepath.Join(dir, "objects")
	env := []string{
		"BERTH_ADDR=" + addr, "BERTH_METRICS_ADDR=" + debug, "BERTH_ADMIN_TOKEN=" + secret, "BERTH_TOKEN_TTL=1h",
		"BERTH_RATELIMIT_ENABLED=false", // one caller asks for all that there is
		"BERTH_DATABASE_URL=sqlite:" + filepath.Join(dir, "berth.db"),
	}
	if kind == onReplicas {
		database, err := st.postgres(ctx)
		if err != nil {
			return nil, err
		}
		env = append(env, "BERTH_DATABASE_URL="+database)
	}
	if kind != onFolder {
		bucket, credentials, err := st.bucket(ctx)
		if err != nil {
			return nil, err
		}
		objects = ""
		env = append(append(env, "BERTH_STORAGE_URL="+bucket), credentials...)
	} else {
		env = append(env, "BERTH_STORAGE_URL=file:"+objects)
	}
	env = append(env, settings...)
	c, err := st.startRegistry(name, env, st.berth, "serve")
	if err != nil {
		return nil, err
	}
	r := &registry{child: c, base: "http://" + addr, data: objects, debug: "http://" + debug, secret: secret, env: env}
	return r, c.ready(ctx, r.base+"/readyz")
}

// replicaOf starts one more server on the database and the storage of another.
func (st *stage) replicaOf(ctx context.Context, r *registry) (*registry, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	env := append(slices.Clone(r.env), "BERTH_ADDR="+addr, "BERTH_METRICS_ADDR=", "BERTH_PUBLIC_URL="+r.base)
	c, err := st.start(r.name+"-replica", env, st.berth, "serve")
	if err != nil {
		return nil, err
	}
	replica := &registry{child: c, base: "http://" + addr, token: r.token, env: env}
	return replica, c.ready(ctx, replica.base+"/readyz")
}

// logIn fetches the one token of the run, as a client does before its first request.
func (r *registry) logIn(ctx context.Context, secret string) error {
	scope := url.Values{"scope": {"repository:" + repository + ":pull,push"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/auth/token?"+scope.Encode(), nil)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	req.SetBasicAuth("bench", secret)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Token == "" {
		return fmt.Errorf("log in: status %s, no token: %w", answer.Status, err)
	}
	r.token = body.Token
	return nil
}

// peerConfig is what distribution's image comes with, but that it logs at its default level like Berth, and opens no
// second port. Its file system driver syncs the file at the end of each request body and each small file with its
// folder, so both servers promise about the same; it has no authentication to do here.
const peerConfig = `version: 0.1
log: {level: info}
storage:
  delete: {enabled: true}
  cache: {blobdescriptor: inmemory}
  %s
  maintenance:
    uploadpurging: {enabled: false}
  tag: {concurrencylimit: 8}
http:
  addr: %q
  secret: bench
  headers: {X-Content-Type-Options: [nosniff]}
health:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
`

// peerServer starts distribution's registry on a folder.
func (st *stage) peerServer(ctx context.Context) (*registry, error) {
	return st.peerServerOn(ctx, onFolder)
}

// peerServerOn starts distribution's registry.
func (st *stage) peerServerOn(ctx context.Context, kind string) (*registry, error) {
	path, err := st.tool(ctx, "registry")
	if err != nil {
		return nil, err
	}
	dir, err := st.folder("distribution")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	storage, env, err := st.peerStorage(ctx, dir, kind)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, peerConfig, storage, addr), 0o600); err != nil {
		return nil, fmt.Errorf("configure distribution: %w", err)
	}
	c, err := st.startRegistry("distribution", append(env, "OTEL_TRACES_EXPORTER=none"), path, "serve", file)
	if err != nil {
		return nil, err
	}
	return st.open(ctx, c, "http://"+addr)
}

// fileOf finds the one object of a size in the registry's folder.
func (r *registry) fileOf(size int64) (string, error) {
	var found string
	err := filepath.WalkDir(r.data, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() == size {
			found = path
		}
		return err
	})
	if err == nil && found == "" {
		err = os.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("find the object of %d bytes: %w", size, err)
	}
	return found, nil
}

// absolute makes a URL of a Location, which may be relative.
func (r *registry) absolute(location string) string {
	if strings.HasPrefix(location, "/") {
		return r.base + location
	}
	return location
}
