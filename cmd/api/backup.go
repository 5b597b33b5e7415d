package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/server"
)

type backupDatabaseCommand struct {
	databaseFlags `embed:""`

	To string `required:"" placeholder:"FILE" help:"File to write, which must not exist."`
}

// Run copies the database as it is at one instant.
func (c *backupDatabaseCommand) Run(p *process) error {
	options, err := c.options(p)
	if err != nil {
		return err
	}
	size, err := server.BackupDatabase(p.ctx, c.Database, c.To, options)
	if errors.Is(err, server.ErrNoBackup) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "copied the database to %s, %d bytes\n", c.To, size)
	return err
}

type backupHoldCommand struct {
	databaseFlags `embed:""`

	For time.Duration `required:"" placeholder:"DURATION" help:"Time that copying the database and the storage takes at most, such as 12h."`
}

// Run keeps all servers from removing objects.
func (c *backupHoldCommand) Run(p *process) error {
	options, err := c.options(p)
	if err != nil {
		return err
	}
	if c.For <= 0 || c.For > maxHold {
		return usageError{fmt.Errorf("--for: %s is out of range: it may be up to %s", c.For, maxHold)}
	}
	until, err := server.HoldObjects(p.ctx, c.Database, c.For, options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "no object is removed from storage until %s\n", until.UTC().Format(time.RFC3339))
	return err
}

// maxHold bounds how long a hold that was forgotten lets garbage pile up.
const maxHold = 30 * 24 * time.Hour

type backupReleaseCommand struct {
	databaseFlags `embed:""`
}

// Run lets servers remove objects again.
func (c *backupReleaseCommand) Run(p *process) error {
	options, err := c.options(p)
	if err != nil {
		return err
	}
	if _, err := server.HoldObjects(p.ctx, c.Database, 0, options); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, "objects are removed from storage again")
	return err
}
