package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/doctor"
	"github.com/berthregistry/berth/internal/testenv"
)

// inMemory makes a folder on a file system in memory, as every Linux has one.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "berth-doctor-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func testDoctorFiles(t *testing.T, program string) {
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	e := examine(t, program, backends{database: "sqlite:" + nowhere, storage: "file:" + nowhere}.local()...)
	e.finds("database.file", doctor.Warning, "does not exist")
	e.finds("storage.folder", doctor.Warning, "does not exist")
	if _, err := os.Stat(nowhere); !os.IsNotExist(err) {
		t.Errorf("the examination made something: %v", err)
	}

	b := embedded(t).prepare(t)
	database, objects := strings.TrimPrefix(b.database, "sqlite:"), strings.TrimPrefix(b.storage, "file:")
	must(t, os.Chmod(database, 0o644))
	must(t, os.Chmod(objects, 0o755))
	must(t, os.Symlink(inMemory(t), filepath.Join(objects, "2026-01-01")))
	e = examine(t, program, append(b.local(), "--min-free=1000TiB", "BERTH_STORAGE_REDIRECT=true")...)
	e.finds("database.file", doctor.Warning, "other users")
	e.finds("database.space", doctor.Failure, "free")
	e.finds("storage.folder", doctor.Warning, "other users")
	e.finds("storage.folder", doctor.Warning, "another file system")
	e.finds("storage.space", doctor.Failure, "free")
	e.finds("storage.presign", doctor.Warning, "changes nothing")

	lost := inMemory(t)
	e = examine(t, program, backends{database: "sqlite:" + lost + "/berth.db", storage: "file:" + lost + "/objects"}.prepare(t).local()...)
	e.finds("database.disk", doctor.Failure, "memory")
	e.finds("storage.disk", doctor.Failure, "memory")

	garbage := filepath.Join(t.TempDir(), "berth.db")
	write(t, garbage, []byte(strings.Repeat("this is no database. ", 100)))
	e = examine(t, program, backends{database: "sqlite:" + garbage, storage: "file:" + garbage}.local()...)
	e.finds("database.reach", doctor.Failure, "")
	e.finds("storage.folder", doctor.Failure, "is no folder")
	below := garbage + "/below"
	e = examine(t, program, backends{database: "sqlite:" + below, storage: "file:" + below}.local()...)
	e.finds("database.file", doctor.Failure, "not a directory")
	e.finds("storage.folder", doctor.Failure, "not a directory")

	for until, level := range map[time.Duration]doctor.Level{
		-time.Hour: doctor.Failure, time.Hour: doctor.Failure, 72 * time.Hour: doctor.Warning, 1000 * time.Hour: doctor.OK,
	} {
		cert, key, _ := certificate(t, until)
		examine(t, program, append(b.local(), "BERTH_TLS_CERT="+cert, "BERTH_TLS_KEY="+key)...).finds("tls.files", level, "BERTH_TLS_CERT")
	}
	examine(t, program, append(b.local(), "BERTH_TLS_CERT="+garbage, "BERTH_TLS_KEY="+garbage)...).finds("tls.files", doctor.Failure, "cannot be used")
}

// certificate makes a certificate for 127.0.0.1, signed by itself, as files and for a server.
func certificate(t *testing.T, life time.Duration) (cert, key string, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(life), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	pair, err = tls.LoadX509KeyPair(cert, key)
	must(t, err)
	return cert, key, pair
}

// posing makes a database in which a function of the server is hidden by another one of the same name: the server then
// says what the test wants it to.
func posing(t *testing.T, server *testenv.Server, function string) backends {
	t.Helper()
	b := backends{database: server.URL(t), storage: "file:" + t.TempDir()}
	u, err := url.Parse(b.database)
	must(t, err)
	return b.prepare(t, "CREATE SCHEMA posing", "CREATE FUNCTION posing."+function,
		"ALTER DATABASE "+strings.TrimPrefix(u.Path, "/")+" SET search_path = posing, pg_catalog, public")
}

func testDoctorPostgres(t *testing.T, program string) {
	server := testenv.PostgresServer(t)
	b := backends{database: server.URL(t), storage: "file:" + t.TempDir()}.prepare(t)
	off := b
	off.database += "&synchronous_commit=off"
	e := examine(t, program, append(off.local(), "BERTH_DATABASE_MAX_CONNS=50", "BERTH_RATELIMIT_REPLICAS=10")...)
	for _, setting := range []string{"fsync is off", "full_page_writes is off", "synchronous_commit is off"} {
		e.finds("database.durability", doctor.Failure, setting)
	}
	e.finds("database.connections", doctor.Failure, "10 replicas take up to 50 connections each")
	examine(t, program, append(b.local(), "BERTH_DATABASE_MAX_CONNS=50")...).finds("database.connections", doctor.OK, "1 replicas")

	b = posing(t, server, "current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT CASE WHEN $1 = 'server_version_num' "+
		"THEN '140012' ELSE pg_catalog.current_setting($1) END$$")
	examine(t, program, b.local()...).finds("database.version", doctor.Failure, "older")
	b = posing(t, server, "pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
	examine(t, program, b.local()...).finds("database.version", doctor.Failure, "standby")
	b = posing(t, server, "clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$SELECT pg_catalog.clock_timestamp() + interval '10 seconds'$$")
	examine(t, program, b.local()...).finds("clock.database", doctor.Warning, "of the database differs by")
	b = posing(t, server, "clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$SELECT pg_catalog.clock_timestamp() - interval '1 hour'$$")
	examine(t, program, b.local()...).finds("clock.database", doctor.Failure, "of the database differs by -")
	b = posing(t, server, "clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$BEGIN PERFORM pg_catalog.pg_sleep(0.02); RETURN pg_catalog.clock_timestamp(); END$$")
	examine(t, program, b.local()...).finds("database.latency", doctor.Warning, "ms")
	b = posing(t, server, "clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$BEGIN PERFORM pg_catalog.pg_sleep(0.12); RETURN pg_catalog.clock_timestamp(); END$$")
	examine(t, program, b.local()...).finds("database.latency", doctor.Failure, "ms")

	unreachable := b
	unreachable.database = "postgres://berth:hunter2@127.0.0.1:1/berth?connect_timeout=1"
	e = examine(t, program, unreachable.local()...)
	e.finds("database.reach", doctor.Failure, "")
	if strings.Contains(e.output, "hunter2") {
		t.Errorf("a password is shown:\n%s", e.output)
	}
	server.Stop(t)
	examine(t, program, b.local()...).finds("database.reach", doctor.Failure, "")
}

// proxyAddress is not that of the tests, so that a proxy can be trusted and its clients not.
const proxyAddress = "127.0.0.2"

// dialFrom connects from the address of the proxy.
func dialFrom(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(proxyAddress)}}).DialContext(ctx, network, address)
}
