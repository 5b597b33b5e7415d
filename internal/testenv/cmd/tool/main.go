// Tool prints the path of each pinned tool that its arguments name, and builds those that are missing. Without
// arguments it does so for all of them. The Makefile calls it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/berthregistry/berth/internal/testenv/tool"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	root, err := tool.Root()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		specs, err := tool.List(root)
		if err != nil {
			return err
		}
		for _, spec := range specs {
			names = append(names, spec.Name)
		}
	}
	for _, name := range names {
		path, err := tool.Path(ctx, root, name)
		if err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}
