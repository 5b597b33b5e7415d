package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// fileServerFlag makes this program a child of itself: `bench -fileserver ADDRESS FOLDER`.
const fileServerFlag = "-fileserver"

// serveFiles is the plainest server of files that Go's library gives, to measure pulls by.
func serveFiles(ctx context.Context, addr, dir string) error {
	server := &http.Server{
		Addr: addr, Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	if err := server.ListenAndServe(); err != nil {
		return fmt.Errorf("serve files: %w", err)
	}
	return nil
}

// fileServer starts it on the folder of a file and returns the file's URL.
func (st *stage) fileServer(ctx context.Context, file string) (*child, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program: %w", err)
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	c, err := st.start("file server", nil, self, fileServerFlag, addr, filepath.Dir(file))
	if err != nil {
		return nil, "", err
	}
	if err := c.ready(ctx, "http://"+addr+"/"); err != nil {
		return nil, "", err
	}
	return c, "http://" + addr + "/" + filepath.Base(file), nil
}
