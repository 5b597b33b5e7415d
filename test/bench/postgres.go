package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berthregistry/berth/internal/testenv/tool"
)

// throughFolders lets others pass through a folder whose names they know: PostgreSQL refuses to run as root.
const throughFolders = 0o711

// postgres starts a PostgreSQL server with its default settings, fsync included, and returns the URL of its database.
func (st *stage) postgres(ctx context.Context) (string, error) {
	programs, err := tool.Postgres()
	if err != nil {
		return "", err //nolint:wrapcheck // says what is missing
	}
	user, err := tool.Unprivileged()
	if err != nil {
		return "", err //nolint:wrapcheck // says what it is about
	}
	data, err := st.postgresFolder(user)
	if err != nil {
		return "", err
	}
	superuser := "berth_" + rand.Text()
	initdb := exec.CommandContext(ctx, filepath.Join(programs, "initdb"), //nolint:gosec // found on this machine
		"--pgdata="+data, "--username="+superuser, "--auth=trust", "--no-instructions", "--encoding=UTF8", "--locale=C")
	initdb.Dir, initdb.SysProcAttr = st.dir, &syscall.SysProcAttr{Credential: user}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	addr, err := freeAddress()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("the address of PostgreSQL: %w", err)
	}
	c, err := st.launch(launch{name: "postgres", path: filepath.Join(programs, "postgres"), user: user, args: []string{
		"-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + data,
	}})
	if err != nil {
		return "", err
	}
	url := fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", superuser, addr)
	return url, c.connects(ctx, url)
}

// postgresFolder makes the folder of the data, which belongs to the user that the server runs as.
func (st *stage) postgresFolder(user *syscall.Credential) (string, error) {
	data, err := st.folder("postgres")
	if err != nil || user == nil {
		return data, err
	}
	err = errors.Join(os.Chmod(st.lab.dir, throughFolders), os.Chmod(st.dir, throughFolders), os.Chown(data, int(user.Uid), int(user.Gid)))
	if err != nil {
		return "", fmt.Errorf("hand a folder to PostgreSQL: %w", err)
	}
	return data, nil
}

// connects waits until the database answers.
func (c *child) connects(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx) //nolint:wrapcheck // nothing was asked
		}
		select {
		case <-c.done:
			return c.failed(errors.New("it ended"))
		case <-ctx.Done():
			return c.failed(err)
		case <-time.After(probeEvery):
		}
	}
}
